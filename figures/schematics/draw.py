"""Draws the schematics of the methods: `python figures/schematics/draw.py` (or `make schematics`) writes them again.

Each is one SVG beside this file, 800 pixels wide, on opaque white. Equal code gives equal bytes: no date, no version,
no random name. Text stays text, and has a title and a description for those who do not see the picture.
Places are in pixels, from the upper left corner. Matplotlib draws boxes and arrows, nothing is laid out by itself.
"""

import html
import io
import itertools
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbutils.files import write_text
from nbutils.plotting import STYLE
from nbutils.plotting.methods import BLACK, BLUE, GRAY, GREEN, LOOKS

WIDTH = 800  # pixels, of which CSS has 96 an inch
TEXT, SMALL = 9.5, 9  # points
LINE = 16  # pixels from one line to the next
ROW = 17  # pixels of one passage in a ranked list
CELL = 9  # pixels of one number of a vector
OTHER_FONTS = "Verdana, sans-serif"  # for readers without DejaVu: letters of about the same width
GRADIENT = GREEN  # no part and no method in these pictures has this color
# What learns differs from what is frozen by its border too, not by color alone.
LOOK_OF_BOX = {
    "learns": {"facecolor": "#d9eaf5", "edgecolor": BLUE, "linewidth": 1.8},
    "frozen": {"facecolor": "#ececec", "edgecolor": GRAY, "linewidth": 0.7},
    "data": {"facecolor": "white", "edgecolor": BLACK, "linewidth": 0.8},
    "panel": {"facecolor": "none", "edgecolor": "#bbbbbb", "linewidth": 0.8},
}


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, and the middles of its sides, where arrows start and end."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def x(self) -> float:
        return (self.left + self.right) / 2

    @property
    def y(self) -> float:
        return (self.top + self.bottom) / 2


def sheet(height: int) -> Any:
    """An empty axis, WIDTH by `height` pixels, whose coordinates are pixels and grow to the right and downwards."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(WIDTH / 96, height / 96), layout="none")
    ax = fig.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
    ax.axis("off")
    return ax


def write(ax: Any, x: float, y: float, text: str, **look: Any) -> None:
    """Lines of text around (x, y). Each sits on its baseline: its place does not hang on the height of its letters."""
    lines = text.split("\n")
    for i, line in enumerate(lines):
        bold = line.startswith("*")
        baseline = y + 4.5 + (i - (len(lines) - 1) / 2) * LINE
        style = {"fontsize": TEXT, "ha": "center", "va": "baseline", **look}
        ax.text(x, baseline, line.removeprefix("*"), fontweight="bold" if bold else "normal", **style)


def box(ax: Any, place: tuple[float, float, float, float], kind: str, text: str = "", **look: Any) -> Box:
    """Draw a box at (left, top, right, bottom), with text in its middle; a line that starts with * is bold."""
    from matplotlib.patches import FancyBboxPatch

    one = Box(*place)
    corner = "round,pad=0,rounding_size=5" if kind in ("learns", "frozen", "panel") else "square,pad=0"
    size = (one.right - one.left, one.bottom - one.top)
    ax.add_patch(FancyBboxPatch((one.left, one.top), *size, boxstyle=corner, **LOOK_OF_BOX[kind]))
    if text:
        write(ax, one.x, one.y, text, **look)
    return one


def arrow(ax: Any, *points: tuple[float, float], gradient: bool = False) -> None:
    """A line through the points with a head at the last; of a gradient it is dashed and in its own color."""
    color = GRADIENT if gradient else BLACK
    (x, y), (before_x, before_y) = points[-1], points[-2]
    length = abs(x - before_x) + abs(y - before_y)  # the last piece is horizontal or vertical
    along_x, along_y = (x - before_x) / length, (y - before_y) / length
    neck = (x - 8 * along_x, y - 8 * along_y)
    style = {"linestyle": (0, (4, 2)), "linewidth": 1.5} if gradient else {"linewidth": 1.1}
    ax.plot(*zip(*points[:-1], neck, strict=True), color=color, solid_joinstyle="round", **style)
    side_x, side_y = 3.6 * along_y, 3.6 * along_x
    head = [(x, y), (neck[0] + side_x, neck[1] + side_y), (neck[0] - side_x, neck[1] - side_y)]
    ax.fill(*zip(*head, strict=True), color=color, linewidth=0)


def bars(ax: Any, left: float, top: float, lengths: tuple[float, ...], step: float = 12) -> None:
    """Horizontal bars, one below the other: a distribution over passages."""
    for i, length in enumerate(lengths):
        ax.barh(top + i * step, length, height=7, left=left, color="#888888", linewidth=0)


def legend(ax: Any, y: float) -> None:
    """What borders, fills and dashes mean, in one row at height y."""
    for x, kind in ((222, "learns"), (332, "frozen")):
        box(ax, (x, y - 7, x + 26, y + 7), kind)
        write(ax, x + 34, y, kind, ha="left")
    arrow(ax, (442, y), (478, y), gradient=True)
    write(ax, 486, y, "gradient of the loss", ha="left")


def draw_rag() -> Any:
    """Lewis et al. 2020: the gradient reaches generator and question encoder, and the index stays as it is."""
    ax, middle = sheet(380), 150
    question = box(ax, (12, 128, 88, 172), "data", "question\n$x$")
    encoder = box(ax, (110, 118, 194, 182), "learns", "*question\n*encoder")
    index = box(ax, (236, 112, 340, 188), "frozen", "*index\nsearch by\n$d(z)^{\\top}q(x)$")
    passages = box(ax, (362, 84, 464, 216), "data")
    generator = box(ax, (492, 118, 584, 182), "learns", "*generator\nreads\neach pair")
    marginal = box(ax, (640, 112, 788, 188), "data")
    loss = box(ax, (640, 20, 788, 58), "data", "loss  $-\\log\\, p(y|x)$")
    answer = box(ax, (690, 244, 788, 282), "data", "answer $y$")
    corpus = box(ax, (110, 258, 194, 302), "data", "all\npassages")
    passage_encoder = box(ax, (236, 254, 340, 306), "frozen", "*passage\n*encoder")

    for y, text in ((127, "*marginalize"), (146, "$p(y|x) =$"), (165, "$\\sum_z\\, p(z|x)\\, p(y|x,z)$")):
        write(ax, marginal.x, y, text)  # the sum is taller than a line
    write(ax, passages.x, 104, "$K$ passages")
    for y, name, length in ((132, "1", 42), (154, "2", 20), (188, "K", 7)):
        write(ax, passages.left + 28, y, f"$x, z_{name}$")
        bars(ax, passages.left + 52, y, (length,))
    write(ax, passages.left + 28, 171, "⋮")

    arrow(ax, (question.right, middle), (encoder.left, middle))
    arrow(ax, (encoder.right, middle), (index.left, middle))
    write(ax, (encoder.right + index.left) / 2, middle - 14, "$q(x)$")
    arrow(ax, (index.right, middle), (passages.left, middle))
    arrow(ax, (passages.right, middle), (generator.left, middle))
    arrow(ax, (generator.right, middle), (marginal.left, middle))
    write(ax, (generator.right + marginal.left) / 2, middle - 14, "$p(y|x,z)$", fontsize=SMALL)
    arrow(ax, (corpus.right, passage_encoder.y), (passage_encoder.left, passage_encoder.y))
    arrow(ax, (index.x, passage_encoder.top), (index.x, index.bottom))
    write(ax, index.x + 8, 230, "$d(z)$,\ncomputed once", ha="left")
    arrow(ax, (question.x, question.bottom), (question.x, 332), (408, 332), (408, passages.bottom))
    write(ax, question.x + 10, 250, "$x$")
    arrow(ax, (438, passages.bottom), (438, 240), (662, 240), (662, marginal.bottom))
    write(ax, 550, 254, "$p(z|x)$")
    arrow(ax, (739, marginal.bottom), (739, answer.top))
    arrow(ax, (loss.x, marginal.top), (loss.x, loss.bottom))
    arrow(ax, (loss.left, loss.y), (generator.x, loss.y), (generator.x, generator.top), gradient=True)
    arrow(ax, (generator.x, loss.y), (encoder.x, loss.y), (encoder.x, encoder.top), gradient=True)
    legend(ax, 362)
    return ax.figure


def draw_rag_end2end() -> Any:
    """Siriwardhana et al. 2021, 2023: the gradient reaches the passage encoder too, and the index follows it."""
    ax, middle, below = sheet(456), 150, 286
    question = box(ax, (8, 128, 78, 172), "data", "question\n$x$")
    encoder = box(ax, (98, 118, 182, 182), "learns", "*question\n*encoder")
    index = box(ax, (228, 98, 344, 202), "frozen")
    passages = box(ax, (386, 94, 464, 206), "data")
    generator = box(ax, (504, 118, 590, 182), "learns", "*generator\nreads\neach pair")
    marginal = box(ax, (646, 112, 790, 188), "data")
    loss = box(ax, (646, 20, 790, 58), "data", "loss  $-\\log\\, p(y|x)$")
    passage_encoder = box(ax, (416, 242, 534, 330), "learns", "*passage\n*encoder\nencodes them\nanew each step")
    prior = box(ax, (634, 242, 790, 330), "data")
    box(ax, (158, 238, 404, 398), "panel")
    corpus = box(ax, (167, 264, 237, 308), "data", "all\npassages", fontsize=SMALL)
    copy = box(ax, (258, 254, 342, 318), "frozen", "*passage\n*encoder\nsnapshot")

    for y, text in ((112, "*index"), (129, "search by"), (147, "$\\tilde{d}(z)^{\\top}q(x)$")):
        write(ax, index.x, y, text)
    write(ax, index.x, 180, "$\\tilde{d}$ of an earlier\npassage encoder", fontsize=SMALL)
    write(ax, passages.x, 110, "$K$ passages", fontsize=SMALL)
    for y, text in ((132, "$x, z_1$"), (152, "$x, z_2$"), (169, "⋮"), (187, "$x, z_K$")):
        write(ax, passages.x, y, text)
    for y, text in ((127, "*marginalize"), (146, "$p(y|x) =$"), (165, "$\\sum_z\\, p(z|x)\\, p(y|x,z)$")):
        write(ax, marginal.x, y, text)  # the sum is taller than a line
    write(ax, prior.left + 44, 266, "$p(z|x)$")
    bars(ax, prior.left + 86, 254, (42, 20, 7))
    for y, text in ((297, "softmax of $d(z)^{\\top}q(x)$,"), (316, "both of this step")):
        write(ax, prior.x, y, text)

    arrow(ax, (question.right, middle), (encoder.left, middle))
    arrow(ax, (encoder.right, middle), (index.left, middle))
    write(ax, (encoder.right + index.left) / 2, middle - 14, "$q(x)$")
    arrow(ax, (index.right, middle), (passages.left, middle))
    write(ax, (index.right + passages.left) / 2, middle - 14, "ids")
    arrow(ax, (passages.right, middle), (generator.left, middle))
    arrow(ax, (generator.right, middle), (marginal.left, middle))
    write(ax, (generator.right + marginal.left) / 2, middle - 14, "$p(y|x,z)$", fontsize=SMALL)
    arrow(ax, (marginal.x, marginal.top), (marginal.x, loss.bottom))

    arrow(ax, (442, passages.bottom), (442, passage_encoder.top))
    write(ax, 432, 224, "$z$")
    arrow(ax, (passage_encoder.right, below), (prior.left, below))
    write(ax, (passage_encoder.right + prior.left) / 2, below - 14, "$d(z)$")
    arrow(ax, (encoder.x, encoder.bottom), (encoder.x, 414), (marginal.x, 414), (marginal.x, prior.bottom))
    write(ax, marginal.x + 22, 374, "$q(x)$")
    arrow(ax, (marginal.x, prior.top), (marginal.x, marginal.bottom))
    write(ax, marginal.x + 28, 217, "$p(z|x)$")

    arrow(ax, (passage_encoder.left, below), (copy.right, below))
    write(ax, 374, below - 12, "copy", fontsize=SMALL)
    write(ax, 374, below + 22, "every\n$n$ steps", fontsize=SMALL)
    arrow(ax, (corpus.right, below), (copy.left, below))
    arrow(ax, (copy.x, copy.top), (copy.x, index.bottom))
    write(ax, copy.x + 8, 222, "$\\tilde{d}(z)$", ha="left")
    write(ax, 281, 346, "*refresh of the index")
    write(ax, 281, 373, "in the process, or by Ray actors\nwhile training goes on", fontsize=SMALL)

    arrow(ax, (loss.left, loss.y), (generator.x, loss.y), (generator.x, generator.top), gradient=True)
    arrow(ax, (generator.x, loss.y), (484, loss.y), (484, passage_encoder.top), gradient=True)
    arrow(ax, (484, loss.y), (encoder.x, loss.y), (encoder.x, encoder.top), gradient=True)
    legend(ax, 438)
    return ax.figure


def prompts(ax: Any, edges: tuple[float, ...], parts: tuple[str, ...]) -> None:
    """One prompt of several parts between the given edges, and the edges of more prompts behind it: one a passage."""
    for shift in (6, 3, 0):
        box(ax, (edges[0] + shift, 72 - shift, edges[-1] + shift, 108 - shift), "data")
    for left, right, part in zip(edges, edges[1:], parts, strict=False):
        box(ax, (left, 72, right, 108), "data", part)


def draw_ra_it(ax: Any) -> Box:
    """The left half of RA-DIT; the language model's box, from which an arrow leads to the right half."""
    box(ax, (10, 10, 392, 352), "panel")
    write(ax, 201, 28, "*RA-IT", color=LOOKS["RA-IT"].color)
    write(ax, 201, 46, "the language model learns to use retrieved passages", fontsize=SMALL)
    prompts(ax, (46, 130, 272, 356), ("instruction", "retrieved passage $c$", "question $x$"))
    model = box(ax, (121, 142, 281, 194), "learns", "*language model\n(LoRA)")
    answer = box(ax, (121, 228, 281, 280), "data", "answer $y$")
    loss = box(ax, (121, 308, 281, 340), "data", "loss  $-\\log\\, p_{LM}(y|c,x)$")
    arrow(ax, (model.x, 108), (model.x, model.top))
    arrow(ax, (model.x, model.bottom), (answer.x, answer.top))
    arrow(ax, (answer.x, answer.bottom), (loss.x, loss.top))
    arrow(ax, (loss.left, loss.y), (66, loss.y), (66, model.y), (model.left, model.y), gradient=True)
    return model


def draw_r_ft(ax: Any) -> Box:
    """The right half of RA-DIT; the box of the tuned language model."""
    box(ax, (408, 10, 790, 352), "panel")
    write(ax, 599, 28, "*R-ft", color=LOOKS["R-ft"].color)
    write(ax, 599, 46, "the question encoder learns which passages help", fontsize=SMALL)
    prompts(ax, (414, 501, 578, 648), ("candidate $c$", "question $x$", "answer $y$"))
    question = box(ax, (667, 72, 751, 108), "data", "question $x$")
    model = box(ax, (460, 142, 610, 194), "frozen", "*tuned\n*language model")
    encoder = box(ax, (667, 142, 751, 194), "learns", "*question\n*encoder")
    wanted = box(ax, (448, 228, 622, 280), "data")
    found = box(ax, (646, 228, 772, 280), "data")
    for distribution, name, lengths in (
        (wanted, "$p_{LSR}(c|x,y)$", (10, 48, 6)),
        (found, "$p_R(c|x)$", (34, 16, 14)),
    ):
        write(ax, distribution.left + 10, distribution.y, name, ha="left")
        bars(ax, distribution.right - 54, distribution.y - 12, lengths)
    loss = box(ax, (500, 308, 740, 340), "data", "loss  KL$(p_R\\,\\|\\,p_{LSR})$")
    arrow(ax, (model.x, 108), (model.x, model.top))
    arrow(ax, (model.x, model.bottom), (model.x, wanted.top))
    write(ax, model.x - 8, 211, "$p_{LM}(y|c,x)$", ha="right")
    write(ax, model.x + 8, 211, "softmax over $c$", ha="left", fontsize=SMALL)
    write(ax, encoder.x + 8, 211, "$q(x)$", ha="left")
    arrow(ax, (model.x, wanted.bottom), (model.x, loss.top))
    arrow(ax, (question.x, question.bottom), (question.x, encoder.top))
    arrow(ax, (encoder.x, encoder.bottom), (encoder.x, found.top))
    arrow(ax, (encoder.x, found.bottom), (encoder.x, loss.top))
    arrow(ax, (loss.right, loss.y), (781, loss.y), (781, encoder.y), (encoder.right, encoder.y), gradient=True)
    return model


def draw_ra_dit() -> Any:
    """Lin et al. 2023: two trainings, each of one part, and both parts together at test time."""
    ax = sheet(500)
    learner, judge = draw_ra_it(ax), draw_r_ft(ax)
    arrow(ax, (learner.right, learner.y), (judge.left, learner.y))
    write(ax, 345, learner.y - 10, "then frozen", fontsize=SMALL)

    box(ax, (10, 368, 790, 464), "panel")
    write(ax, 60, 407, "*RA-DIT", color=LOOKS["RA-DIT"].color)
    write(ax, 60, 425, "at test time", fontsize=SMALL)
    row = (
        box(ax, (112, 392, 184, 440), "data", "question\n$x$"),
        box(ax, (206, 384, 306, 448), "frozen", "*question\n*encoder\nof R-ft"),
        box(ax, (328, 392, 410, 440), "data", "$K$ passages\n$p_R(c|x)$"),
        box(ax, (432, 384, 536, 448), "frozen", "*language\n*model\nof RA-IT"),
        box(ax, (558, 392, 702, 440), "data", "$\\sum_c\\, p_R(c|x)\\, p_{LM}(y|c,x)$", fontsize=SMALL),
        box(ax, (724, 392, 780, 440), "data", "answer\n$y$"),
    )
    for one, following in itertools.pairwise(row):
        arrow(ax, (one.right, one.y), (following.left, one.y))
    legend(ax, 482)
    return ax.figure


def ranked(ax: Any, left: float, top: float, passages: str) -> Box:
    """A ranked list that goes on: a small box each passage, its rank to the left of it. The box around them all."""
    stack = Box(left, top, left + 24, top + len(passages) * ROW)
    for rank, passage in enumerate(passages, start=1):
        row = box(ax, (left, top + (rank - 1) * ROW, stack.right, top + rank * ROW), "data", passage)
        write(ax, left - 6, row.y, f"{rank}", ha="right", fontsize=SMALL)
    write(ax, stack.x, stack.bottom + 9, "⋮")
    return stack


def bracket(ax: Any, stack: Box, left: float, bottom: float) -> Box:
    """What is taken of a ranked list, from its top to `bottom`; an arrow starts at its right side."""
    taken = Box(left, stack.top, left + 5, bottom)
    outline = (taken.left, taken.right, taken.right, taken.left), (taken.top, taken.top, bottom, bottom)
    ax.plot(*outline, color=BLACK, linewidth=0.8, solid_joinstyle="miter")
    return taken


def draw_hybrid_search() -> Any:
    """Microsoft 2023: keyword and vector search, fused by rank (Cormack et al. 2009), then re-ranked."""
    ax, middle, below = sheet(280), 138, 266
    query = box(ax, (8, 118, 58, 158), "data", "query")
    keyword = box(ax, (88, 22, 176, 86), "frozen", "*keyword\n*search\n(BM25)")
    vector = box(ax, (88, 176, 176, 240), "frozen", "*vector\n*search\n(bi-encoder)")
    by_keyword, by_vector = ranked(ax, 208, 20, "ABCD"), ranked(ax, 208, 174, "CEAF")
    fusion = box(ax, (145, 118, 295, 158), "frozen", "*RRF\nsum of 1/(60 + rank)")
    fused = ranked(ax, 329, 87, "ACBEDF")
    reranker = box(ax, (494, 96, 586, 180), "frozen", "*re-ranker\nreads query\nand passage\ntogether")
    reranked = ranked(ax, 620, 87, "EACBFD")
    k_best = bracket(ax, reranked, 650, reranked.top + 3 * ROW)
    top_50 = bracket(ax, fused, 438, fused.bottom + ROW)
    model = box(ax, (704, k_best.y - 28, 792, k_best.y + 28), "frozen", "*language\n*model")
    answer = box(ax, (716, 22, 780, 54), "data", "answer")

    write(ax, by_keyword.left - 6, 10, "rank", ha="right", fontsize=SMALL)
    write(ax, by_keyword.left, 10, "passage", ha="left", fontsize=SMALL)
    write(ax, fused.right + 7, fused.top - 10, "score", ha="left", fontsize=SMALL)
    for i, terms in enumerate(("1/61 + 1/63", "1/63 + 1/61", "1/62", "1/62", "1/64", "1/64")):
        write(ax, fused.right + 7, fused.top + (i + 0.5) * ROW, terms, ha="left", fontsize=SMALL)
    write(ax, (top_50.right + reranker.left) / 2 - 1, middle - 12, "top 50", fontsize=SMALL)
    write(ax, (k_best.right + model.left) / 2 - 1, model.y - 12, "$K$ best", fontsize=SMALL)

    ax.plot((query.right, 73), (middle, middle), color=BLACK, linewidth=1.1)
    for search, found in ((keyword, by_keyword), (vector, by_vector)):
        arrow(ax, (73, middle), (73, search.y), (search.left, search.y))
        arrow(ax, (search.right, search.y), (found.left - 18, search.y))
    arrow(ax, (fusion.x, by_keyword.bottom + ROW), (fusion.x, fusion.top))
    arrow(ax, (fusion.x, by_vector.top), (fusion.x, fusion.bottom))
    arrow(ax, (fusion.right, middle), (fused.left - 18, middle))
    arrow(ax, (top_50.right, middle), (reranker.left, middle))
    arrow(ax, (reranker.right, middle), (reranked.left - 18, middle))
    arrow(ax, (k_best.right, model.y), (model.left, model.y))
    arrow(ax, (query.x, query.bottom), (query.x, below), (model.x, below), (model.x, model.bottom))
    arrow(ax, (reranker.x, below), (reranker.x, reranker.bottom))
    arrow(ax, (model.x, model.top), (answer.x, answer.bottom))
    return ax.figure


def vector(ax: Any, left: float, y: float, values: tuple[int, ...]) -> None:
    """A vector as a row of cells around height y: the larger a value, from 0 to 3, the darker its cell."""
    from matplotlib.patches import Rectangle

    for i, value in enumerate(values):
        place = (left + i * CELL, y - CELL / 2)
        ax.add_patch(Rectangle(place, CELL, CELL, facecolor=f"{1 - 0.25 * value}", edgecolor=GRAY, linewidth=0.6))


def next_tokens(ax: Any, place: tuple[float, float, float, float], name: str, chances: dict[str, float]) -> Box:
    """A box with a distribution over the next token: its name, and of each token a bar and a number."""
    one = box(ax, place, "data")
    write(ax, one.x, one.top + 16, name)
    for i, (token, p) in enumerate(chances.items()):
        y = one.top + 39 + i * ROW
        write(ax, one.left + 8, y, token, ha="left", fontsize=SMALL)
        bars(ax, one.left + 81, y, (32 * p,))
        write(ax, one.right - 6, y, f"{p:.2f}", ha="right", fontsize=SMALL)
    return one


def draw_datastore(ax: Any, query: tuple[int, ...], k: int) -> tuple[Box, Box, dict[str, float]]:
    """The datastore of kNN-LM; its box, what is taken of it, and p_kNN of the k rows drawn first, which are nearest."""
    rows = (
        ((1, 2, 1, 2, 1), "Koror"),
        ((0, 2, 1, 3, 2), "Ngerulmud"),
        ((0, 1, 2, 3, 0), "Ngerulmud"),
        ((2, 1, 1, 1, 1), "Suva"),
    )
    distances = [sum((a - b) ** 2 for a, b in zip(key, query, strict=True)) for key, _ in rows]
    weights = [math.exp(-distance) for distance in distances[:k]]  # T = 1
    chances = {
        token: sum(weight for weight, (_, found) in zip(weights, rows, strict=False) if found == token) / sum(weights)
        for token in ("Ngerulmud", "Koror")
    }

    store, first, step = box(ax, (234, 164, 416, 356), "panel"), 228, 22
    write(ax, store.x, 180, "*datastore")
    for x, text in ((266, "key"), (342, "next token"), (395, "$d$")):
        write(ax, x, 204, text, fontsize=SMALL)
    for i, ((key, token), distance) in enumerate(zip(rows, distances, strict=True)):
        y = first + i * step
        vector(ax, 244, y, key)
        arrow(ax, (292, y), (306, y))
        write(ax, 310, y, token, ha="left", fontsize=SMALL)
        write(ax, 395, y, f"{distance}", fontsize=SMALL)
    write(ax, 266, first + len(rows) * step - 5, "⋮")
    write(ax, store.x, 336, "$d$: squared distance\nto the query", fontsize=SMALL)
    taken = bracket(ax, Box(405, first - 10, 405, 0), 405, first + (k - 1) * step + 10)
    return store, taken, chances


def draw_survey() -> Any:
    """Khandelwal et al. 2020: kNN-LM; beneath it, other places where retrieved knowledge enters (Li et al. 2022)."""
    ax, query, share = sheet(478), (0, 2, 1, 3, 1), 0.4
    store, taken, chances = draw_datastore(ax, query, k=3)
    by_neighbors = {**chances, "others": 0.0}
    by_model = {"Ngerulmud": 0.3, "Koror": 0.4, "others": 0.3}
    mixed = {token: share * by_neighbors[token] + (1 - share) * p for token, p in by_model.items()}

    text = box(ax, (8, 42, 110, 90), "data", "... The capital\nof Palau is")
    model = box(ax, (128, 34, 216, 98), "frozen", "*language\n*model\nfrozen")
    others = box(ax, (8, 226, 110, 274), "data", "other texts")
    same = box(ax, (128, 218, 216, 282), "frozen", "*the same\n*language\n*model")
    p_model = next_tokens(ax, (476, 10, 624, 98), "$p_{LM}$", by_model)
    mix = box(ax, (476, 122, 624, 182), "data")
    p_neighbors = next_tokens(ax, (476, 206, 624, 294), r"$p_{kNN} \propto \sum\, \exp(-d/T)$", by_neighbors)
    p_next = next_tokens(ax, (648, 108, 792, 196), "$p$", mixed)

    write(ax, text.x, 30, "text so far", fontsize=SMALL)
    write(ax, mix.x, 142, r"$p = \lambda\; p_{kNN}$")
    write(ax, mix.x, 163, r"$+\; (1 - \lambda)\; p_{LM}$")
    write(ax, p_next.x, 213, r"$\lambda = 0.4$, $T = 1$", fontsize=SMALL)
    write(ax, 334, 112, "query", ha="left")
    vector(ax, 334, 132, query)
    write(ax, 446, taken.y - 24, "$k$ = 3\nnearest", fontsize=SMALL)

    arrow(ax, (text.right, text.y), (model.left, model.y))
    arrow(ax, (model.right, 54), (p_model.left, 54))
    arrow(ax, (model.right, 80), (store.x, 80), (store.x, store.top))
    arrow(ax, (others.right, others.y), (same.left, same.y))
    arrow(ax, (same.right, same.y), (store.left, same.y))
    arrow(ax, (taken.right, taken.y), (p_neighbors.left, taken.y))
    arrow(ax, (p_model.x, p_model.bottom), (mix.x, mix.top))
    arrow(ax, (p_neighbors.x, p_neighbors.top), (mix.x, mix.bottom))
    arrow(ax, (mix.right, mix.y), (p_next.left, p_next.y))

    box(ax, (8, 372, 792, 468), "panel")
    write(ax, WIDTH / 2, 389, "some places where retrieved knowledge can enter a language model")
    for i, (kind, place) in enumerate(
        (
            ("data", "*into the prompt\nconcatenation (RAG)"),
            ("data", "*into the mixture\n*of answers\nmarginalization"),
            ("data", "*into the next-token\n*distribution\nkNN-LM, as above"),
            ("data", "*as a draft to edit\nskeleton"),
            ("learns", "*into the weights\ntraining"),
        )
    ):
        left = 16 + i * 155
        box(ax, (left, 404, left + 148, 460), kind, place, fontsize=SMALL)
    return ax.figure


# File, the function that draws it, title, and what it shows in words.
SCHEMATICS = {
    "rag.svg": (
        draw_rag,
        "RAG (Lewis et al. 2020)",
        "A question x goes through the question encoder, which learns, to a vector q(x). It is compared with an index "
        "of passage vectors d(z), which the frozen passage encoder has computed once. The search returns K passages, "
        "each with a probability p(z|x). The generator, which learns, reads x with each passage and gives p(y|x,z). "
        "The sum of p(z|x) p(y|x,z) over the passages is p(y|x). From it come the answer y and the loss. The gradient "
        "of the loss flows back into the generator and the question encoder, not into the passage encoder.",
    ),
    "rag_end2end.svg": (
        draw_rag_end2end,
        "RAG end to end (Siriwardhana et al. 2021, 2023)",
        "A question x goes through the question encoder, which learns, to a vector q(x). It is compared with an index "
        "of passage vectors that an earlier passage encoder has made. The search returns the ids of K passages. In "
        "each step the passage encoder, which learns too, encodes these K passages anew to vectors d(z), and the "
        "softmax of the products of d(z) and q(x), both of this step, is p(z|x). The generator, which learns, reads "
        "x with each passage and gives p(y|x,z). The sum of p(z|x) p(y|x,z) over the passages is p(y|x), and from it "
        "comes the loss. Its gradient flows back into the generator, the question encoder and the passage encoder. "
        "Every n steps the index is refreshed: a copy of the passage encoder, a snapshot, encodes all passages, and "
        "their vectors replace those of the index. This happens in the process, or Ray actors do it while training "
        "goes on.",
    ),
    "ra_dit.svg": (
        draw_ra_dit,
        "RA-DIT (Lin et al. 2023)",
        "Left, RA-IT: a language model with LoRA learns to answer from an instruction, a retrieved passage and the "
        "question. Right, R-ft: the tuned language model, now frozen, reads each candidate passage c; the probability "
        "p_LM(y|c,x) that it gives to the correct answer is normalized over the candidates to p_LSR. The question "
        "encoder, which learns, gives p_R(c|x). The loss is KL(p_R || p_LSR), and its gradient flows into the question "
        "encoder only. Below, at test time: the question encoder retrieves K passages, the language model answers from "
        "each, and the answers are weighed by p_R(c|x).",
    ),
    "hybrid_search.svg": (
        draw_hybrid_search,
        "Hybrid search with re-ranking (Microsoft 2023)",
        "A query goes to two searches: keyword search (BM25) and vector search (a bi-encoder). Each returns a ranked "
        "list of passages, A, B, C, D by keywords and C, E, A, F by vectors. Reciprocal rank fusion (RRF) makes one "
        "list of both: the score of a passage is the sum of 1/(60 + rank) over the lists that it is in. A and C are "
        "in both and have 1/61 + 1/63, B and E have 1/62, D and F have 1/64. Equal scores stand by the best rank, then "
        "the first list, so the fused order is A, C, B, E, D, F. A re-ranker reads the query together with each of "
        "the top 50 passages of the fused list and puts them into a new order, here E, A, C, B, F, D. The language "
        "model reads the query and the K best passages and gives the answer. No part learns.",
    ),
    "survey.svg": (
        draw_survey,
        "kNN-LM (Khandelwal et al. 2020) and other places where retrieved knowledge can enter (Li et al. 2022)",
        "An example with invented numbers; words stand for tokens. A text so far, ... The capital of Palau is, goes "
        "into a language model, which is frozen. The model gives p_LM, its own probabilities of the next token: "
        "Ngerulmud 0.30, Koror 0.40, others 0.30. It gives a vector too, the query. Below, the same language model has "
        "read other texts and made a datastore: each row holds a key, which is the vector of a place in a text, and "
        "the token that came next there. The squared distances d from the keys to the query are 2 for Koror, 1 and 3 "
        "for two rows with Ngerulmud, and 9 for Suva. The k = 3 nearest rows are taken, and p_kNN of a token is "
        "proportional to the sum of exp(-d/T) over those of its rows: with T = 1, Ngerulmud 0.76 and Koror 0.24. Both "
        "meet in p = lambda p_kNN + (1 - lambda) p_LM: with lambda = 0.4, Ngerulmud 0.48, Koror 0.34, others 0.18. "
        "Alone, the model would have said Koror. Beneath, a strip of some places where retrieved knowledge can enter a "
        "language model: into the prompt by concatenation (RAG), into the mixture of answers by marginalization, into "
        "the next-token distribution (kNN-LM, as above), as a draft to edit (a skeleton), and into the weights "
        "by training, where the model learns.",
    ),
}


def svg(name: str) -> str:
    """The text of a schematic, one of SCHEMATICS, in SVG."""
    import matplotlib as mpl

    draw, title, description = SCHEMATICS[name]
    written = io.StringIO()
    with mpl.rc_context():
        mpl.rcdefaults()  # not what a reader's own matplotlibrc says
        mpl.rcParams.update({**STYLE, "svg.fonttype": "none", "svg.hashsalt": name})
        draw().savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    head = f"<title>{html.escape(title)}</title>\n <desc>{html.escape(description)}</desc>\n <defs>"
    text = written.getvalue().replace("<svg ", '<svg role="img" ', 1).replace("<defs>", head, 1)
    return re.sub("'DejaVu Sans( Display)?'", rf"\g<0>, {OTHER_FONTS}", text)


def main(folder: Path) -> None:
    """Write all schematics into a folder."""
    for name in SCHEMATICS:
        write_text(folder / name, svg(name))


if __name__ == "__main__":
    main(Path(__file__).parent)
