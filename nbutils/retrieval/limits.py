"""Passages and the length limit of an encoder: how many are cut, and how full one makes it."""

from collections.abc import Callable, Mapping
from functools import partial

from nbutils.data import Passage
from nbutils.models import Encoder, Reading, n_truncated
from nbutils.retrieval.dense import encoder_text


def n_cut(encoder: Encoder | Reading, corpus: Mapping[str, Passage]) -> int:
    """How many passages, each with its title, are longer than what the encoder reads of a text."""
    return n_truncated(encoder, [encoder_text(encoder, passage) for passage in corpus.values()])


def cut_note(encoder: Encoder | Reading, corpus: Mapping[str, Passage]) -> str:
    """A sentence on how many passages are cut, or that none is."""
    return cut_sentence(encoder, n_cut(encoder, corpus), len(corpus))


def cut_sentence(encoder: Encoder | Reading, n: int, n_passages: int) -> str:
    """The same, of passages that were counted by `n_cut`."""
    share = f"{n:,} of {n_passages:,} passages ({n / n_passages:.0%})"
    rest = ", the rest is not searched" if n else ""
    return f"{share} have more than the {encoder.max_length} tokens that {encoder.name} reads{rest}."


def filling(reading: Reading) -> Callable[[str, str], float]:
    """By which `data.import_file` cuts texts: how full one makes the encoder under its title; above 1 its end is cut.

    That is its tokens over those that title, prompt and special tokens leave. Half of the limit is taken to be left at
    least: a text under a title longer than that would be cut into single words.
    """
    return partial(_full, reading)


def _full(reading: Reading, title: str, text: str) -> float:
    whole, without = reading.count_tokens([encoder_text(reading, Passage(title, part)) for part in (text, "")])
    return (whole - without) / max(reading.max_length - without, reading.max_length // 2)
