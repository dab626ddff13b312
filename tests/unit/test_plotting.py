"""Figures: drawn from the record, refused when empty, unlabelled or cut off, white, and equal bytes each time."""

import io
import math
import subprocess
import sys

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from nbutils import paths, plotting
from nbutils.errors import InputError
from nbutils.record import INTERVAL, Record

KS = list(range(1, 101))


@pytest.fixture
def record(project, write_notebook):
    write_notebook(project.notebooks / "00_start_here.ipynb", "x = 1")
    one = Record("00_start_here", "tiny", 0, {}, {})
    for method, share in (("BM25", 0.1), ("Dense", 0.3)):
        y = 1 - (1 - share) ** np.array(KS)
        one.series(f"recall/{method}", KS, y, y**1.2, y**0.9, n=50)
        one.metric(f"recall_at_1/{method}", share, share - 0.05, share + 0.1, n=50)
    above = float(np.nextafter(0.1, 1))  # a mean may be rounded to just outside its interval
    one.metric("always/BM25", 0.1, above, above, n=50)
    one.content["timings"].update({"decode 1": 2.5, "decode 2": 10.0})
    one.matrix("posterior", ["1 Albania", "2 Peru"], [" Edi", " ", "\n"], [[0.9, 0.5, 0.0], [0.1, 0.5, 1.0000001]])
    return one


@pytest.fixture(autouse=True)
def clean_figures():
    with matplotlib.rc_context():
        plotting.set_style()
        yield
    plt.close("all")


CURVES = {"BM25": "recall/BM25", "Dense": "recall/Dense"}
BARS = {"k = 1": {"BM25": "recall_at_1/BM25", "Dense": "recall_at_1/Dense"}, "always": {"BM25": "always/BM25"}}


def draw(record):
    fig, axes = plt.subplots(1, 2, figsize=plotting.DOUBLE)
    plotting.plot_curves(axes[0], record, CURVES, "k", "recall@k", log_x=True)
    plotting.plot_bars(axes[1], record, BARS, "cut-off", "recall", paper={"k = 1": {"BM25": 0.5}})
    plotting.legend_above(fig)
    return fig


def good_axis(size=plotting.SINGLE):
    fig, ax = plt.subplots(figsize=size)
    ax.plot([1, 2], [0.1, 0.2])
    ax.set(xlabel="k", ylabel="recall@k")
    return fig, ax


def test_a_figure_is_saved_with_the_record(record):
    target = plotting.save_figure(draw(record), "recall", record, "Recall; bands: 95 % interval, n = 50.")
    assert target == paths.FIGURES / "tiny" / "00_start_here" / "recall.png"
    assert record["figures"]["recall"] == {"file": "recall.png", "caption": "Recall; bands: 95 % interval, n = 50."}
    assert not target.exists()
    record.content["data"]["name"] = "factbook"
    record.save()
    image = plt.imread(target)
    assert image.shape[:2] == (round(2.6 * 200), round(6.8 * 200))
    assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 100


def test_curves_and_bands_are_the_records_numbers(record):
    fig, ax = plt.subplots()
    plotting.plot_curves(ax, record.content, CURVES, "k", "recall@k", log_x=True)
    for line, band, (method, name) in zip(ax.lines, ax.collections, CURVES.items(), strict=True):
        series = record["series"][name]
        assert line.get_label() == method
        assert line.get_color() == plotting.LOOKS[method].color
        assert line.get_xydata().tolist() == [list(point) for point in zip(series["x"], series["y"], strict=True)]
        corners = {tuple(vertex) for vertex in band.get_paths()[0].vertices}
        for side in ("low", "high"):
            assert set(zip(series["x"], series[side], strict=True)) <= corners
    assert ax.get_ylim() == (0, 1)
    assert ax.get_xlabel() == "k (log scale)"
    fig.canvas.draw()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "10", "100"]


def error_bar_ends(ax):
    """The ends of the visible error bars of an axis, in the order of drawing; each has a white rim below it."""
    drawn = [lines for lines in ax.collections if lines.get_edgecolor()[0][:3].max() < 0.5]
    assert 2 * len(drawn) == len(ax.collections)
    return [segment[:, 1].tolist() for lines in drawn for segment in lines.get_segments()]


def bars_of(ax):
    return [container for container in ax.containers if isinstance(container, matplotlib.container.BarContainer)]


def test_bars_and_error_bars_are_the_records_numbers(record):
    _, ax = plt.subplots()
    plotting.plot_bars(ax, record, BARS, "cut-off", "recall")
    names = ["recall_at_1/BM25", "always/BM25", "recall_at_1/Dense"]
    expected = [record["metrics"][name] for name in names]
    bm25, dense = bars_of(ax)
    assert [bar.get_height() for bar in (*bm25, *dense)] == [metric["value"] for metric in expected]
    assert error_bar_ends(ax) == [pytest.approx([metric["low"], metric["high"]]) for metric in expected]
    assert ax.get_ylim() == (0, 1)
    assert bm25[0].get_x() < dense[0].get_x()
    assert bm25[0].get_facecolor() == matplotlib.colors.to_rgba(plotting.LOOKS["BM25"].color)
    assert not [line for line in ax.lines if line.get_label() == "paper"]


def test_a_dollar_sign_in_a_readers_label_is_no_formula(record):
    fig, ax = plt.subplots(figsize=plotting.DOUBLE)
    plotting.plot_bars(ax, record, {"US$ {a $": BARS["k = 1"], "US$": BARS["always"]}, "kind", "recall")
    plotting.legend_above(fig)
    plotting.save_figure(fig, "dollars", record, "Labels that would not parse.")


def test_a_papers_value_stands_over_its_bar(record):
    fig, ax = plt.subplots(figsize=plotting.DOUBLE)
    plotting.plot_bars(ax, record, BARS, "cut-off", "recall", paper={"k = 1": {"Dense": 0.784, "BM25": 0.591}})
    (marks,) = (line for line in ax.lines if line.get_label() == "paper")
    bm25, dense = bars_of(ax)
    centres = [bar.get_x() + bar.get_width() / 2 for bar in (bm25[0], dense[0])]
    assert marks.get_xdata() == pytest.approx(centres) and list(marks.get_ydata()) == [0.591, 0.784]
    plotting.legend_above(fig)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["BM25", "Dense", "paper"]
    for paper, message in (
        ({"k = 1": {"RAG-Token": 0.4}}, "'RAG-Token' in group 'k = 1' has no bar"),
        ({"k = 2": {"BM25": 0.4}}, "'BM25' in group 'k = 2' has no bar"),
        ({"k = 1": {"BM25": 44.1}}, r"44\.1 of 'BM25' in group 'k = 1' is not between 0 and 1"),
        ({"k = 1": {"BM25": math.nan}}, "is not between 0 and 1"),
    ):
        with pytest.raises(InputError, match=message):
            plotting.plot_bars(ax, record, BARS, "cut-off", "recall", paper=paper)


def test_a_heat_map_is_the_records_matrix(record):
    fig, ax = plt.subplots(figsize=plotting.DOUBLE)
    plotting.plot_heatmap(ax, record, "posterior", "generated token", "passage", "p(z|x, y)")
    (image,) = ax.images
    assert image.get_array().tolist() == record["matrices"]["posterior"]["values"]
    assert image.get_clim() == (0, 1)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["Edi", "\u2423", "\\n"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1 Albania", "2 Peru"]
    assert ax.get_ylim() == (1.5, -0.5)  # the first row is at the top
    plotting.save_figure(fig, "posterior", record, "One question.")
    record.matrix("scores", ["a"], ["b"], [[-0.2]])
    with pytest.raises(InputError, match=r"matrix 'scores' has values outside \[0, 1\]"):
        plotting.plot_heatmap(ax, record, "scores", "token", "passage", "p")
    with pytest.raises(InputError, match="no matrices entry 'none'"):
        plotting.plot_heatmap(ax, record, "none", "token", "passage", "p")


def test_a_curve_of_few_points_has_its_ticks_there(record):
    record.series("em", [1, 2, 5, 10], [0.4] * 4, [0.3] * 4, [0.5] * 4, n=50)
    for log_x in (False, True):
        fig, ax = plt.subplots()
        plotting.plot_curves(ax, record, {"RAG-Token": "em"}, "K", "exact match", log_x=log_x)
        fig.canvas.draw()
        assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "5", "10"]
        assert len(ax.lines[0].get_markevery()) == 4


SAME = {
    "frozen dense": "Dense",
    "Thorough": "RAG-Sequence",
    "2025 index": "RAG-Sequence",
    "2015 index": "Fast",
    "tuned on 2015": "closed-book, tuned",
    "base": "closed-book",
    "IT": "closed-book, tuned",
    "RA-DIT": "RAG-Sequence",
    "RAG-original": "BM25",
    "RAG-original-QA": "Dense",
    "RAG-end2end-QA": "RAG-Sequence",
    "RAG-end2end-QA+R": "gold passage",
    "old index": "Fast",
    "never": "retrieved passage",
    "regularly": "RAG-Sequence",
    "often": "random passage",
    "question encoder": "Dense",
    "passage encoder": "closed-book",
    "both encoders": "RAG-Sequence",
    "dropout off": "RAG-Sequence",
    "prompting": "BM25",
    "fine-tuned": "closed-book",
    "RAG": "Dense",
    "RAG, tuned retriever": "retrieved passage",
    "fine-tuned + RAG": "RAG-Sequence",
    "never updated": "retrieved passage",
    "index refreshed": "RAG-Sequence",
    "trained anew": "closed-book",
    "untuned": "BM25",
    "dropout on": "BM25",
    "joint": "random passage",
    "supervised": "gold passage",
    "Hybrid": "RAG-Sequence",
    "re-ranked": "gold passage",
    "re-ranker alone": "best single passage",
    "query likelihood": "RAG-Token",
    "RRF, k = 2": "closed-book",
    "RRF, k = 10": "closed-book, tuned",
    "RRF, k = 60": "RAG-Sequence",
    "min-max": "retrieved passage",
    "min-max, one weight": "best single passage",
    "min-max, a weight per corpus": "RA-IT",
    "32 tokens": "closed-book",
    "64 tokens": "RAG-Sequence",
    "128 tokens": "retrieved passage",
    "256 tokens": "Dense",
    "512 tokens": "RAG-Token",
    "smallest chunks": "RAG-Sequence",
    "largest chunks": "Dense",
    "tokens": "BM25",
    "sentences": "retrieved passage",
    "10 % overlap": "closed-book",
    "25 % overlap": "RAG-Sequence",
    "best chunk": "gold passage",
    "first window": "RAG-Token",
    "mean of windows": "Dense",
    "LM": "BM25",
    "kNN-LM": "Dense",
    "other text": "random passage",
    "cache": "retrieved passage",
    "n-grams": "closed-book, tuned",
    "kNN-LM + cache": "best single passage",
    "kNN-LM + n-grams": "RA-IT",
    "same text": "retrieved passage",
    "all text": "Dense",
    "Wikipedia": "random passage",
    "other countries": "random passage",
    "skeleton": "best single passage",
    "gold passages": "gold passage",
    "trained once": "closed-book",
    "little": "closed-book, tuned",
    "learned": "closed-book",
    "learned + same text": "Fast",
    "learned + all text": "RAG-Sequence",
    "ffn_input": "Dense",
    "before_ffn_norm": "best single passage",
    "attention_input": "closed-book",
    "final_state": "gold passage",
    "compressed": "BM25",
    "computed again": "Dense",
}  # two names of one method, or two that never stand in one figure


def test_every_method_has_a_look_of_its_own():
    looks = plotting.LOOKS
    own = [look for method, look in looks.items() if method not in SAME]
    assert len({(look.color, look.variant) for look in own}) == len({look.marker for look in own}) == len(own)
    assert len({look.color for look in looks.values()}) <= 8
    for name, method in SAME.items():
        assert looks[name] == looks[method]


def test_a_variant_is_hatched_and_dashed_with_open_markers(record):
    _, (left, right) = plt.subplots(1, 2)
    names = ("closed-book", "closed-book, tuned")
    plotting.plot_bars(left, record, {"k = 1": dict.fromkeys(names, "recall_at_1/BM25")}, "k", "recall")
    plotting.plot_curves(right, record, dict.fromkeys(names, "recall/BM25"), "k", "recall")
    plain, variant = bars_of(left)
    assert (plain[0].get_hatch(), bool(variant[0].get_hatch())) == (None, True)
    assert [line.get_linestyle() for line in right.lines] == ["-", "--"]
    assert [line.get_markerfacecolor() for line in right.lines] == [plotting.LOOKS["closed-book"].color, "white"]


def test_points_have_intervals_in_both_directions_and_a_log_axis(record):
    record.metric("flops/RAG", 2e9, 1e9, 3e9, n=50)
    record.metric("flops/prompting", 4e8, 4e8, 4e8, n=50)
    fig, ax = plt.subplots(figsize=plotting.SINGLE)
    points = {"RAG": ("flops/RAG", "recall_at_1/Dense"), "prompting": ("flops/prompting", "recall_at_1/BM25")}
    plotting.plot_points(ax, record, points, "FLOPs a query", "exact match")
    plotting.legend_above(fig)
    plotting.save_figure(fig, "points", record, "n = 50")
    markers = [line for line in ax.lines if line.get_label() in points]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in markers] == [(2e9, 0.3), (4e8, 0.1)]
    assert ax.get_xscale() == "log" and "log scale" in ax.get_xlabel() and ax.get_ylim() == (0, 1)
    with pytest.raises(InputError, match="not above 0"):
        record.metric("flops/fine-tuned", 1, 0, 2, n=50)
        plotting.plot_points(ax, record, {"fine-tuned": ("flops/fine-tuned", "recall_at_1/BM25")}, "x", "y")


def test_a_map_shows_who_wins_and_how_sure(record):
    record.matrix("winners", ["16", "256"], ["1", "10", "100"], [[0, 1, -1], [0, 1, 1]])
    record.matrix("sure", ["16", "256"], ["1", "10", "100"], [[1, 0.3, 0.5], [0.9, 1, 1]])
    fig, ax = plt.subplots(figsize=plotting.SINGLE)
    plotting.plot_map(ax, record, "winners", "sure", ["RAG", "fine-tuned"], "updates a month", "examples")
    plotting.legend_above(fig)
    plotting.save_figure(fig, "map", record, "n = 50")
    assert [text.get_text() for text in ax.texts] == ["1.00", "0.30", "?", "0.90", "1.00", "1.00"]
    assert ax.get_legend_handles_labels()[1] == ["RAG", "fine-tuned"]
    pixels = ax.images[0].get_array()
    assert np.allclose(pixels[0, 0], matplotlib.colors.to_rgb(plotting.LOOKS["RAG"].color)) and np.allclose(
        pixels[0, 2], 1
    )
    record.matrix("bad", ["16"], ["1"], [[2]])
    for name in ("bad", "none"):
        with pytest.raises(InputError, match=name):
            plotting.plot_map(ax, record, name, "sure", ["RAG", "fine-tuned"], "x", "y")


def test_paired_dots_are_the_records_numbers_and_one_line_joins_a_group(record):
    dots = {"k = 1": BARS["k = 1"], "again": {"Dense": "recall_at_1/Dense", "BM25": "always/BM25"}}
    fig, ax = plt.subplots()
    plotting.paired_dots(ax, record, dots, "cut-off", "recall")
    plotting.legend_above(fig)
    plotting.save_figure(fig, "dots", record, "n = 50")
    points = {line.get_label(): line for line in ax.lines if line.get_label() in plotting.LOOKS}
    assert points["BM25"].get_ydata() == pytest.approx([0.1, 0.1]) and list(points["Dense"].get_ydata()) == [0.3, 0.3]
    joints = [line for line in ax.lines if line.get_linestyle() == "-" and line.get_color() == "#bbbbbb"]
    for place, joint in enumerate(joints):
        ends = [(points[method].get_xdata()[place], points[method].get_ydata()[place]) for method in ("BM25", "Dense")]
        assert joint.get_xydata().tolist() == [list(end) for end in ends]
    assert len(joints) == 2 and abs(ends[0][0] - ends[1][0]) < 0.5  # closer than groups are
    assert error_bar_ends(ax)[2] == pytest.approx([0.25, 0.4])
    assert ax.get_ylim()[0] > 0  # not from 0: that is what they are for
    for wrong, message in (
        ({"a": {"BM25": "always/BM25"}}, "'a' has 1 methods"),
        ({}, "no groups"),
        ({"a": {"BM25": "none", "Dense": "always/BM25"}}, "no metrics entry 'none'"),
        ({"a": {"ColBERT": "always/BM25", "Dense": "always/BM25"}}, "no colour for 'ColBERT'"),
    ):
        with pytest.raises(InputError, match=message):
            plotting.paired_dots(plt.subplots()[1], record, wrong, "k", "recall")
    with pytest.raises(InputError, match="does not fit between 0 and"):
        plotting.paired_dots(ax, record, dots, "k", "recall", limits=(0, 0.35))


def note_of(*metrics):
    entries = {f"m{i}": {"value": 0.5, "low": 0.4, "high": 0.6, **metric} for i, metric in enumerate(metrics)}
    return plotting.interval_note({"metrics": entries}, list(entries))


def test_a_caption_says_what_the_whiskers_are():
    clustered = {"n": 200, "interval": "95 % cluster-robust", "subjects": 59, "fields": 48}
    independent = {"n": 200, "interval": INTERVAL}
    assert note_of(clustered) == "Whiskers: 95 %, clustered by 59 subjects and 48 fields."
    assert note_of({**clustered, "seeds": 5}) == "Whiskers: 95 %, clustered by 59 subjects and 48 fields, 5 seeds."
    assert note_of({"n": 9, "interval": "x", "subjects": 59}) == "Whiskers: 95 %, clustered by 59 subjects."
    assert note_of({**clustered, "interval": "95 % bootstrap over subjects and fields"}) == (
        "Whiskers: 95 %, resampled by 59 subjects and 48 fields."
    )
    assert note_of(independent) == "Whiskers: 95 %, 200 independent questions."
    assert note_of(independent, {**independent, "n": 1365}) == ("Whiskers: 95 %, 200 to 1,365 independent questions.")
    assert note_of({"n": 40, "interval": "least and greatest of 40 runs"}) == (
        "Whiskers: least and greatest of 40 runs, n = 40."
    )
    assert note_of(independent, clustered, {**clustered, "subjects": 24}) == (
        "Whiskers: 95 %, clustered by 24 to 59 subjects and 48 fields; 95 %, 200 independent questions (m0)."
    )
    for names, message in (([], "names no metrics"), ("m0", "names no metrics"), (["none"], "no metrics entry 'none'")):
        with pytest.raises(InputError, match=message):
            plotting.interval_note({"metrics": {"m0": {}}}, names)


def test_the_note_reads_what_the_record_writes(record):
    assert plotting.interval_note(record, ["always/BM25", "recall_at_1/Dense"]) == (
        "Whiskers: 95 %, 50 independent questions."
    )


def test_a_caption_says_the_values_that_its_figure_shows(record):
    groups = {"recall@1": {"BM25": "recall_at_1/BM25", "Dense": "recall_at_1/Dense"}, "none": {}}
    assert plotting.values_note(record, groups) == "recall@1: BM25 0.10, Dense 0.30. "
    assert plotting.values_note(record, {}) == ""
    with pytest.raises(InputError, match="the record has no metric 'recall_at_9/BM25'"):
        plotting.values_note(record, {"recall@9": {"BM25": "recall_at_9/BM25"}})


def saved_pixels(fig):
    """What save_figure writes, as (height, width, 4) of 0 to 1."""
    kept = io.BytesIO()
    kept.figure = lambda name, png, caption: kept.write(png)
    plotting.save_figure(fig, "a", kept, "n = 50")
    kept.seek(0)
    return plt.imread(kept)


def white_and_dark(pixels):
    """True for opaque white corners and axes, with black text or frames on them."""
    corners = [pixels[y, x] for y in (0, -1) for x in (0, -1)]
    middle = np.median(pixels.reshape(-1, 4), axis=0)
    opaque = pixels.shape[2] == 4 and (pixels[..., 3] == 1).all()
    return bool(opaque and np.all([*corners, middle] == np.ones(4)) and (pixels[..., :3].max(axis=2) < 0.1).any())


@pytest.mark.parametrize("theme", ["default", "dark_background"])
def test_pictures_are_dark_on_opaque_white_whatever_the_editor_sets(record, theme):
    with plt.style.context(theme):
        plotting.set_style()
        plt.rcParams["lines.color"] = "red"
        assert white_and_dark(saved_pixels(good_axis()[0]))
        with plt.rc_context({"savefig.transparent": True, "savefig.facecolor": "none", "figure.facecolor": "black"}):
            assert white_and_dark(saved_pixels(good_axis()[0]))
    with plt.style.context("dark_background"):
        plt.rcParams["figure.constrained_layout.use"] = True
        assert not white_and_dark(saved_pixels(good_axis()[0]))  # what the check is for


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, as in a kernel: a list of objects."""
    import IPython

    shown = []
    monkeypatch.setattr(IPython, "get_ipython", object)
    monkeypatch.setattr(IPython.display, "display", shown.append)
    return shown


def test_a_notebook_shows_the_figure_and_below_it_the_caption_once(record, shown):
    fig, _ = good_axis()
    plotting.save_figure(fig, "recall", record, "Recall *here* of [M] <b>$5</b>,\n  n = 50.")
    image, caption = shown
    assert (image.data, image.width) == (record.pictures["recall.png"], round(3.3 * 120))
    assert caption._repr_markdown_() == "Recall &#42;here&#42; of &#91;M&#93; &lt;b&gt;\\$5&lt;/b&gt;, n = 50."
    assert not plt.get_fignums()  # else the cell would show the figure once more


def test_outside_a_notebook_nothing_is_shown(record, capsys):
    fig, _ = good_axis()
    plotting.save_figure(fig, "recall", record, "n = 50")
    assert capsys.readouterr().out == "" and plt.get_fignums()


def test_a_panel_without_data_says_why(record):
    fig, axes = plt.subplots(1, 2, figsize=plotting.SINGLE)
    for ax in axes:
        plotting.empty_panel(ax, "questions that name no gold passages, or fewer than $5")
    plotting.legend_above(fig)
    plotting.save_figure(fig, "nothing", record, "n = 0")  # the text is wrapped: it is not cut off
    axes[0].texts[0].remove()
    with pytest.raises(InputError, match="is empty: draw something"):
        plotting.save_figure(fig, "less", record, "n = 0")


def test_what_the_record_lacks_or_cannot_show_is_refused(record):
    _, ax = plt.subplots()
    with pytest.raises(InputError, match="no series entry 'recall/none'"):
        plotting.plot_curves(ax, record, {"BM25": "recall/none"}, "k", "recall")
    with pytest.raises(InputError, match="no metrics entry 'none'"):
        plotting.plot_bars(ax, record, {"a": {"BM25": "none"}}, "k", "recall")
    with pytest.raises(InputError, match="no colour for 'ColBERT'"):
        plotting.plot_curves(ax, record, {"ColBERT": "recall/BM25"}, "k", "recall")
    with pytest.raises(InputError, match="does not fit between 0"):
        plotting.plot_curves(ax, record, CURVES, "k", "recall", limits=(0, 0.5))
    record.metric("nll", 2.0, 1.5, 2.5, 10)
    with pytest.raises(InputError, match=r"'nll' of group 'a' does not fit between 0 and 1\.0"):
        plotting.plot_bars(ax, record, {"a": {"BM25": "nll"}}, "k", "nats")
    plotting.plot_bars(ax, record, {"a": {"BM25": "nll"}}, "k", "nats", top=3)
    assert ax.get_ylim() == (0, 3)
    record.metric("above chance", 0.1, -0.2, 0.4, 10)  # may be negative: the axis goes with it
    plotting.plot_bars(ax, record, {"a": {"BM25": "above chance"}}, "k", "above chance")
    assert ax.get_ylim() == (pytest.approx(-0.21), 1)


EMPTY = {
    "nothing": lambda ax: None,
    "empty line": lambda ax: ax.plot([], []),
    "line without a number": lambda ax: ax.plot([1, 2], [math.nan, math.nan]),
    "line outside": lambda ax: ax.plot([1, 2], [7, 8]),
    "hidden line": lambda ax: ax.plot([1, 2], [0.1, 0.2], visible=False),
    "bars without a number": lambda ax: ax.bar([1, 2], [math.nan, math.nan], yerr=[0.1, 0.1]),
    "points without a number": lambda ax: ax.scatter([math.nan], [math.nan]),
    "band without a number": lambda ax: ax.fill_between([1, 2], [math.nan] * 2, [math.nan] * 2),
    "image without a number": lambda ax: ax.imshow(np.full((2, 2), math.nan)),
    "text": lambda ax: ax.text(0.5, 0.5, "no data"),
    "reference line": lambda ax: ax.axhline(0.5, label="Lewis et al. 2020"),
    "reference span": lambda ax: ax.axvspan(0.5, 0.7),
}
FULL = {
    "line": lambda ax: ax.plot([1, 2], [0.1, 0.2]),
    "bars of zero": lambda ax: ax.bar([1, 2], [0, 0]),
    "points": lambda ax: ax.scatter([1], [0.5]),
    "band": lambda ax: ax.fill_between([1, 2], [0.1] * 2, [0.2] * 2),
    "image": lambda ax: ax.imshow(np.eye(2)),
    "error bars": lambda ax: ax.errorbar([1, 2], [0.1, 0.2], yerr=0.1, fmt="none"),
}


def two_panels(fill):
    fig, axes = plt.subplots(1, 2, figsize=plotting.DOUBLE)
    axes[0].plot([1, 2], [0.1, 0.2])
    fill(axes[1])
    for ax in axes:
        ax.set(xlabel="k", ylabel="recall@k", xlim=(0, 3), ylim=(0, 1))
    return fig


@pytest.mark.parametrize("case", EMPTY)
def test_planted_fault_an_empty_axis_is_refused(record, case):
    with pytest.raises(InputError, match="figure 'recall', axis 1 shows no data"):
        plotting.save_figure(two_panels(EMPTY[case]), "recall", record, "n = 50")
    assert record["figures"] == {}


@pytest.mark.parametrize("case", FULL)
def test_an_axis_with_data_is_accepted(record, case):
    plotting.save_figure(two_panels(FULL[case]), "recall", record, "n = 50")


def test_missing_labels_are_refused_unless_the_scale_is_shared(record):
    for missing in ("xlabel", "ylabel"):
        fig, ax = good_axis()
        ax.set(**{missing: " "})
        with pytest.raises(InputError, match=f"no {missing[0]} label"):
            plotting.save_figure(fig, "a", record, "n = 50")
    fig, axes = plt.subplots(1, 2, sharey=True)
    for ax in axes:
        ax.plot([1, 2], [0.1, 0.2])
        ax.set_xlabel("k")
    with pytest.raises(InputError, match="no y label"):
        plotting.save_figure(fig, "b", record, "n = 50")
    axes[0].set_ylabel("recall@k")
    plotting.save_figure(fig, "b", record, "n = 50")
    fig, axes = plt.subplots(1, 2)
    for ax in axes:
        ax.plot([1, 2], [0.1, 0.2])
        ax.set_ylabel("recall@k")
    fig.supxlabel("k")
    plotting.save_figure(fig, "c", record, "n = 50")


def test_legend_panels_colour_bars_and_hidden_axes(record):
    fig, axes = plt.subplots(1, 3, figsize=plotting.DOUBLE)
    image = axes[0].imshow(np.eye(2))
    axes[0].set(xlabel="passage", ylabel="question")
    fig.colorbar(image, ax=axes[0], label="p(z|x)")
    axes[1].axis("off")
    axes[1].text(0.5, 0.5, "a note")
    axes[2].set_visible(False)
    plotting.save_figure(fig, "a", record, "n = 50")
    axes[1].texts[0].remove()
    with pytest.raises(InputError, match="axis 1 is empty"):
        plotting.save_figure(fig, "b", record, "n = 50")


def test_names_and_captions_are_checked(record):
    fig, _ = good_axis()
    plotting.save_figure(fig, "recall", record, "n = 50")
    for name, caption, message in (
        ("recall", "n = 50", "already has 'recall' in figures"),
        ("other", "  ", "no caption"),
        ("../x", "n = 50", "figure name"),
        ("Recall", "n = 50", "figure name"),
    ):
        with pytest.raises(InputError, match=message):
            plotting.save_figure(fig, name, record, caption)
    with pytest.raises(InputError, match="no axes"):
        plotting.save_figure(plt.figure(), "none", record, "n = 50")


def test_what_is_cut_off_is_refused(record):
    fig, ax = good_axis()
    ax.set_xlabel("a label that is far too long for a figure of a single column, whatever the size of its letters is")
    with pytest.raises(InputError, match="cut off at its edge"):
        plotting.save_figure(fig, "wide", record, "n = 50")


def test_without_entries_there_is_no_legend():
    fig, _ = plt.subplots()
    plotting.legend_above(fig)
    assert not fig.legends


def test_a_legend_takes_the_rows_it_needs(record):
    fig, ax = plt.subplots(figsize=plotting.SINGLE)
    for method in [method for method in plotting.LOOKS if method not in SAME]:
        ax.plot([1, 2], [0.1, 0.2], color=plotting.LOOKS[method].color, label=method)
    ax.set(xlabel="k", ylabel="recall@k")
    plotting.legend_above(fig)
    plotting.save_figure(fig, "legend", record, "n = 50")
    ax.plot(
        [1, 2], [0.1, 0.2], label="a method with a name that no figure of one column could ever hold, in no row at all"
    )
    with pytest.raises(InputError, match="legend does not fit"):
        plotting.legend_above(fig)


DRAW = """
import hashlib, io, matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
from nbutils import plotting
class Kept:
    def figure(self, name, png, caption): print(hashlib.sha256(png).hexdigest())
plotting.set_style()
fig, ax = plt.subplots(figsize=plotting.SINGLE)
ax.plot([1, 2, 3], [0.1, 0.5, 0.2], label="BM25")
ax.set(xlabel="k", ylabel="recall@k")
plotting.legend_above(fig)
plotting.save_figure(fig, "a", Kept(), "n = 50")
"""


def test_png_bytes_are_equal_between_processes_and_name_no_version():
    command = [sys.executable, "-c", DRAW]
    environment = {"PYTHONPATH": str(paths.ROOT), "PATH": "", "HOME": "/nonexistent"}
    digests = {
        subprocess.run(command, env={**environment, "PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64
    fig, _ = good_axis()
    kept = io.BytesIO()
    kept.figure = lambda name, png, caption: kept.write(png)
    plotting.save_figure(fig, "a", kept, "n = 50")
    assert b"atplotlib" not in kept.getvalue()
