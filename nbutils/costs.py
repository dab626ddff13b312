"""What a system costs: FLOPs of queries and of training, memory, time and money, from the sizes of its model.

A FLOP is one multiplication or one addition: a product of an (m, k) and a (k, n) matrix has 2mkn of them. Counted are
matrix products alone, as torch's own counter does.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nbutils.errors import InputError

DAYS = 30  # of a month
ADAM_BYTES = 16  # of a trained number: itself, its gradient and two moments, in float32


@dataclass(frozen=True)
class Shape:
    """The matrices of a transformer: those of Llama, Gemma, Mistral and Qwen, or of BERT (`gated=False`)."""

    n_layers: int
    width: int  # D
    n_heads: int
    n_kv_heads: int
    head_width: int
    ff_width: int
    vocabulary: int  # 0: no output layer
    gated: bool = True  # three matrices in the feed-forward part, not two
    tied: bool = True  # the output layer is the table of embeddings


# The configurations published with the models, for extrapolation: none of them is run here.
LARGER = {
    "Llama-3.2-1B": Shape(16, 2048, 32, 8, 64, 8192, 128_256),
    "Llama-3.2-3B": Shape(28, 3072, 24, 8, 128, 8192, 128_256),
    "Llama-3.1-8B": Shape(32, 4096, 32, 8, 128, 14_336, 128_256, tied=False),
    "Llama-3.1-70B": Shape(80, 8192, 64, 8, 128, 28_672, 128_256, tied=False),
}


def shape_of(config: Any) -> Shape:
    """The shape of a transformers configuration. Raises InputError for one that is neither like Llama nor like BERT."""
    kind = getattr(config, "model_type", "")
    encoder = kind in ("bert", "dpr", "mpnet", "roberta")
    if getattr(config, "is_encoder_decoder", False) or not (encoder or hasattr(config, "num_key_value_heads")):
        raise InputError(f"a model of type {kind!r} has other matrices than the cost model knows: use one like Llama")
    heads = config.num_attention_heads
    return Shape(
        config.num_hidden_layers,
        config.hidden_size,
        heads,
        heads if encoder else config.num_key_value_heads,
        getattr(config, "head_dim", None) or config.hidden_size // heads,
        config.intermediate_size,
        0 if encoder else config.vocab_size,
        gated=not encoder,
        tied=bool(getattr(config, "tie_word_embeddings", True)),
    )


def _matrices(shape: Shape) -> list[tuple[int, int]]:
    """(inputs, outputs) of every matrix of a layer; the first three are those of queries, keys and values."""
    inner, keys = shape.n_heads * shape.head_width, shape.n_kv_heads * shape.head_width
    attention = [(shape.width, inner), (shape.width, keys), (shape.width, keys), (inner, shape.width)]
    up = [(shape.width, shape.ff_width)] * (2 if shape.gated else 1)
    return [*attention, *up, (shape.ff_width, shape.width)]


def n_parameters(shape: Shape) -> int:
    """Numbers in the matrices of all layers and in embeddings and output layer (norms and biases left out)."""
    tables = (1 if shape.tied else 2) * shape.vocabulary * shape.width
    return shape.n_layers * sum(rows * columns for rows, columns in _matrices(shape)) + tables


def adapter_parameters(shape: Shape, rank: int, n_trained: int | None = None) -> int:
    """Numbers that LoRA trains: rank x (inputs + outputs) of every matrix of the `n_trained` top layers (None: all)."""
    n_trained = shape.n_layers if n_trained is None else n_trained
    return n_trained * rank * sum(rows + columns for rows, columns in _matrices(shape))


def reading_flops(shape: Shape, n_tokens: int, n_before: int = 0, n_logits: int = 1) -> int:
    """FLOPs of the forward pass over `n_tokens` tokens that follow `n_before` cached ones.

    With T tokens after S: 2T x (numbers in a layer's matrices) + 4T(S + T) x (width of all heads) in each layer, the
    second term for the products with keys and values, of which no half is saved for looking back only; and 2DV for
    each of the `n_logits` positions at which the output layer is asked.
    """
    products = sum(rows * columns for rows, columns in _matrices(shape))
    attention = 4 * n_tokens * (n_before + n_tokens) * shape.n_heads * shape.head_width
    return shape.n_layers * (2 * n_tokens * products + attention) + 2 * n_logits * shape.width * shape.vocabulary


def query_flops(shape: Shape, prompt_tokens: Sequence[int], new_tokens: int, n_candidates: int = 0) -> int:
    """FLOPs of one query that reads prompts of these lengths and writes `new_tokens` after each of them.

    The first new token comes with the prompt, each later one reads its predecessor. An ensemble of K prompts scores
    `n_candidates` answers of that length under each of its prompts besides.
    """
    if not prompt_tokens or min(prompt_tokens) < 1 or new_tokens < 1 or n_candidates < 0:
        raise InputError("a query needs at least one prompt of a token and one new token")
    total = 0
    for length in prompt_tokens:
        total += reading_flops(shape, length)
        total += sum(reading_flops(shape, 1, length + step) for step in range(new_tokens - 1))
        total += n_candidates * reading_flops(shape, new_tokens, length, new_tokens)
    return total


def training_flops(
    shape: Shape,
    lengths: Sequence[int],
    answer_lengths: Sequence[int],
    rank: int | None = None,
    n_trained: int | None = None,
) -> int:
    """FLOPs of one step over examples of these lengths (prompt and answer), with a loss on their answers' tokens.

    `rank` None trains all weights: forward, and twice as much backward. LoRA of `rank` on the `n_trained` top layers
    (None: all) goes forward through all layers, backward through these, and needs no gradient of frozen matrices, nor
    of what enters the lowest of these layers; its own matrices count three times. Attention counts twice backward.
    """
    if len(lengths) != len(answer_lengths) or not lengths:
        raise InputError(f"{len(lengths)} lengths and {len(answer_lengths)} answers' lengths: give one each")
    matrices = _matrices(shape)
    n_trained = shape.n_layers if rank is None or n_trained is None else n_trained
    products = sum(rows * columns for rows, columns in matrices)
    total = 0
    for length, answer in zip(lengths, answer_lengths, strict=True):
        attention = 4 * length * length * shape.n_heads * shape.head_width
        head = 2 * answer * shape.width * shape.vocabulary
        total += reading_flops(shape, length, n_logits=answer)
        total += n_trained * (2 * length * products + 2 * attention) + head
        if rank is None:
            total += n_trained * 2 * length * products + head
            continue
        adapters = 2 * length * rank * sum(rows + columns for rows, columns in matrices)
        entering = sum(2 * length * rows * (columns + rank) for rows, columns in matrices[:3])
        total += 3 * n_trained * adapters - entering
    return total


def search_flops(n_passages: int, width: int) -> int:
    """FLOPs of an exact search: one inner product of `width` numbers a passage."""
    return 2 * n_passages * width


# Memory


def weight_bytes(shape: Shape, bytes_per_number: float = 2) -> float:
    """Memory of the weights: 2 bytes a number in bfloat16, about half a byte in 4 bits."""
    return n_parameters(shape) * bytes_per_number


def cache_bytes(shape: Shape, n_tokens: int, bytes_per_number: float = 2) -> float:
    """Memory of the keys and values of `n_tokens` tokens."""
    return 2 * shape.n_layers * shape.n_kv_heads * shape.head_width * n_tokens * bytes_per_number


def training_bytes(shape: Shape, rank: int | None, n_trained: int | None = None, bytes_per_number: float = 2) -> float:
    """Memory of weights, gradients and AdamW's moments in training; activations, which grow with a batch, left out."""
    if rank is None:
        return n_parameters(shape) * ADAM_BYTES
    return weight_bytes(shape, bytes_per_number) + adapter_parameters(shape, rank, n_trained) * ADAM_BYTES


# Time


def reading_seconds(
    generator: Any, n_tokens: int, n_prompts: int, n_layers: int | None = None, n_runs: int = 3
) -> float:
    """Seconds that the generator's first `n_layers` layers (None: all) take to read prompts; the shortest of the runs.

    The prompts are `n_prompts` x `n_tokens` ordinary tokens; the output layer is asked once a prompt.
    """
    import torch

    model = generator.model
    decoder, layers = model.get_decoder(), model.get_decoder().layers
    tokens = torch.arange(n_prompts * n_tokens, device=model.device).reshape(n_prompts, -1) % 97 + 5
    times = []
    try:
        decoder.layers = layers[:n_layers]
        with torch.inference_mode():
            for _ in range(n_runs + 1):  # the first one warms up
                start = time.perf_counter()
                hidden = decoder(input_ids=tokens, use_cache=False).last_hidden_state[:, -1]
                model.get_output_embeddings()(hidden).sum().item()  # waits for a GPU
                times.append(time.perf_counter() - start)
    finally:
        decoder.layers = layers
    return min(times[1:])


def with_layers(shape: Shape, n_layers: int) -> Shape:
    """The same shape with another number of layers."""
    return replace(shape, n_layers=n_layers)


def fit_seconds(flops: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """(seconds a call, seconds a FLOP) of the line through measured times, by least squares of relative errors.

    Neither is below 0: where the best line would have a negative start, it is the one through 0.
    Raises InputError for fewer than 2 points and for numbers that are not positive.
    """
    x, y = np.asarray(flops, dtype=float), np.asarray(seconds, dtype=float)
    if x.shape != y.shape or x.size < 2 or not (np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)).all():
        raise InputError("the time model needs at least two measured points, FLOPs and seconds above 0")
    start, slope = np.linalg.lstsq(np.stack([1 / y, x / y], axis=1), np.ones(x.size), rcond=None)[0]
    if start < 0 or slope < 0:
        start, slope = 0.0, float((x / y).sum() / ((x / y) ** 2).sum())
    return float(start), float(slope)


# Money


@dataclass(frozen=True)
class Prices:
    """What the reader pays, in any one currency."""

    hour: float = 2.0  # of a machine
    flops: float = 2e14  # that the machine sustains a second
    gigabyte_month: float = 0.1  # of memory or disk that holds the index
    example: float = 0.5  # of people, for one training example
    release: float = 20.0  # of people, for checking and releasing a model after a training

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0) or (name == "flops" and value == 0):
                raise InputError(f"price {name} = {value}: give a number of at least 0, and above 0 for flops")


@dataclass(frozen=True)
class Bill:
    """What one system costs at one volume."""

    query: float  # one query
    update: float  # one update of what it knows
    storage: float  # a month
    start: float = 0.0  # once, before the first query

    def month(self, queries_per_day: float, updates_per_month: float, months: float = 12) -> float:
        """Everything of one month; the start is paid back over so many `months`."""
        running = self.query * queries_per_day * DAYS + self.update * updates_per_month
        return running + self.storage + self.start / months


def price_of(flops: float, prices: Prices) -> float:
    """Money for so many FLOPs."""
    return flops / prices.flops / 3600 * prices.hour


def bill(
    query: float,
    index_update: float,
    index_bytes: float,
    training: float,
    n_examples: int,
    weights: bool,
    prices: Prices,
) -> Bill:
    """The bill of a system from FLOPs of a query, of an update of its index, and of its training (0: none).

    `weights` says that its knowledge is in its weights: an update is a training then, with the examples made anew.
    """
    trained = price_of(training, prices) + n_examples * prices.example + prices.release if training else 0.0
    update = trained if weights else price_of(index_update, prices)
    return Bill(price_of(query, prices), update, index_bytes / 1e9 * prices.gigabyte_month, trained)


def break_even(one: Bill, other: Bill, updates_per_month: float) -> float | None:
    """Queries a day from which on the one with the cheaper query is the cheaper one; None: it is so at any volume.

    With fixed costs f and costs q of a query, (f' - f) / (q - q') / 30 days; where one is cheaper in both there is
    nothing to cross, and where queries cost the same, none either.
    """
    fixed = other.month(0, updates_per_month) - one.month(0, updates_per_month)
    a_query = one.query - other.query
    if a_query == 0 or fixed / a_query <= 0:
        return None
    return fixed / a_query / DAYS
