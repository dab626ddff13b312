"""Files of claims: what they say, and what is refused as malformed. How claims are judged: test_verdicts.py."""

import hashlib
import json

import pytest

from nbutils import paths
from nbutils.errors import InputError
from nbutils.record.claim_files import MAX_PRIMARY, ClaimsFile, load_claims, load_file, load_paper, paper_values
from nbutils.record.claims import digest

GOOD = """\
00.dense_over_bm25:
  paper: "Karpukhin et al. 2020"
  where: "top-20 accuracy, NQ test"
  sentence: "Dense retrieval finds the gold passage more often than BM25."
  paper_values: "BM25 59.1, DPR 78.4 [M]"
  quantity: {difference: ["recall_at_1/Dense", "recall_at_1/BM25"]}
  rule: {ordering: "> 0"}
  null: {difference: ["recall_at_1/shuffled", "recall_at_1/BM25"]}
  min_scale: tiny
"""


@pytest.fixture
def load(tmp_path):
    def load_text(text):
        path = tmp_path / "00.yaml"
        path.write_text(text, encoding="utf-8")
        return load_claims(path)

    return load_text


@pytest.fixture
def load_whole(tmp_path):
    def load_text(text):
        path = tmp_path / "00.yaml"
        path.write_text(text, encoding="utf-8")
        return load_file(path)

    return load_text


def test_a_good_file_loads(load):
    (claim,) = load(GOOD + "  note: few questions\n").values()
    assert claim["id"] == "00.dense_over_bm25"
    assert claim["null"] == {"difference": ["recall_at_1/shuffled", "recall_at_1/BM25"]}  # an unquoted `null:` key
    assert claim["note"] == "few questions"
    (claim,) = load(GOOD).values()
    assert (claim["note"], claim["label"], claim["primary"], claim["paper_effect"]) == ("", "", False, None)
    (claim,) = load(GOOD + "  primary: true\n  label: dense\n").values()
    assert (claim["label"], claim["primary"]) == ("dense", True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("00.dense_over_bm25:", "dense:", "claim dense: an id is"),
        ("00.dense_over_bm25:", "0.dense:", "claim 0.dense: an id is"),
        ("00.dense_over_bm25:", "00.1:", "claim 0.1: an id is"),
        ("  where:", "  table:", "claim 00.dense_over_bm25 has unknown key 'table'"),
        ("  min_scale: tiny\n", "", "claim 00.dense_over_bm25 lacks 'min_scale'"),
        ('  null: {difference: ["recall_at_1/shuffled", "recall_at_1/BM25"]}\n', "", "00.dense_over_bm25 lacks 'null'"),
        ("min_scale: tiny", "min_scale: huge", "00.dense_over_bm25: min_scale is 'huge'"),
        ("min_scale: tiny", "min_scale: smoke", "00.dense_over_bm25: min_scale is 'smoke'"),
        ('"> 0"', '"about 0"', "00.dense_over_bm25: rule"),
        ('"> 0"', '"> zero"', "00.dense_over_bm25: rule"),
        ('{ordering: "> 0"}', "{interval: [1, 0]}", "00.dense_over_bm25: rule"),
        ('{ordering: "> 0"}', "{interval: [0, .inf]}", "00.dense_over_bm25: rule"),
        ('{ordering: "> 0"}', '{ordering: "> 0", interval: [0, 1]}', "00.dense_over_bm25: rule"),
        ('{ordering: "> 0"}', '"> 0"', "00.dense_over_bm25: rule"),
        ("{difference: [", "{ratio: [", "00.dense_over_bm25: quantity"),
        ('"recall_at_1/Dense", ', "", "00.dense_over_bm25: quantity"),
        ('["recall_at_1/Dense", "recall_at_1/BM25"]', '["a", "a"]', "00.dense_over_bm25: quantity"),
        ('["recall_at_1/Dense", "recall_at_1/BM25"]', '["a", 1]', "00.dense_over_bm25: quantity"),
        ("{difference: [", "{trend: [", "00.dense_over_bm25: quantity"),
        ('{difference: ["recall_at_1/Dense", "recall_at_1/BM25"]}', '{trend: ["a", "b", "a"]}', "quantity"),
        ('{difference: ["recall_at_1/Dense", "recall_at_1/BM25"]}', "{trend: abc}", "quantity"),
        ('{difference: ["recall_at_1/Dense", "recall_at_1/BM25"]}', '{mean: ["a", "b", "c"]}', "quantity"),
        ('{difference: ["recall_at_1/Dense", "recall_at_1/BM25"]}', '{difference: ["a", "b", "c"]}', "quantity"),
        ('{difference: ["recall_at_1/shuffled", "recall_at_1/BM25"]}', '{trend: ["a", "b", "c"]}', "null must be"),
        ("recall_at_1/shuffled", "recall_at_1/Dense", "00.dense_over_bm25: null"),
        ('{difference: ["recall_at_1/shuffled", "recall_at_1/BM25"]}', '{mean: "a"}', "00.dense_over_bm25: null"),
        ("  min_scale", "  rule: {ordering: '< 0'}\n  min_scale", "'rule' occurs twice"),
        ('paper_values: "BM25 59.1, DPR 78.4 [M]"', "paper_values: 59.1", "00.dense_over_bm25: paper_values"),
        ('sentence: "', 'sentence: ""\n  note: "', "00.dense_over_bm25: sentence"),
        (GOOD, "", "must map"),
        (GOOD, "- a\n", "must map"),
        (GOOD, "00.a: text\n", "claim 00.a must be a mapping"),
        (GOOD, "a: [\n", "not YAML"),
        (GOOD, GOOD + GOOD, r"/00\.yaml: '00.dense_over_bm25' occurs twice"),
        (
            "00.dense",
            "01.dense",
            r"/00\.yaml: claim 01.dense_over_bm25 is one of another .*: move it to 01\.yaml",
        ),
        (GOOD, GOOD + GOOD.replace("00.dense", "10.dense"), r"00\.yaml: claim 10.dense_over_bm25 is one of another"),
        ("  min_scale", "  primary: 1\n  min_scale", "00.dense_over_bm25: primary is 1: give true"),
        ("  min_scale", "  label: ''\n  min_scale", "00.dense_over_bm25: label"),
        ("paper:", "paper: !!python/object/apply:os.getcwd []\n  x:", "not YAML"),
    ],
)
def test_a_malformed_file_is_refused(load, old, new, message):
    assert old in GOOD
    with pytest.raises(InputError, match=message):
        load(GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("{mean: recall}", {"mean": "recall, shuffled qrels"}),
        ("{difference: [a, b/c]}", {"difference": ["a, shuffled qrels", "b/c, shuffled qrels"]}),
        ("{trend: [a, b, c]}", {"trend": ["a, shuffled qrels", "b, shuffled qrels", "c, shuffled qrels"]}),
    ],
)
def test_a_null_by_name_is_the_quantity_with_the_name_behind_each_score(load, quantity, expected):
    text = GOOD.replace('{difference: ["recall_at_1/Dense", "recall_at_1/BM25"]}', quantity)
    short = text.replace('{difference: ["recall_at_1/shuffled", "recall_at_1/BM25"]}', "shuffled qrels")
    explicit = text.replace('{difference: ["recall_at_1/shuffled", "recall_at_1/BM25"]}', str(expected))
    assert load(short) == load(explicit)
    assert load(short)["00.dense_over_bm25"]["null"] == expected


@pytest.mark.parametrize("null", ['""', '" "', "3", "[shuffled qrels]", ""])
def test_a_null_that_is_no_name_is_refused(load, null):
    text = GOOD.replace('{difference: ["recall_at_1/shuffled", "recall_at_1/BM25"]}', null)
    with pytest.raises(InputError, match=r"00\.dense_over_bm25: null"):
        load(text)


def test_exchanged_labels_are_a_null_of_differences_alone(load):
    own = '{difference: ["recall_at_1/shuffled", "recall_at_1/BM25"]}'
    (claim,) = load(GOOD.replace(own, "exchanged labels")).values()
    assert claim["null"] == "exchanged labels"  # no name of scores
    text = GOOD.replace('{difference: ["recall_at_1/Dense", "recall_at_1/BM25"]}', "{mean: recall_at_1/Dense}")
    with pytest.raises(InputError, match=r"null is 'exchanged labels', which needs a difference .* not a mean"):
        load(text.replace(own, "exchanged labels"))


PAPER = """\
paper:
  "main/EM/RAG": {value: 44.5, tag: S, where: "Table 1"}
  "main/EM/RAG-Token": {value: 44.0, tag: S, where: "Table 1"}
  "main/F1/95/5 mix": {value: 57, tag: "2", where: "a talk"}
"""


def test_papers_values_are_read_once_for_claims_and_figures(project, write_claims, load):
    text = GOOD.replace(
        "BM25 59.1, DPR 78.4 [M]", "EM {main/EM/RAG-Token} to {main/EM/RAG} [S], F1 {main/F1/95/5 mix} [2]"
    )
    (claim,) = load(PAPER + text).values()  # the papers' values are no claim
    assert claim["paper_values"] == "EM 44.0 to 44.5 [S], F1 57 [2]"  # as the file has it
    write_claims("")
    (paths.CLAIMS / "00.yaml").write_text(PAPER + text, encoding="utf-8")
    assert paper_values("00_start_here", "main") == {"EM": {"RAG": 0.445, "RAG-Token": 0.44}, "F1": {"95/5 mix": 0.57}}
    assert load_paper(paths.CLAIMS / "00.yaml")["main/EM/RAG"] == {"value": 44.5, "tag": "S", "where": "Table 1"}
    with pytest.raises(InputError, match=r"claims/00\.yaml has no paper's value other/\.\.\.: name one"):
        paper_values("00_start_here", "other")
    with pytest.raises(InputError, match=r"no claims file 07\.yaml in claims/"):
        paper_values("07_none", "main")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("main/EM/RAG}", "main/EM/REALM}", "there is no paper value 'main/EM/REALM' in this file"),
        ("{main/EM/RAG} [S]", "{main/EM/RAG}", r"show the tags of its values, \[S\]"),
        ("{main/EM/RAG} [S]", "{main/EM/RAG} [M]", r"show the tags of its values, \[S\]"),
        ("main/EM/RAG-Token", "RAG-Token", "a name is figure/group/method"),
        ("value: 44.5", "value: 445", "value is 445: give percent"),
        ("value: 44.5", "value: true", "value is True: give percent"),
        ("tag: S", "tag: Z", "tag is 'Z': use one of S, A"),
        ('where: "Table 1"', 'where: ""', "where is '': say which table"),
        ("tag: S, ", "", "must have value, tag and where"),
        ("tag: S, ", "tag: S, quote: '', ", "quote is ''"),
        ("tag: S, ", "tag: S, quote: 44, ", "quote is 44: give the words"),
        ("tag: S, ", "tag: S, page: 3, ", "must have value, tag and where, may have quote, and nothing else"),
        ("paper:\n", "paper: 3\nx:\n", "paper must map names to"),
    ],
)
def test_a_malformed_papers_value_is_refused(load, old, new, message):
    text = PAPER + GOOD.replace("BM25 59.1, DPR 78.4 [M]", "{main/EM/RAG} [S]")
    assert load(PAPER + GOOD) and load(text)  # a text without names may have whatever tags it likes
    assert old in text
    with pytest.raises(InputError, match=message):
        load(text.replace(old, new, 1))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=f"no claims file 00.yaml in {tmp_path.name}/"):
        load_claims(tmp_path / "00.yaml")
    with pytest.raises(InputError, match=f"no claims file NN.yaml in {tmp_path.name}/"):
        load_claims(tmp_path)


def test_files_are_found_and_read_in_order(project, write_claims):
    first, second = GOOD.replace("00.dense", "00.b") + GOOD.replace("00.dense", "00.a"), GOOD.replace("00.", "98.")
    write_claims(second + first)
    assert sorted(path.name for path in paths.CLAIMS.iterdir()) == ["00.yaml", "98.yaml"]
    known = load_claims()
    assert [*known] == ["00.b_over_bm25", "00.a_over_bm25", "98.dense_over_bm25"]
    assert load_claims(paths.CLAIMS / "98.yaml") == {"98.dense_over_bm25": known["98.dense_over_bm25"]}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("98.yaml", "98.a: text\n", r"claims/98\.yaml: claim 98.a must be a mapping"),
        ("98.yaml", "", r"claims/98\.yaml must map claim ids"),
        ("98.yaml", "a: [\n", r"claims/98\.yaml is not YAML"),
        ("98.yaml", GOOD, r"claims/98\.yaml: claim 00.dense_over_bm25 is one of another notebook: move it to 00\.yaml"),
        ("draft.yaml", GOOD, r"claims/draft\.yaml: claim 00.dense_over_bm25 is one of another notebook"),
    ],
)
def test_a_fault_names_its_file(project, write_claims, name, text, message):
    write_claims(GOOD)
    (paths.CLAIMS / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        load_claims()
    assert "\n" not in str(caught.value)


def test_every_claim_stands_in_the_file_of_a_notebook():
    notebooks = {path.stem[:2] for path in paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")}
    assert {path.stem for path in paths.CLAIMS.iterdir()} <= notebooks
    for path in paths.CLAIMS.iterdir():
        file = load_file(path)
        assert file.claims and file.paper
        assert sum(claim["primary"] for claim in file.claims.values()) <= MAX_PRIMARY


def test_a_papers_value_may_be_quoted(load_whole):
    file = load_whole(PAPER.replace("tag: S, ", 'tag: S, quote: "RAG-Seq. 44.5", ', 1) + GOOD)
    assert file.paper["main/EM/RAG"]["quote"] == "RAG-Seq. 44.5"
    assert "quote" not in file.paper["main/EM/RAG-Token"]


EFFECT = '  paper_effect: ["main/EM/RAG", "main/EM/RAG-Token"]\n'


def test_a_papers_effect_is_the_difference_of_its_values_as_a_share(load):
    (claim,) = load(PAPER + GOOD + EFFECT).values()
    assert claim["paper_effect"] == {"value": 0.005, "tag": "S"}  # 44.5 - 44.0 percent
    (claim,) = load(PAPER.replace("tag: S", "tag: M", 1) + GOOD + EFFECT).values()
    assert claim["paper_effect"]["tag"] == "M"  # no better known than the worse of the two


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ('["main/EM/RAG"]', r"paper_effect is \['main/EM/RAG'\]: give \[name, other name\]"),
        ('"main/EM/RAG"', "paper_effect is 'main/EM/RAG': give"),
        ('["main/EM/RAG", 44.0]', "paper_effect is .*: give"),
        ('["main/EM/RAG", "main/EM/REALM"]', "paper_effect: there is no paper value 'main/EM/REALM'"),
    ],
)
def test_a_malformed_effect_is_refused(load, new, message):
    with pytest.raises(InputError, match=message):
        load(PAPER + GOOD + f"  paper_effect: {new}\n")


def test_a_notebook_is_judged_by_six_claims_at_most(load):
    def of(n):
        return "".join(GOOD.replace("00.dense", f"00.a{i}") + "  primary: true\n" for i in range(n))

    assert len(load(of(6) + GOOD)) == 7  # the last is exploratory
    with pytest.raises(InputError, match=r"/00\.yaml has 7 primary claims: choose the 6 that"):
        load(of(7))


HEADER = """\
headline: "RAG answers {exact_match/RAG} of the questions."
minutes: 7.5
status: on the former split
lock:
  draw: 3
  claims:
    00.dense_over_bm25: "0123456789ab"
"""


def test_the_head_of_a_file(load_whole):
    file = load_whole(HEADER + GOOD)
    assert isinstance(file, ClaimsFile) and [*file.claims] == ["00.dense_over_bm25"]
    assert file.headline == "RAG answers {exact_match/RAG} of the questions."
    assert (file.minutes, file.status) == (7.5, "on the former split")
    assert file.lock == {"draw": 3, "claims": {"00.dense_over_bm25": "0123456789ab"}}
    without = load_whole(GOOD)
    assert (without.headline, without.minutes, without.status, without.lock) == ("", None, "", None)
    assert without.paper == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"RAG answers {exact_match/RAG} of the questions."', '" "', "headline is ' ': give a non-empty text"),
        ('"RAG answers {exact_match/RAG} of the questions."', "[a]", "headline is"),
        ("7.5", "soon", "minutes is 'soon': give the minutes"),
        ("7.5", "0", "minutes is 0"),
        ("7.5", "true", "minutes is True"),
        ("7.5", ".nan", "minutes is nan"),
        ("7.5", ".inf", "minutes is inf"),
        ("on the former split", "''", "status is ''"),
        ("on the former split", "3", "status is 3"),
        ("draw: 3", "draw: three", "lock is malformed: take it out"),
        ("draw: 3", "draw: true", "lock is malformed"),
        ("  draw: 3\n", "", "lock is malformed"),
        ("  draw: 3\n", "  draw: 3\n  by: me\n", "lock is malformed"),
        ('"0123456789ab"', "123456789012", "lock is malformed"),  # no quotation marks: a number
        ("    00.dense_over_bm25", "    00.other", "the lock names 00.other, which is no claim of this file"),
    ],
)
def test_a_malformed_head_is_refused(load_whole, old, new, message):
    assert old in HEADER
    with pytest.raises(InputError, match=rf"/00\.yaml: {message}") as caught:
        load_whole(HEADER.replace(old, new, 1) + GOOD)
    assert "\n" not in str(caught.value)


def test_the_digest_is_of_quantity_rule_and_null_alone(load):
    (claim,) = load(GOOD).values()
    fixed = [
        {"difference": ["recall_at_1/Dense", "recall_at_1/BM25"]},
        {"ordering": "> 0"},
        {"difference": ["recall_at_1/shuffled", "recall_at_1/BM25"]},
    ]
    assert digest(claim) == hashlib.sha256(json.dumps(fixed).encode()).hexdigest()[:12]
    same = GOOD.replace("more often", "oftener").replace("78.4", "79.4").replace("tiny", "gpu")
    (other,) = load(same + "  note: a note\n  primary: true\n").values()
    assert digest(other) == digest(claim)
    for old, new in (("/Dense", "/Dense v2"), ("> 0", ">= 0"), ("/shuffled", "/random")):
        (other,) = load(GOOD.replace(old, new)).values()
        assert digest(other) != digest(claim)
