"""What a system costs in memory and money: prices, the bill of each system, and where two bills meet."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from nbutils.errors import InputError
from nbutils.pilot.flops import TransformerShape, n_adapter_parameters, n_parameters
from nbutils.pilot.systems import CLOSED_BOOK_SYSTEMS, RAG_SYSTEMS

DAYS_PER_MONTH = 30
ADAM_BYTES = 16  # of a trained number: itself, its gradient and two moments, in float32


# Memory


def weight_bytes(shape: TransformerShape, bytes_per_number: float = 2) -> float:
    """Memory of the weights: 2 bytes a number in bfloat16, about half a byte in 4 bits."""
    return n_parameters(shape) * bytes_per_number


def kv_cache_bytes(shape: TransformerShape, n_tokens: int, bytes_per_number: float = 2) -> float:
    """Memory of the keys and values of `n_tokens` tokens."""
    return 2 * shape.n_layers * shape.n_kv_heads * shape.head_dim * n_tokens * bytes_per_number


def training_bytes(
    shape: TransformerShape, rank: int | None, n_trained_layers: int | None = None, bytes_per_number: float = 2
) -> float:
    """Memory of weights, gradients and AdamW's moments in training; activations, which grow with a batch, left out."""
    if rank is None:
        return n_parameters(shape) * ADAM_BYTES
    adapters = n_adapter_parameters(shape, rank, n_trained_layers)
    return weight_bytes(shape, bytes_per_number) + adapters * ADAM_BYTES


# Money


@dataclass(frozen=True)
class Prices:
    """What the user of a system pays, in any one currency."""

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
class Cost:
    """What one system costs at one volume, in money."""

    query: float  # one query
    update: float  # one update of what it knows
    storage: float  # a month
    start: float = 0.0  # once, before the first query

    def per_month(self, queries_per_day: float, updates_per_month: float, months: float = 12) -> float:
        """Everything of one month; the start is paid back over so many `months`."""
        running = self.query * queries_per_day * DAYS_PER_MONTH + self.update * updates_per_month
        return running + self.storage + self.start / months


def price_of(flops: float, prices: Prices) -> float:
    """Money for so many FLOPs."""
    return flops / prices.flops / 3600 * prices.hour


def system_cost(
    query_flops: float,
    index_update_flops: float,
    index_bytes: float,
    training_flops: float,
    n_examples: int,
    closed_book: bool,
    prices: Prices,
) -> Cost:
    """The cost of a system from FLOPs of a query, of an update of its index, and of its training (0: none).

    `closed_book` says that its knowledge is in its weights: an update is a training then, with the examples made anew.
    """
    training = 0.0
    if training_flops:
        training = price_of(training_flops, prices) + n_examples * prices.example + prices.release
    update = training if closed_book else price_of(index_update_flops, prices)
    return Cost(price_of(query_flops, prices), update, index_bytes / 1e9 * prices.gigabyte_month, training)


def costs_by_system(
    query_flops: Mapping[str, float],
    training_flops: Mapping[str, float],
    index_update_flops: float,
    index_bytes: float,
    n_examples: int,
    prices: Prices,
) -> dict[str, Cost]:
    """{system: its cost}, from FLOPs of a query and of a training (absent: none), and of an update of the index.

    A system that retrieves keeps an index, and its knowledge is brought up to date there; the others know what is in
    their weights: those that are trained are trained anew, prompting stays as it is.
    """
    return {
        system: system_cost(
            flops,
            index_update_flops if system in RAG_SYSTEMS else 0,
            index_bytes if system in RAG_SYSTEMS else 0,
            training_flops.get(system, 0),
            n_examples,
            system in CLOSED_BOOK_SYSTEMS,
            prices,
        )
        for system, flops in query_flops.items()
    }


def break_even(one: Cost, other: Cost, updates_per_month: float) -> float | None:
    """Queries a day from which on the one with the cheaper query is the cheaper one; None: it is so at any volume.

    With fixed costs f and costs q of a query, (f' - f) / (q - q') / 30 days; where one is cheaper in both there is
    nothing to cross, and where queries cost the same, none either.
    """
    fixed = other.per_month(0, updates_per_month) - one.per_month(0, updates_per_month)
    per_query = one.query - other.query
    if per_query == 0 or fixed / per_query <= 0:
        return None
    return fixed / per_query / DAYS_PER_MONTH
