"""What a training depends on, as the key of its folder."""

from collections.abc import Callable, Sequence
from importlib.metadata import version

from nbutils import cache, generation, models
from nbutils.data import Passage
from nbutils.models import Encoder, Generator
from nbutils.training.loop import train
from nbutils.training.settings import TrainingSettings


def run_key(
    algorithm: Sequence[Callable],
    generator: Generator | None,
    encoders: Sequence[Encoder],
    settings: TrainingSettings,
    seed: int,
    *content: str,
) -> str:
    """Digest of the loop, of the `algorithm`'s own classes and functions, of the models, and of what they learn from.

    What the loop reaches by a method, the objective above all, it does not name: list it.
    """
    parts = [repr(settings), str(seed), f"peft {version('peft')}"]
    if generator is not None:
        parts += [generation.fingerprint(generator), generation.build_prompt("question", Passage("title", "text"))]
    for encoder in encoders:
        parts += [models.encoder_fingerprint(encoder), str(models.pick_dtype(encoder.model.device.type))]
    return cache.key([train, *algorithm], *parts, *content)
