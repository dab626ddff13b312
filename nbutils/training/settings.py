"""How long and how fast to train, and which weights; the batches and rates that follow from it."""

from dataclasses import dataclass

import numpy as np

MARGINALIZATIONS = ("sequence", "token")
TOWERS = ("question", "passage")  # encoders that training may move
History = dict[str, list[float]]  # one value a step; those of `dev_` names one an evaluation


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast to train, and which weights."""

    n_steps: int
    batch_size: int  # examples a step, all processes together
    learning_rate: float = 3e-4  # of the generator
    encoder_learning_rate: float = 3e-5  # of the question encoder
    shuffle: bool = True  # False: batches are taken in the order of the examples
    warmup_steps: int = 0  # linear
    decay: bool = True  # then linear to zero; False: constant
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    lora_rank: int | None = 16  # None: all weights of the generator
    lora_layers: int | None = None  # so many top layers (of encoder and decoder, where there are two); None: all
    dropout: bool = False  # True: at the checkpoint's own rates
    batch_tokens: int = 4096  # padded tokens of one forward pass; a step takes as many passes as it needs
    checkpoint_every: int = 50  # steps
    question_layers: int | None = None  # so many top layers of the question encoder; None: all of it
    passage_layers: int | None = None  # of the passage encoder
    evaluate_every: int = 0  # steps from one evaluation on the dev examples to the next; 0: none at all


def batch_rows(n_examples: int, settings: TrainingSettings, seed: int, step: int) -> list[int]:
    """Row numbers of a step's batch: one pass over the examples, shuffled or not, after the other, cut into batches."""
    places = range(step * settings.batch_size, (step + 1) * settings.batch_size)
    if not settings.shuffle:
        return [place % n_examples for place in places]
    passes = {place // n_examples for place in places}
    orders = {number: np.random.default_rng([seed, number]).permutation(n_examples) for number in passes}
    return [int(orders[place // n_examples][place % n_examples]) for place in places]


def encoder_layers(settings: TrainingSettings, tower: str) -> int | None:
    """How many top layers of the tower's encoder learn; None: all of it."""
    return settings.question_layers if tower == "question" else settings.passage_layers


def is_evaluated(settings: TrainingSettings, n_done: int) -> bool:
    """True after `n_done` steps where dev examples are due: before the first, after every so many, after the last."""
    every = settings.evaluate_every
    return every > 0 and (n_done % every == 0 or n_done == settings.n_steps)


def rate_factor(settings: TrainingSettings, step: int) -> float:
    """Share of the full learning rate at a step (from 0): linear warm-up, then linear decay."""
    if step < settings.warmup_steps:
        return (step + 1) / (settings.warmup_steps + 1)
    return (settings.n_steps - step) / (settings.n_steps - settings.warmup_steps) if settings.decay else 1.0
