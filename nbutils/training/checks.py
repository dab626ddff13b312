"""What training refuses, in one line, before any work."""

from collections.abc import Sequence

from nbutils import models
from nbutils.data import Example, Passage
from nbutils.errors import InputError
from nbutils.models import Encoder, Generator
from nbutils.retrieval import DenseIndex
from nbutils.training.adapters import LORA_TARGETS, is_quantized, module_names
from nbutils.training.settings import MARGINALIZATIONS, TOWERS, TrainingSettings, encoder_layers
from nbutils.training.top_layers import require_top_layers


def require_settings(settings: TrainingSettings, generator: Generator | None, n_processes: int, n_dev: int = 0) -> None:
    """`n_dev` dev examples are at hand: evaluation needs some."""
    import torch

    for name in ("n_steps", "batch_size", "lora_rank", "lora_layers", "batch_tokens", "checkpoint_every"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise InputError(f"{name} = {value}: give at least 1")
    if not 0 <= settings.warmup_steps < settings.n_steps:
        raise InputError(f"warmup_steps = {settings.warmup_steps}: give less than n_steps = {settings.n_steps}")
    if settings.evaluate_every < 0:
        raise InputError(f"evaluate_every = {settings.evaluate_every}: give a number of steps, or 0 for no evaluation")
    if settings.evaluate_every and not n_dev:
        raise InputError(f"evaluate_every = {settings.evaluate_every} without dev examples: give some, or 0")
    if n_processes < 1 or settings.batch_size % n_processes:
        raise InputError(f"batch_size = {settings.batch_size} cannot be shared out equally to {n_processes} processes")
    if generator is None:
        return
    if generator.model.device.type == "cuda" and n_processes > torch.cuda.device_count():
        raise InputError(f"n_processes = {n_processes}: this machine has {torch.cuda.device_count()} GPUs")
    if settings.lora_rank is None:
        if is_quantized(generator):
            raise InputError(f"{generator.name} is in 4 bits: its own weights cannot be trained, give a lora_rank")
        return
    if not module_names(generator.model) & LORA_TARGETS:
        raise InputError(f"{generator.name} has none of the layers {', '.join(sorted(LORA_TARGETS))}: lora_rank=None")
    n_layers = generator.model.config.num_hidden_layers
    if settings.lora_layers is not None and settings.lora_layers > n_layers:
        raise InputError(
            f"lora_layers = {settings.lora_layers}: {generator.name} has {n_layers} layers, and so many were to be "
            "trained: name a model with more, or train fewer"
        )


def require_layers(settings: TrainingSettings, encoders: dict[str, Encoder]) -> None:
    for tower, encoder in encoders.items():
        require_top_layers(encoder, encoder_layers(settings, tower), f"{tower}_layers")


def require_answers(answers: Sequence[str], kind: str = "answer") -> None:
    for number, answer in enumerate(answers):
        if not answer.strip():
            raise InputError(f"{kind} number {number} is empty: there is nothing to learn from it")


def require_marginal(examples: list[Example], marginalization: str, temperature: float) -> None:
    if not examples:
        raise InputError("nothing to train on: the list of examples is empty")
    require_marginalization(marginalization)
    require_temperature(temperature)
    require_answers([example.answers[0] for example in examples])


def require_marginalization(marginalization: str) -> None:
    if marginalization not in MARGINALIZATIONS:
        raise InputError(f"marginalization {marginalization!r} is unknown: use one of {', '.join(MARGINALIZATIONS)}")


def require_temperature(value: float, name: str = "temperature") -> None:
    if not value > 0:
        raise InputError(f"{name} = {value}: give a number above 0")


def require_index(encoder: Encoder | None, index: DenseIndex | None, corpus: dict[str, Passage], n_docs: int) -> None:
    if encoder is None or index is None:
        raise InputError("a learned retriever needs an encoder and an index: give both, or what was `retrieved`")
    width = models.embedding_dim(encoder)
    if width != index.faiss_index.d:
        raise InputError(f"{encoder.name} makes vectors of {width} numbers, the index holds {index.faiss_index.d}")
    if not 1 <= n_docs <= len(index.passage_ids):
        raise InputError(f"n_docs = {n_docs}: the index has {len(index.passage_ids)} passages")
    unknown = {*index.passage_ids.tolist()} - corpus.keys()
    if unknown:
        raise InputError(
            f"passage {min(unknown)!r} of the index is not in the corpus: give the corpus that was indexed"
        )


def require_refresh(refresh_every: int | None, towers: tuple[str, ...], n_steps: int) -> None:
    """`towers` learn, and what they search follows every `refresh_every` steps."""
    if not towers or not {*towers} <= {*TOWERS}:
        raise InputError(f"towers = {towers}: name one or both of {', '.join(TOWERS)}")
    if refresh_every is not None and not 1 <= refresh_every < n_steps:
        raise InputError(f"refresh_every = {refresh_every}: give 1 to {n_steps - 1}, or None for an index that stays")
    if refresh_every is not None and "passage" not in towers:
        raise InputError("the passage encoder does not learn: its index would stay as it is, give refresh_every=None")
