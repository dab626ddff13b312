"""What a training depends on, as the key of its folder."""

from collections.abc import Callable, Sequence
from importlib.metadata import version

from nbutils import cache, generation
from nbutils.data import Passage
from nbutils.models import Generator
from nbutils.training.loop import train
from nbutils.training.settings import TrainingSettings


def run_key(
    algorithm: Sequence[Callable], generator: Generator | None, settings: TrainingSettings, seed: int, *content: str
) -> str:
    """Digest of the loop, of the `algorithm`'s own classes and functions, of the generator, and of what it learns from.

    What the loop reaches by a method, the objective above all, it does not name: list it.
    """
    parts = [repr(settings), str(seed), f"peft {version('peft')}"]
    if generator is not None:
        parts += [generation.fingerprint(generator), generation.build_prompt("question", Passage("title", "text"))]
    return cache.key([train, *algorithm], *parts, *content)
