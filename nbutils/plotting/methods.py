"""How each method is drawn: one table of looks, the same in every notebook."""

from dataclasses import dataclass
from typing import Any

from nbutils.errors import InputError

# Okabe and Ito's colors and two grays, told apart by color-blind readers.
GRAY = "#7f7f7f"
BLUE = "#0072b2"
ORANGE = "#e69f00"
SKY_BLUE = "#56b4e9"
GREEN = "#009e73"
PURPLE = "#cc79a7"
VERMILION = "#d55e00"
BLACK = "#333333"


@dataclass(frozen=True)
class Look:
    """How a method is drawn. A variant of a method has its color, but hatched bars, dashed lines and open markers."""

    color: str
    marker: str  # of matplotlib
    variant: bool = False


# A color belongs to a method, in every notebook. Looks are few: what never stands in one figure may share one.
LOOKS = {
    "BM25": Look(GRAY, "s"),
    "Dense": Look(BLUE, "o"),
    "frozen dense": Look(BLUE, "o"),
    "closed-book": Look(ORANGE, "^"),
    "closed-book, tuned": Look(ORANGE, "v", variant=True),
    "retrieved passage": Look(SKY_BLUE, "D"),
    "best single passage": Look(SKY_BLUE, "d", variant=True),
    "gold passage": Look(GREEN, "P"),
    "random passage": Look(PURPLE, "X"),
    "RAG-Sequence": Look(VERMILION, ">"),
    "Thorough": Look(VERMILION, ">"),
    "Fast": Look(VERMILION, "h", variant=True),
    "RAG-Token": Look(BLACK, "<"),
    "joint": Look(PURPLE, "X"),
    "2015 index": Look(VERMILION, "h", variant=True),
    "2025 index": Look(VERMILION, ">"),
    "tuned on 2015": Look(ORANGE, "v", variant=True),
    "RAG-original": Look(GRAY, "s"),
    "RAG-original-QA": Look(BLUE, "o"),
    "RAG-end2end-QA": Look(VERMILION, ">"),
    "RAG-end2end-QA+R": Look(GREEN, "P"),
    "old index": Look(VERMILION, "h", variant=True),
    "never": Look(SKY_BLUE, "D"),
    "regularly": Look(VERMILION, ">"),
    "often": Look(PURPLE, "X"),
    "question encoder": Look(BLUE, "o"),
    "passage encoder": Look(ORANGE, "^"),
    "both encoders": Look(VERMILION, ">"),
    "dropout off": Look(VERMILION, ">"),
    "dropout on": Look(GRAY, "s"),
    "base": Look(ORANGE, "^"),
    "IT": Look(ORANGE, "v", variant=True),
    "R-ft": Look(BLACK, "*", variant=True),
    "supervised": Look(GREEN, "P"),
    "RA-IT": Look(BLUE, "p", variant=True),
    "RA-DIT": Look(VERMILION, ">"),
    "concatenation": Look(PURPLE, "8", variant=True),
    "prompting": Look(GRAY, "s"),
    "fine-tuned": Look(ORANGE, "^"),
    "RAG": Look(BLUE, "o"),
    "RAG, tuned retriever": Look(SKY_BLUE, "D"),
    "fine-tuned + RAG": Look(VERMILION, ">"),
    "never updated": Look(SKY_BLUE, "D"),
    "index refreshed": Look(VERMILION, ">"),
    "trained anew": Look(ORANGE, "^"),
    "untuned": Look(GRAY, "s"),
    "LM": Look(GRAY, "s"),
    "kNN-LM": Look(BLUE, "o"),
    "other text": Look(PURPLE, "X"),
    "cache": Look(SKY_BLUE, "D"),
    "n-grams": Look(ORANGE, "v", variant=True),
    "kNN-LM + cache": Look(SKY_BLUE, "d", variant=True),
    "kNN-LM + n-grams": Look(BLUE, "p", variant=True),
    "same text": Look(SKY_BLUE, "D"),
    "all text": Look(BLUE, "o"),
    "Wikipedia": Look(PURPLE, "X"),
    "other countries": Look(PURPLE, "X"),
    "skeleton": Look(SKY_BLUE, "d", variant=True),
    "gold passages": Look(GREEN, "P"),
    "trained once": Look(ORANGE, "^"),
    "little": Look(ORANGE, "v", variant=True),
    "learned": Look(ORANGE, "^"),
    "learned + same text": Look(VERMILION, "h", variant=True),
    "learned + all text": Look(VERMILION, ">"),
    "ffn_input": Look(BLUE, "o"),
    "before_ffn_norm": Look(SKY_BLUE, "d", variant=True),
    "attention_input": Look(ORANGE, "^"),
    "final_state": Look(GREEN, "P"),
    "compressed": Look(GRAY, "s"),
    "computed again": Look(BLUE, "o"),
    "Hybrid": Look(VERMILION, ">"),
    "re-ranked": Look(GREEN, "P"),
    "re-ranker alone": Look(SKY_BLUE, "d", variant=True),
    "query likelihood": Look(BLACK, "<"),
    "RRF, k = 2": Look(ORANGE, "^"),
    "RRF, k = 10": Look(ORANGE, "v", variant=True),
    "RRF, k = 60": Look(VERMILION, ">"),
    "min-max": Look(SKY_BLUE, "D"),
    "min-max, one weight": Look(SKY_BLUE, "d", variant=True),
    "min-max, a weight per corpus": Look(BLUE, "p", variant=True),
    "32 tokens": Look(ORANGE, "^"),
    "64 tokens": Look(VERMILION, ">"),
    "128 tokens": Look(SKY_BLUE, "D"),
    "256 tokens": Look(BLUE, "o"),
    "512 tokens": Look(BLACK, "<"),
    "smallest chunks": Look(VERMILION, ">"),
    "largest chunks": Look(BLUE, "o"),
    "tokens": Look(GRAY, "s"),
    "sentences": Look(SKY_BLUE, "D"),
    "10 % overlap": Look(ORANGE, "^"),
    "25 % overlap": Look(VERMILION, ">"),
    "best chunk": Look(GREEN, "P"),
    "first window": Look(BLACK, "<"),
    "mean of windows": Look(BLUE, "o"),
}


def look_of(method: str) -> Look:
    """The look of a method. Raises InputError for one that is not in LOOKS."""
    if method not in LOOKS:
        raise InputError(f"no colour for {method!r}: add it to LOOKS in nbutils.plotting.methods")
    return LOOKS[method]


def line_style(method: str) -> dict[str, Any]:
    """How a method's line and markers are drawn: arguments of matplotlib's `plot`. Raises InputError as `look_of`."""
    look = look_of(method)
    style = {"color": look.color, "marker": look.marker}
    return {**style, "linestyle": (0, (4, 1.5)), "markerfacecolor": "white"} if look.variant else style
