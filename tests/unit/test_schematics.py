"""The schematics: drawn by one command with the same bytes, readable, described in words, and without date or path."""

import math
import re
import runpy
from fractions import Fraction
from importlib.metadata import version
from itertools import combinations
from types import SimpleNamespace

import matplotlib
import pytest
from defusedxml import ElementTree
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyBboxPatch, Polygon

from nbutils import paths

FOLDER = paths.FIGURES / "schematics"
SCRIPT = SimpleNamespace(**runpy.run_path(str(FOLDER / "draw.py")))
NAMES = sorted(SCRIPT.SCHEMATICS)
SVG = "{http://www.w3.org/2000/svg}"


def committed(name):
    return (FOLDER / name).read_text(encoding="utf-8")


def test_the_script_draws_all_schematics_and_nothing_else():
    assert sorted(path.name for path in FOLDER.glob("*.svg")) == NAMES


def test_equal_bytes_whatever_the_reader_has_set(tmp_path):
    fixed = re.findall(r"^matplotlib==(\S+)", (paths.ROOT / "constraints.txt").read_text(), re.MULTILINE)
    if version("matplotlib") not in fixed:
        pytest.skip("another Matplotlib than constraints.txt names may write the same picture in other bytes")
    with matplotlib.rc_context({"font.size": 20, "figure.facecolor": "black", "svg.fonttype": "path"}):
        SCRIPT.main(tmp_path)
    for name in NAMES:
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), f"{name}: run `make schematics`"


# ---------------------------------------------------------------------------------------------------------------------
# The files


def faults_of_svg(text):
    """What a notebook, a dark screen or a screen reader would stumble over. Raises ParseError where it is no XML."""
    root = ElementTree.fromstring(text)
    faults = [] if root.get("role") == "img" else ["is no image to a screen reader"]
    faults += [f"no {tag}" for tag in ("title", "desc") if not (root.findtext(SVG + tag) or "").strip()]
    faults += [] if root.get("width") == "600pt" else ["is not 800 pixels wide"]
    _, _, width, height = root.get("viewBox").split()
    sheet = root.find(f".//{SVG}path")  # the first thing that is drawn
    corners = f"M 0 {height} L {width} {height} L {width} 0 L 0 0 z"
    if " ".join(sheet.get("d").split()) != corners or sheet.get("style") != "fill: #ffffff":
        faults.append("is not white all over")
    texts = [element for element in root.iter() if element.tag in (SVG + "text", SVG + "tspan")]
    faults += [] if texts else ["text is not kept as text"]
    styles = " ".join(element.get("style", "") for element in texts)
    faults += [
        f"no font to fall back on: {font}" for font in set(re.findall(r"font-family: ([^;]*?'(?= |$|;))", styles))
    ]
    faults += re.findall(r"\b20\d\d-\d\d|dc:date|Matplotlib v|/(?:work|tmp|home|root|usr)\b", text)
    return faults + [link for link in re.findall(r'(?:href|src)="([^"]*)"', text) if not link.startswith("#")]


@pytest.mark.parametrize("name", NAMES)
def test_every_schematic_is_a_described_white_picture_without_date_or_path(name):
    assert faults_of_svg(committed(name)) == []


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        (' role="img"', "", "is no image to a screen reader"),
        ("<title>RAG (Lewis et al. 2020)</title>", "", "no title"),
        (r"<desc>[^<]*</desc>", "<desc> </desc>", "no desc"),
        ('width="600pt"', 'width="460pt"', "is not 800 pixels wide"),
        ("fill: #ffffff", "fill: none", "is not white all over"),
        ("M 0 285", "M 0 200", "is not white all over"),
        ("<defs>", "<!-- 2026-01-31 --><defs>", "2026-01"),
        ("<defs>", "<!-- /home/me/draw.py --><defs>", "/home"),
        ("<defs>", '<image href="logo.png"/><defs>', "logo.png"),
        (", Verdana, sans-serif", "", "no font to fall back on: 'DejaVu Sans'"),
    ],
)
def test_a_fault_of_a_file_would_be_noticed(before, after, fault):
    broken, n = re.subn(before if "[" in before else re.escape(before), after, committed("rag.svg"), count=1)
    assert n == 1 and fault in faults_of_svg(broken)


def test_a_broken_file_would_be_noticed():
    with pytest.raises(ElementTree.ParseError):
        faults_of_svg(committed("rag.svg").replace("</desc>", ""))


# ---------------------------------------------------------------------------------------------------------------------
# The pictures


def faults_of_drawing(fig):
    """Texts that are too small, lie on each other or on a line, or leave their box or the sheet."""
    FigureCanvasAgg(fig)
    fig.set_dpi(96)
    fig.draw_without_rendering()
    (ax,) = fig.axes
    texts = [(text.get_text(), text.get_window_extent()) for text in ax.texts]
    boxes = [patch.get_window_extent() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    faults = [f"{text.get_text()}: too small" for text in ax.texts if text.get_fontsize() < 9]
    faults += [f"{a}: on {b}" for (a, one), (b, other) in combinations(texts, 2) if one.overlaps(other)]
    for text, extent in texts:
        middle = ((extent.x0 + extent.x1) / 2, (extent.y0 + extent.y1) / 2)
        around = [box for box in [fig.bbox, *boxes] if box.contains(*middle)]
        home = min(around, key=lambda box: box.width * box.height, default=fig.bbox)
        if not (home.x0 < extent.x0 and extent.x1 < home.x1 and home.y0 < extent.y0 and extent.y1 < home.y1):
            faults.append(f"{text}: leaves its box")
        if any(line.get_path().transformed(line.get_transform()).intersects_bbox(extent, False) for line in ax.lines):
            faults.append(f"{text}: on a line")
    return faults


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_large_and_free(name):
    with matplotlib.rc_context(SCRIPT.STYLE):
        assert faults_of_drawing(SCRIPT.SCHEMATICS[name][0]()) == []


def test_misplaced_texts_would_be_noticed():
    with matplotlib.rc_context(SCRIPT.STYLE):
        fig = SCRIPT.draw_rag()
        (ax,) = fig.axes
        SCRIPT.write(ax, 400, 20, "tiny", fontsize=8)
        SCRIPT.write(ax, 52, 141, "on")
        SCRIPT.write(ax, 790, 300, "at the edge")
        SCRIPT.write(ax, 258, 184, "side")
        SCRIPT.write(ax, 50, 210, "on an arrow")
        found = faults_of_drawing(fig)
    assert found == [
        "tiny: too small",
        "question: on on",
        "at the edge: leaves its box",
        "side: leaves its box",
        "on an arrow: on a line",
    ]


def parts_with_a_gradient(fig):
    """(text, kind) of each box that a head of a gradient touches; a head that touches none gives nothing."""
    (ax,) = fig.axes
    tips = [head.get_xy()[0] for head in ax.patches if isinstance(head, Polygon) and is_colored(head, SCRIPT.GRADIENT)]
    kinds = {to_rgba(look["facecolor"]): kind for kind, look in SCRIPT.LOOK_OF_BOX.items() if kind != "panel"}
    found = []
    for patch in ax.patches:
        if isinstance(patch, FancyBboxPatch) and patch.get_facecolor() in kinds:
            around = patch.get_bbox().padded(1)
            inside = [text.get_text() for text in ax.texts if around.contains(*text.get_position())]
            found += [(" ".join(inside), kinds[patch.get_facecolor()]) for tip in tips if around.contains(*tip)]
    return sorted(found)


def is_colored(patch, color):
    return patch.get_facecolor() == to_rgba(color)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("rag.svg", [("generator reads each pair", "learns"), ("question encoder", "learns")]),
        (
            "rag_end2end.svg",
            [
                ("generator reads each pair", "learns"),
                ("passage encoder encodes them anew each step", "learns"),
                ("question encoder", "learns"),
            ],
        ),
        ("ra_dit.svg", [("language model (LoRA)", "learns"), ("question encoder", "learns")]),
    ],
)
def test_gradients_end_at_what_learns_and_only_there(name, parts):
    fig = SCRIPT.SCHEMATICS[name][0]()
    assert parts_with_a_gradient(fig) == parts
    SCRIPT.arrow(fig.axes[0], (288, 380), (288, 306), gradient=True)  # in RAG, the frozen passage encoder
    assert (parts_with_a_gradient(fig) == parts) is (name == "ra_dit.svg")


def test_nothing_learns_in_hybrid_search():
    learning = {to_rgba(SCRIPT.LOOK_OF_BOX["learns"]["facecolor"]), to_rgba(SCRIPT.GRADIENT)}
    colors = {name: {patch.get_facecolor() for patch in SCRIPT.SCHEMATICS[name][0]().axes[0].patches} for name in NAMES}
    assert not colors["hybrid_search.svg"] & learning
    assert colors["rag.svg"] >= learning


def ranked_lists(ax):
    """The lists of passages, from the left and from above: [(rank, passage, score or None)], the score a fraction."""
    texts = [(text.get_text(), *text.get_position()) for text in ax.texts]
    lists, last = [], None
    for passage, x, y in sorted((found for found in texts if re.fullmatch("[A-F]", found[0])), key=lambda at: at[1:]):
        (rank,) = [int(text) for text, left, top in texts if top == y and x - 30 < left < x and text.isdecimal()]
        sums = [text for text, left, top in texts if top == y and x < left < x + 30 and "/" in text]
        score = sum(map(Fraction, sums[0].split(" + "))) if sums else None
        if last is None or last[0] != x or y - last[1] > SCRIPT.ROW + 1:
            lists.append([])
        lists[-1].append((rank, passage, score))
        last = (x, y)
    return lists


def faults_of_fusion(ax):
    """Where the lists that are drawn are not what reciprocal rank fusion and a re-ranker make of the two found."""
    *found, fused, reranked = ranked_lists(ax)
    places = {}
    for number, rows in enumerate(found):
        for rank, passage, _ in rows:
            places.setdefault(passage, []).append((rank, number))
    scores = {passage: sum(Fraction(1, 60 + rank) for rank, _ in at) for passage, at in places.items()}
    order = sorted(places, key=lambda passage: (-scores[passage], min(places[passage])))
    faults = [f"{len(found)} lists are fused"] if len(found) != 2 else []
    faults += [f"{passage}: {score}" for _, passage, score in fused if score != scores[passage]]
    faults += ["fused order"] if [passage for _, passage, _ in fused] != order else []
    faults += ["re-ranked passages"] if sorted(passage for _, passage, _ in reranked) != sorted(order) else []
    faults += ["ranks" for rows in (*found, fused, reranked) if [row[0] for row in rows] != [*range(1, len(rows) + 1)]]
    return faults


def test_hybrid_search_fuses_as_the_formula_says():
    ax = SCRIPT.draw_hybrid_search().axes[0]
    assert faults_of_fusion(ax) == []
    by_keyword, by_vector, fused, reranked = [[row[1] for row in rows] for rows in ranked_lists(ax)]
    description = SCRIPT.SCHEMATICS["hybrid_search.svg"][2]
    for rows in (by_keyword, by_vector, fused, reranked):
        assert ", ".join(rows) in description


@pytest.mark.parametrize(
    ("before", "after", "faults"),
    [
        ("1/63 + 1/61", "1/62 + 1/61", ["C: 123/3782"]),
        ("1/64", "1/65", ["D: 1/65"]),
        ("3", "2", ["C: 124/3843", "fused order", "ranks"]),
    ],
)
def test_a_wrong_number_in_hybrid_search_would_be_noticed(before, after, faults):
    ax = SCRIPT.draw_hybrid_search().axes[0]
    next(text for text in ax.texts if text.get_text() == before).set_text(after)
    assert faults_of_fusion(ax) == faults


def test_a_wrong_order_in_hybrid_search_would_be_noticed():
    ax = SCRIPT.draw_hybrid_search().axes[0]
    rows = [text for text in ax.texts if re.fullmatch("[A-F]", text.get_text())]
    fused = rows[8:14]
    for text, passage in zip(fused, "CABEDF", strict=True):
        text.set_text(passage)
    assert faults_of_fusion(ax) == ["fused order"]
    rows[-1].set_text("A")
    assert faults_of_fusion(ax) == ["fused order", "re-ranked passages"]


def test_the_survey_mixes_as_the_formula_says():
    """The probabilities that are drawn are in the description, and are those of lambda = 0.4 and T = 1."""
    drawn = [text.get_text() for text in SCRIPT.draw_survey().axes[0].texts]
    description = SCRIPT.SCHEMATICS["survey.svg"][2]
    assert all(number in description for number in drawn if re.fullmatch(r"0\.[1-9]\d", number))
    votes = {"Koror": math.exp(-2), "Ngerulmud": math.exp(-1) + math.exp(-3)}
    p_lm = {"Koror": 0.40, "Ngerulmud": 0.30}
    for name, vote in votes.items():
        p_knn = vote / sum(votes.values())
        for p in (p_knn, 0.4 * p_knn + 0.6 * p_lm[name]):
            assert f"{name} {p:.2f}" in description and f"{p:.2f}" in drawn
