"""kNN-LM (Khandelwal et al. 2020): the next token by what followed the nearest states of a datastore."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nbutils.errors import InputError
from nbutils.generation import TokenStates
from nbutils.retrieval.nearest_states import nearest, squared_distances

BLOCK_ROWS = 1024  # of which the weights are in memory at once: those of 15,000 tokens are 120 MB, several times over


class Neighbors(NamedTuple):
    """What a datastore has near N scored tokens, and what the language model says of these tokens."""

    distances: np.ndarray  # (N, k) float32, squared L2, rising
    tokens: np.ndarray  # (N, k) the token that followed each neighbor
    labels: np.ndarray  # (N,) the token that is scored
    logprobs: np.ndarray  # (N,) its log p by the language model


def look_up(datastore: TokenStates, queries: TokenStates, k: int, key: str = "ffn_input") -> Neighbors:
    """The k nearest of a datastore to every query, by exact search; all of its rows where it has fewer."""
    keys, asked = (require_key(states, key) for states in (datastore, queries))
    distances, rows = nearest(keys, asked, min(k, len(keys)))
    return Neighbors(distances, datastore.tokens[rows], queries.tokens, queries.logprobs)


def require_key(states: TokenStates, key: str) -> np.ndarray:
    """The keys of this kind, (N, D). Raises InputError where the states have none."""
    if key not in states.keys:
        raise InputError(f"no key {key!r} among these states, which have {', '.join(states.keys) or 'none'}")
    return states.keys[key]


def knn_probabilities(
    distances: np.ndarray, tokens: np.ndarray, labels: np.ndarray, temperature: float = 1.0
) -> np.ndarray:
    """p_kNN of each label, (B,) float64, from the distances (B, k) and tokens (B, k) of its neighbors (Eq. 2).

    p_kNN(y|x) = sum over the neighbors followed by y of exp(-d/T), over the same sum of all neighbors; d is the squared
    L2 distance, and T is 1 in the paper. A neighbor with distance inf is none; without neighbors a row is NaN: nothing
    is known. Raises InputError for shapes that do not fit and a temperature that is not above 0.
    """
    if tokens.shape != distances.shape or len(labels) != len(distances):
        raise InputError(f"distances {distances.shape}, tokens {tokens.shape}, labels {np.shape(labels)}: do not fit")
    labels, found = np.asarray(labels)[:, None], np.empty(len(distances))
    for start in range(0, len(distances), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        found[rows] = (neighbor_weights(distances[rows], temperature) * (tokens[rows] == labels[rows])).sum(axis=1)
    return found


def knn_distribution(
    distances: np.ndarray, tokens: np.ndarray, n_vocabulary: int, temperature: float = 1.0
) -> np.ndarray:
    """p_kNN of every token, (B, V) float64, see `knn_probabilities`: to generate from. Without neighbors NaN each.

    Raises InputError, too, for a token that is not in the vocabulary.
    """
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < n_vocabulary:
        raise InputError(f"tokens from {tokens.min()} to {tokens.max()}: the vocabulary has {n_vocabulary}")
    weights = neighbor_weights(distances, temperature)
    found = np.zeros((len(weights), n_vocabulary))
    np.add.at(found, (np.arange(len(weights))[:, None], tokens), weights)
    found[np.isnan(weights).any(axis=1)] = np.nan
    return found


def neighbor_weights(distances: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """exp(-d/T) of each neighbor, each row's sum brought to 1: (B, k) float64. NaN where no distance is finite."""
    if not temperature > 0:
        raise InputError(f"temperature {temperature}: give a number above 0")
    distances = np.asarray(distances, dtype=np.float64)
    least = distances.min(axis=1, keepdims=True)
    nothing = np.isinf(least)
    weights = np.exp((np.where(nothing, 0, least) - distances) / temperature)
    with np.errstate(invalid="ignore"):
        return weights / weights.sum(axis=1, keepdims=True)


def interpolate(logprobs: np.ndarray, *parts: tuple[np.ndarray, float]) -> np.ndarray:
    """log[(1 - sum of lambdas) p_LM + sum of lambda p], (N,) float64 (Eq. 3), from log p_LM (N,) and (p (N,), lambda).

    Where a p is NaN, nothing was found: its share stays with the language model. Where nothing is added, the values are
    those of the language model, bit for bit. Raises InputError for shares below 0 or of more than 1 together.
    """
    shares = [share for _, share in parts]
    if not (min(shares, default=0) >= 0 and sum(shares) <= 1 + 1e-9):  # a NaN is refused too
        raise InputError(f"shares {', '.join(f'{share:g}' for share in shares)}: give numbers from 0, at most 1 in all")
    kept, added = np.ones(len(logprobs)), np.zeros(len(logprobs))
    for probabilities, share in parts:
        there = ~np.isnan(probabilities)
        kept = kept - share * there
        added = added + share * np.where(there, probabilities, 0)
    with np.errstate(divide="ignore"):
        mixed = np.logaddexp(np.log(np.maximum(kept, 0)) + logprobs, np.log(added))
    return np.where(kept == 1, logprobs, mixed)


def cache_probabilities(
    keys: np.ndarray, tokens: np.ndarray, lengths: Sequence[int], temperature: float = 1.0
) -> np.ndarray:
    """p_cache of each token, (N,) float64: kNN-LM whose datastore is the text itself, as far as it has been read.

    The continuous cache of Grave et al. (2017) with the distances of kNN-LM in place of inner products. `lengths` are
    the tokens of each text. The first token of a text is NaN: nothing was read before. Raises InputError for lengths
    that are not those of the tokens.
    """
    if min(lengths, default=1) < 1 or sum(lengths) != len(tokens):
        raise InputError(f"texts of {sum(lengths)} tokens for {len(tokens)} states: give the lengths of `token_states`")
    found, start = [np.empty(0)], 0
    for length in lengths:
        own, labels = np.asarray(keys[start : start + length], dtype=np.float32), tokens[start : start + length]
        distances = np.where(np.tri(length, k=-1, dtype=bool), squared_distances(own, own), np.inf)
        found.append(knn_probabilities(distances, np.broadcast_to(labels, distances.shape), labels, temperature))
        start += length
    return np.concatenate(found)


def perplexity(logprobs: np.ndarray) -> float:
    """exp of the mean of -log p over tokens, each token once, however long the texts are."""
    return float(np.exp(-np.mean(logprobs, dtype=np.float64)))


@dataclass(frozen=True)
class Interpolation:
    """How kNN-LM weighs its neighbors, and how much of the mixture is theirs."""

    k: int
    temperature: float
    share: float  # lambda


def choose_interpolation(
    distances: np.ndarray,
    tokens: np.ndarray,
    labels: np.ndarray,
    logprobs: np.ndarray,
    ks: Sequence[int],
    temperatures: Sequence[float],
    shares: Sequence[float],
) -> Interpolation:
    """The best of all combinations on dev tokens, by their mean log p; arguments as `knn_probabilities`.

    `temperatures` are in units of the median distance to the nearest key. A k that is more than there are neighbors
    means all of them. Raises InputError for a k < 1.
    """
    if min(ks) < 1:
        raise InputError(f"k of {min(ks)} to {max(ks)}: give at least 1")
    ks = sorted({min(k, distances.shape[1]) for k in ks})
    unit, found = float(np.median(distances[:, 0])), []
    if unit == 0:
        raise InputError("most dev tokens have a key at distance 0: their text is in the datastore, take it out")
    for k in ks:
        for temperature in temperatures:
            probabilities = knn_probabilities(distances[:, :k], tokens[:, :k], labels, temperature * unit)
            for share in shares:
                mean = interpolate(logprobs, (probabilities, share)).mean()
                found.append((mean, Interpolation(k, temperature * unit, share)))
    return max(found, key=lambda item: item[0])[1]


def choose_shares(
    logprobs: np.ndarray, parts: Sequence[np.ndarray], grids: Sequence[Sequence[float]]
) -> tuple[float, ...]:
    """The shares of `parts` (p (N,) each), one from each grid, with the highest mean log p on dev tokens.

    Raises InputError where no combination leaves anything of the language model.
    """
    combinations = [shares for shares in itertools.product(*grids) if sum(shares) < 1 - 1e-9]
    if not combinations:
        raise InputError("every combination of shares reaches 1: nothing of the language model would be left")
    return max(combinations, key=lambda shares: interpolate(logprobs, *zip(parts, shares, strict=True)).mean())


def mixed_logprobs(
    distances: np.ndarray, tokens: np.ndarray, labels: np.ndarray, logprobs: np.ndarray, chosen: Interpolation
) -> np.ndarray:
    """log p of kNN-LM for each label, (N,) float64: `interpolate` over the first k neighbors."""
    k = chosen.k
    probabilities = knn_probabilities(distances[:, :k], tokens[:, :k], labels, chosen.temperature)
    return interpolate(logprobs, (probabilities, chosen.share))
