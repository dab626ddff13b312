"""The forest plot of the claims: every row is the record's numbers, and what is left out is named."""

from itertools import pairwise

import matplotlib
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import to_hex

from nbutils import plotting
from nbutils.errors import InputError
from nbutils.plotting.verdicts import LOOKS, NULL_COLOR


@pytest.fixture(autouse=True)
def clean_figures():
    with matplotlib.rc_context():
        plotting.set_style()
        yield
    plt.close("all")


def outcome(value=0.16, low=0.12, high=0.2, verdict="reproduced", **more):
    null = {"verdict": "open", "value": 0.01, "low": -0.02, "high": 0.03}
    counts = {"n": 200, "subjects": 59, "fields": 48}
    return {"verdict": verdict, "value": value, "low": low, "high": high, **counts, "null": null, **more}


def fake(claims, skipped=()):
    return {"claims": claims, "skipped": dict.fromkeys(skipped, "questions name no passages")}


FEW = {
    "01.later": outcome(0.0, -0.05, 0.05, "open"),
    "01.first": outcome(
        primary=True, holm={"alpha": 0.025, "low": 0.1, "high": 0.22}, label="RAG \u2212 closed-book, EM"
    ),
    "01.costs": outcome(2.1e9, 1e9, 3e9, label="FLOPs of $x$ RAG"),
    "01.falls": outcome(-0.1, -0.15, -0.05, "fails", sentence="It costs US$ 5 or US$ 7."),
}


def row(ax, label):
    """The place of the row of that label, and the artists of it: ({what: lines}, text at the right)."""
    places = {text.get_text(): place for place, text in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)}
    place = places[label]
    lines = [line for line in ax.lines if len(line.get_ydata()) and abs(line.get_ydata()[0] - place) < 0.45]
    (text,) = (text.get_text() for text in ax.texts if text.xy == (1, place))
    return place, [line for line in lines if line.get_transform() == ax.transData], text


def spans(lines, color):
    """{line width: [from, to]} of the intervals in a color."""
    found = [line for line in lines if len(line.get_xdata()) == 2 and to_hex(line.get_color()) == to_hex(color)]
    return {line.get_linewidth(): [pytest.approx(x) for x in line.get_xdata()] for line in found}


def test_a_row_is_the_records_numbers():
    (ax,) = plotting.forest(fake(FEW)).axes
    place, lines, text = row(ax, "RAG \u2212 closed-book, EM")
    color = LOOKS["reproduced"].color
    assert spans(lines, color) == {2.2: [0.12, 0.2], 0.9: [0.1, 0.22]}  # thick: 95 %, thin: Holm
    assert spans(lines, NULL_COLOR) == {1.0: [-0.02, 0.03]}
    (point,) = (line for line in lines if line.get_marker() == "o" and line.get_markerfacecolor() == color)
    assert point.get_xydata().tolist() == [[0.16, place]]
    null, point = sorted((line for line in lines if line.get_color() == NULL_COLOR), key=lambda line: line.get_marker())
    assert (null.get_marker(), point.get_xdata()) == ("None", [0.01])
    for line in (null, point):
        assert 0 < line.get_ydata()[0] - place < 0.4  # below: the axis points down
    assert text == "+0.16 [0.12, 0.20]"
    assert any(list(line.get_xdata()) == [0, 0] for line in ax.lines)
    low, high = ax.get_xlim()
    assert -0.2 < low < -0.15 and 0.22 < high < 0.26  # no more room than the intervals take


def test_primary_claims_are_on_top_and_each_label_is_what_there_is():
    (ax,) = plotting.forest(fake(FEW)).axes
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["RAG \u2212 closed-book, EM", "later", "It costs US$ 5 or US$ 7"]
    assert not any(label.get_parse_math() for label in ax.get_yticklabels())  # two "$" are no formula
    assert list(ax.get_yticks()) == [1, 3, 4] and ax.get_ylim()[0] > ax.get_ylim()[1]
    headings = {text.get_text(): text.xy[1] for text in ax.texts if text.xy[0] == 0}
    assert headings == {"Primary": 0, "Exploratory": 2}
    (ax,) = plotting.forest(fake(FEW), ["01.falls", "01.later"]).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["It costs US$ 5 or US$ 7", "later"]
    assert not [text for text in ax.texts if text.xy[0] == 0]


def test_a_verdict_is_told_by_shape_and_color():
    looks = dict.fromkeys(LOOKS.values())
    assert len({look.color for look in looks}) == len({(look.marker, look.filled) for look in looks}) == len(looks)
    assert LOOKS["reproduced"] == LOOKS["holds"] != LOOKS["fails"] == LOOKS["not reproduced"]
    for verdict, look in LOOKS.items():
        fig = plotting.forest(fake({"01.x": outcome(verdict=verdict)}))
        markers = {line.get_label(): line.get_marker() for line in fig.axes[0].lines if line.get_label() == look.label}
        assert markers == {look.label: look.marker}
        assert look.label in [text.get_text() for text in fig.legends[0].get_texts()]


def test_a_papers_effect_is_a_diamond_hollow_from_memory():
    claims = {f"01.{tag.lower()}": outcome(paper_effect={"value": 0.3, "tag": tag}) for tag in ("S", "M")}
    fig = plotting.forest(fake(claims))
    for label, hollow in (("s", False), ("m", True)):
        place, lines, _ = row(fig.axes[0], label)
        (diamond,) = (line for line in lines if line.get_marker() == "D")
        assert diamond.get_xdata() == [0.3] and diamond.get_ydata()[0] < place
        assert (to_hex(diamond.get_markerfacecolor()) == "#ffffff") == hollow
    legend = [text.get_text() for text in fig.legends[0].get_texts()]
    assert legend == ["reproduced, holds", "null", "paper's effect", "paper's, from memory"]


def test_the_limit_of_a_rule_is_a_tick_unless_it_is_0():
    rules = {"a": "> 0", "b": "< 0.05", "c": ">= -0.03", "d": [-0.1, 0.1], "e": None}
    claims = {}
    for name, rule in rules.items():
        rule = {"interval": rule} if isinstance(rule, list) else {"ordering": rule}
        claims[f"01.{name}"] = outcome(rule=rule) if rules[name] else outcome()
    (ax,) = plotting.forest(fake(claims)).axes
    found = {}
    for name in rules:
        ticks = [line.get_xdata() for line in row(ax, name)[1] if line.is_dashed()]
        found[name] = [tick[0] for tick in ticks]
    assert found == {"a": [], "b": [0.05], "c": [-0.03], "d": [-0.1, 0.1], "e": []}
    assert "Dashed ticks" in plotting.forest_caption(fake(claims))
    assert "Dashed ticks" not in plotting.forest_caption(fake({"01.a": claims["01.a"]}))


def test_a_huge_interval_is_cut_with_arrows_and_leaves_room_for_the_others():
    claims = {f"01.c{i}": outcome() for i in range(4)} | {"01.wide": outcome(0.1, -40.0, 30.0, "open")}
    (ax,) = plotting.forest(fake(claims)).axes
    low, high = ax.get_xlim()
    assert -0.3 < low < -0.02 and 0.2 < high < 0.5
    _, lines, text = row(ax, "wide")
    arrows = {line.get_marker(): line.get_xdata()[0] for line in lines if line.get_marker() in "<>"}
    assert arrows.keys() == {"<", ">"} and low < arrows["<"] < -0.02 and 0.2 < arrows[">"] < high
    assert text == "+0.10 [\u221240.00, 30.00]"
    assert not [line for line in row(ax, "c1")[1] if line.get_marker() in ("<", ">")]
    # Wide ones among themselves are whole.
    (ax,) = plotting.forest(fake({f"01.c{i}": outcome(0.1, -4.0, 3.0, "open") for i in range(3)})).axes
    assert ax.get_xlim()[0] < -4 and not [line for line in ax.lines if line.get_marker() in ("<", ">")]


@pytest.mark.parametrize("n", [1, 3, 15, 40])
def test_any_number_of_rows_and_long_labels_fit(n):
    words = "A question encoder that learned from answers alone ranks a gold passage first, " * 3
    claims = {f"01.c{i}": outcome(primary=i < 2, sentence=words[: 20 + 30 * i]) for i in range(n)}
    fig = plotting.forest(fake(claims))

    class Kept:
        def figure(self, name, png, caption):
            self.png = png

    plotting.save_figure(fig, "claims", Kept(), "n = 200")  # refuses what is cut off
    labels = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert len(labels) == n
    assert all(len(line) <= 41 for label in labels for line in label.split("\n"))
    assert max(label.count("\n") for label in labels) <= 1
    if n > 10:
        assert labels[10].endswith(" …") and words.startswith(labels[10].replace("\n", " ").removesuffix(" …"))
        boxes = [label.get_window_extent() for label in fig.axes[0].get_yticklabels()]
        assert all(above.y0 >= below.y1 - 1 for above, below in pairwise(boxes))


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0.16, 0.12, 0.2), "+0.16 [0.12, 0.20]"),
        ((-0.16, -0.2, -0.12), "\u22120.16 [\u22120.20, \u22120.12]"),
        ((0.0, -0.05, 0.05), "0.00 [\u22120.05, 0.05]"),
        ((-0.001, -0.05, 0.05), "0.00 [\u22120.05, 0.05]"),
        ((0.003, -0.002, 0.009), "+0.003 [\u22120.002, 0.009]"),
        ((0.025, 0.001, 0.051), "+0.025 [0.001, 0.051]"),  # reproduced, which "[0.00, 0.05]" would not show
    ],
)
def test_values_are_printed_at_the_right(numbers, text):
    (ax,) = plotting.forest(fake({"01.x": outcome(*numbers)})).axes
    assert row(ax, "x")[2] == text


def test_the_caption_names_what_the_figure_leaves_out():
    record = fake(FEW, ["01.no_passages"])
    assert plotting.forest_caption(record) == (
        "Effects with 95 % intervals over 200 questions of 59 subjects and 48 fields. Thin ends: adjusted for the "
        "number of primary claims (Holm), as their verdicts are. Gray: the null, the same effect with its cause "
        "removed. Not drawn, as no share of 1: FLOPs of $x$ RAG +2.1e+09. Skipped: no passages."
    )
    assert len(plotting.forest(record).axes[0].get_yticks()) == 3
    paper = {"paper_effect": {"value": 0.3, "tag": "M"}, "seeds": 5, "n": 365, "null": {"verdict": "refused"}}
    assert plotting.forest_caption(fake({"01.x": outcome(**paper)})) == (
        "Effects with 95 % intervals over 365 questions of 59 subjects and 48 fields, 5 seeds. Diamonds: the paper's "
        "effect, hollow where it is from memory [M]."
    )
    both = fake({"01.x": outcome(**paper), "01.y": outcome()})
    assert "over 200 to 365 questions of 59 subjects and 48 fields, 1 to 5 seeds." in plotting.forest_caption(both)


def test_a_record_of_today_is_drawn():
    null = {"verdict": "inconclusive", "value": 0.0, "low": 0.0, "high": 0.0}
    old = {"verdict": "inconclusive", "value": 0.0, "low": 0.0, "high": 0.0, "n": 200, "null": null}
    (ax,) = plotting.forest(fake({"02.fresh_over_stale": old})).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["fresh over stale"]


def test_what_cannot_be_drawn_is_refused():
    for draw in (plotting.forest, plotting.forest_caption):
        for record, claims, message in (
            (fake({}), None, "no claim to draw"),
            (fake({"01.costs": FEW["01.costs"]}), None, "no claim to draw"),
            (fake({}, ["01.skipped"]), ["01.skipped"], "no claim to draw"),
            (fake(FEW), [], "no claim to draw"),
            (fake(FEW), ["01.none"], "judged or skipped"),
            (fake(FEW), "01.first", "give a list"),
            (fake({"01.x": outcome(verdict="proven")}), None, "01.x: .* no look for the verdict 'proven'"),
        ):
            with pytest.raises(InputError, match=message):
                draw(record, claims)
    assert not plt.get_fignums()
