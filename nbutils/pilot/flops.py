"""FLOPs of a transformer, from the sizes of its matrices: of reading and writing, of training, of a search.

A FLOP is one multiplication or one addition: a product of an (m, k) and a (k, n) matrix has 2mkn of them. Counted are
matrix products alone, as torch's own counter does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from nbutils.errors import InputError


@dataclass(frozen=True)
class TransformerShape:
    """The matrices of a transformer: those of Llama, Gemma, Mistral and Qwen, or of BERT (`gated=False`)."""

    n_layers: int
    hidden_size: int  # D
    n_heads: int
    n_kv_heads: int
    head_dim: int
    intermediate_size: int  # of the feed-forward part
    vocab_size: int  # 0: no output layer
    gated: bool = True  # three matrices in the feed-forward part, not two
    tied: bool = True  # the output layer is the table of embeddings


# The configurations published with the models, for extrapolation: none of them is run here.
LARGER_MODELS = {
    "Llama-3.2-1B": TransformerShape(16, 2048, 32, 8, 64, 8192, 128_256),
    "Llama-3.2-3B": TransformerShape(28, 3072, 24, 8, 128, 8192, 128_256),
    "Llama-3.1-8B": TransformerShape(32, 4096, 32, 8, 128, 14_336, 128_256, tied=False),
    "Llama-3.1-70B": TransformerShape(80, 8192, 64, 8, 128, 28_672, 128_256, tied=False),
}


def shape_of(config: Any) -> TransformerShape:
    """The shape of a transformers configuration. Raises InputError for one that is neither like Llama nor like BERT."""
    kind = getattr(config, "model_type", "")
    encoder = kind in ("bert", "dpr", "mpnet", "roberta")
    if getattr(config, "is_encoder_decoder", False) or not (encoder or hasattr(config, "num_key_value_heads")):
        raise InputError(f"a model of type {kind!r} has other matrices than the cost model knows: use one like Llama")
    heads = config.num_attention_heads
    return TransformerShape(
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


def with_layers(shape: TransformerShape, n_layers: int) -> TransformerShape:
    """The same shape with another number of layers."""
    return replace(shape, n_layers=n_layers)


def _matrices(shape: TransformerShape) -> list[tuple[int, int]]:
    """(inputs, outputs) of every matrix of a layer; the first three are those of queries, keys and values."""
    queries, keys = shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
    size = shape.hidden_size
    attention = [(size, queries), (size, keys), (size, keys), (queries, size)]
    up = [(size, shape.intermediate_size)] * (2 if shape.gated else 1)
    return [*attention, *up, (shape.intermediate_size, size)]


def n_parameters(shape: TransformerShape) -> int:
    """Numbers in the matrices of all layers and in embeddings and output layer (norms and biases left out)."""
    tables = (1 if shape.tied else 2) * shape.vocab_size * shape.hidden_size
    return shape.n_layers * sum(rows * columns for rows, columns in _matrices(shape)) + tables


def n_adapter_parameters(shape: TransformerShape, rank: int, n_trained_layers: int | None = None) -> int:
    """Numbers that LoRA trains: rank x (inputs + outputs) of every matrix of the `n_trained_layers` top layers.

    None: of all layers.
    """
    n_trained_layers = shape.n_layers if n_trained_layers is None else n_trained_layers
    return n_trained_layers * rank * sum(rows + columns for rows, columns in _matrices(shape))


def forward_flops(shape: TransformerShape, n_tokens: int, n_cached: int = 0, n_logits: int = 1) -> int:
    """FLOPs of the forward pass over `n_tokens` tokens that follow `n_cached` cached ones.

    With T tokens after S: 2T x (numbers in a layer's matrices) + 4T(S + T) x (width of all heads) in each layer, the
    second term for the products with keys and values, of which no half is saved for looking back only; and 2DV for
    each of the `n_logits` positions at which the output layer is asked.
    """
    products = sum(rows * columns for rows, columns in _matrices(shape))
    attention = 4 * n_tokens * (n_cached + n_tokens) * shape.n_heads * shape.head_dim
    logits = 2 * n_logits * shape.hidden_size * shape.vocab_size
    return shape.n_layers * (2 * n_tokens * products + attention) + logits


def query_flops(shape: TransformerShape, prompt_tokens: Sequence[int], new_tokens: int, n_candidates: int = 0) -> int:
    """FLOPs of one query that reads prompts of these lengths and writes `new_tokens` after each of them.

    The first new token comes with the prompt, each later one reads its predecessor. An ensemble of K prompts scores
    `n_candidates` answers of that length under each of its prompts besides.
    """
    if not prompt_tokens or min(prompt_tokens) < 1 or new_tokens < 1 or n_candidates < 0:
        raise InputError("a query needs at least one prompt of a token and one new token")
    total = 0
    for length in prompt_tokens:
        total += forward_flops(shape, length)
        total += sum(forward_flops(shape, 1, length + step) for step in range(new_tokens - 1))
        total += n_candidates * forward_flops(shape, new_tokens, length, new_tokens)
    return total


def training_flops(
    shape: TransformerShape,
    lengths: Sequence[int],
    answer_lengths: Sequence[int],
    rank: int | None = None,
    n_trained_layers: int | None = None,
) -> int:
    """FLOPs of one step over examples of these lengths (prompt and answer), with a loss on their answers' tokens.

    `rank` None trains all weights: forward, and twice as much backward. LoRA of `rank` on the `n_trained_layers` top
    layers (None: all) goes forward through all layers, backward through these, and needs no gradient of frozen
    matrices, nor of what enters the lowest of these layers; its own matrices count three times. Attention counts twice
    backward.
    """
    if len(lengths) != len(answer_lengths) or not lengths:
        raise InputError(f"{len(lengths)} lengths and {len(answer_lengths)} answers' lengths: give one each")
    matrices = _matrices(shape)
    n_trained_layers = shape.n_layers if rank is None or n_trained_layers is None else n_trained_layers
    products = sum(rows * columns for rows, columns in matrices)
    total = 0
    for length, answer_length in zip(lengths, answer_lengths, strict=True):
        attention = 4 * length * length * shape.n_heads * shape.head_dim
        logits = 2 * answer_length * shape.hidden_size * shape.vocab_size
        total += forward_flops(shape, length, n_logits=answer_length)
        total += n_trained_layers * (2 * length * products + 2 * attention) + logits
        if rank is None:
            total += n_trained_layers * 2 * length * products + logits
            continue
        adapters = 2 * length * rank * sum(rows + columns for rows, columns in matrices)
        lowest_inputs = sum(2 * length * rows * (columns + rank) for rows, columns in matrices[:3])
        total += 3 * n_trained_layers * adapters - lowest_inputs
    return total


def search_flops(n_passages: int, embedding_dim: int) -> int:
    """FLOPs of an exact search: one inner product of `embedding_dim` numbers a passage."""
    return 2 * n_passages * embedding_dim
