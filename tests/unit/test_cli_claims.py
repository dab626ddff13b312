"""`python -m nbutils claims`: what it shows, what it writes, and the exit status of each kind of ending."""

import csv
import io
import json
import sys
from dataclasses import dataclass

import pytest

from nbutils import __main__ as cli
from nbutils import paths
from nbutils.data import Dataset
from nbutils.record import Record, load_record
from nbutils.record.claim_files import load_file
from nbutils.record.claims import digest

CLAIMS = """\
00.a_over_b:
  primary: true
  label: "A - B"
  paper: "Lewis et al. 2020"
  where: "Table 1"
  sentence: "A finds more than B."
  paper_values: "A 44.5, B 41.5 [S]"
  quantity: {difference: ["a/fact", "b/fact"]}
  rule: {ordering: "> 0"}
  null: {difference: ["noise", "b/fact"]}
  min_scale: tiny
00.a_is_level:
  primary: true
  paper: "this project"
  where: "-"
  sentence: "A is as good as itself."
  paper_values: "-"
  quantity: {difference: ["level", "zero"]}
  rule: {ordering: "> 0"}
  null: {difference: ["noise", "zero"]}
  min_scale: tiny
00.skipped:
  paper: "this project"
  where: "-"
  sentence: "Something is found."
  paper_values: "-"
  quantity: {mean: "other"}
  rule: {ordering: "> 0"}
  null: shuffled
  min_scale: tiny
00.cannot_fail:
  paper: "this project"
  where: "-"
  sentence: "A finds something."
  paper_values: "-"
  quantity: {mean: "a/fact"}
  rule: {ordering: "> 0"}
  null: {mean: "b/fact"}
  min_scale: tiny
01.not_run:
  paper: "this project"
  where: "-"
  sentence: "Nothing is known."
  paper_values: "-"
  quantity: {mean: "a/fact"}
  rule: {ordering: "> 0"}
  null: {mean: "zero"}
  min_scale: tiny
"""
WITHOUT_FAULT = CLAIMS.replace(CLAIMS[CLAIMS.index("00.cannot_fail") : CLAIMS.index("01.not_run")], "")
PARAMETERS = 'scale: str = "tiny"  # preset\nseed: int = 0  # of training\ndraw: int = 2  # of the questions'


@pytest.fixture
def call(project, monkeypatch, capsys):
    """Function (arguments) -> (exit status, standard output, standard error) of `python -m nbutils claims`."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["nbutils", "claims", *map(str, arguments)])
        with pytest.raises(SystemExit) as ending:
            cli.main()
        return (ending.value.code or 0, *capsys.readouterr())

    return call


@dataclass(frozen=True)
class Item:
    id: str
    subject: str
    field: str = "capital"


ITEMS = [Item(f"q{i}", f"Country {i % 50}, {'north' if i % 2 else 'south'}") for i in range(100)]


@pytest.fixture
def run(project, write_notebook, write_claims):
    """Function -> the notebook 00_demo has run: its record lies in figures/, its claims in notebooks/claims/."""
    notebook = write_notebook(
        project.notebooks / "00_demo.ipynb", "for claim in claims: print(1)", parameters=PARAMETERS
    )
    write_notebook(project.notebooks / "01_other.ipynb")
    content = json.loads(notebook.read_text(encoding="utf-8"))
    content["cells"][2]["execution_count"] = 12  # ids are often put together: the output names them, not the source
    text = "reproduced  00.a_over_b  +0.50\nopen  00.a_is_level\n"
    content["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": text}]
    notebook.write_text(json.dumps(content), encoding="utf-8")
    write_claims(WITHOUT_FAULT)

    def run(draw=2):
        record = Record("00_demo", "tiny", 0, {"draw": draw}, {})
        record.dataset(Dataset("factbook", {}, [], sha256="d"))
        noise = [(-1) ** (i // 2) for i in range(100)]
        for name, values in (
            ("a/fact", [1.0, 0.0] * 50),
            ("b/fact", [0.0] * 100),
            ("level", noise),
            ("zero", [0.0] * 100),
            ("noise", noise),
        ):
            record.scores(name, ITEMS, values)
        record.skip(["00.skipped"], "no such questions")
        for id_ in load_file(paths.CLAIMS / "00.yaml").claims:
            record.claim(id_)
        return record.save()

    return run


def edit(old, new):
    path = paths.CLAIMS / "00.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_list(call, run):
    run()
    status, out, err = call("list")
    assert (status, err) == (0, "")
    assert [line.split(maxsplit=2) for line in out.splitlines()] == [
        ["00.a_over_b", "primary", "reproduced  not locked"],
        ["00.a_is_level", "primary", "open  not locked"],
        ["00.skipped", "exploratory", "skipped: no such questions"],
        ["01.not_run", "exploratory", "not run"],
    ]
    assert all("not run" in line for line in call("list", "--scale", "gpu")[1].splitlines())


def test_show(call, run):
    run()
    status, out, err = call("show", "00.a_over_b")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[:6] == [
        "00.a_over_b  (primary)",
        "A finds more than B.",
        "paper: Lewis et al. 2020",
        "where: Table 1",
        "paper values: A 44.5, B 41.5 [S]",
        "quantity: {'difference': ['a/fact', 'b/fact']}",
    ]
    # 50 subjects of two questions: those of the even ones are both right, of the odd ones both wrong.
    assert lines[8].startswith("reproduced: +0.50 [0.36, 0.64], 100 questions of 50 subjects, p = ")
    assert lines[9].startswith("adjusted for the number of primary claims: [0.3")
    assert lines[10:] == [
        "null input: +0.000 [-0.202, 0.202], open",
        "lock: not locked",
        "judged in notebooks/00_demo.ipynb, cell [12]",
        "scores of every question: python -m nbutils claims show 00.a_over_b --scores",
    ]


def test_show_an_open_claim_one_that_was_skipped_and_one_not_run(call, run):
    record = load_record(run())
    mde = record["claims"]["00.a_is_level"]["mde"]
    out = call("show", "00.a_is_level")[1]
    assert f"smallest effect that this run would find (80 % power): {mde:.3f}\n" in out  # no number would decide 0
    assert call("show", "00.skipped")[1].endswith("\nskipped: no such questions\n")
    status, out, _ = call("show", "01.not_run")
    assert status == 0 and out.endswith("\nnot run\n") and "paper: this project" in out and "where" not in out


def test_show_scores_is_csv(call, run):
    run()
    status, out, err = call("show", "00.a_over_b", "--scores")
    assert (status, err) == (0, "")
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == ["id", "subject", "field", "a/fact", "b/fact"] and len(rows) == 101
    assert rows[1] == ["q0", "Country 0, south", "capital", "1.0", "0.0"]  # a comma within a name
    status, out, err = call("show", "00.skipped", "--scores")
    assert (status, out) == (2, "")
    assert err == "error: claim 00.skipped has no scores at tiny: skipped: no such questions\n"


def test_lock_then_run(call, run):
    status, out, err = call("lock", "00")
    assert (status, err) == (0, "")
    assert out == "locked 2 primary claims of 00_demo on draw 2: 00.a_over_b, 00.a_is_level\n"
    file = load_file(paths.CLAIMS / "00.yaml")
    assert file.lock == {"draw": 2, "claims": {id_: digest(file.claims[id_]) for id_ in [*file.claims][:2]}}
    run()
    assert "primary     reproduced  locked\n" in call("list")[1]
    assert "lock: locked\n" in call("show", "00.a_over_b")[1]
    assert call("check") == (0, "claims and records of scale tiny agree\n", "")
    before = (paths.CLAIMS / "00.yaml").read_bytes()
    assert call("lock", "00_demo")[0] == 0  # unchanged: it stays as it is
    assert (paths.CLAIMS / "00.yaml").read_bytes() == before


def test_lock_after_the_run_is_refused(call, run):
    run()
    status, out, err = call("lock", "00")
    assert (status, out) == (2, "")
    assert err.startswith("error: 00_demo has results on draw 2 at tiny: ") and err.count("\n") == 1
    assert "set draw = 3" in err
    run(draw=1)
    assert call("lock", "00")[0] == 0  # the record is of other questions


def test_a_record_of_an_earlier_format_does_not_keep_from_locking(call, run):
    target = run()
    target.write_text(json.dumps({"format": 3, "claims": {}}), encoding="utf-8")
    assert call("lock", "00")[0] == 0
    status, _, err = call("list")  # what shows verdicts says that there are none to read
    assert status == 2 and "is not a record of format 4: run the notebook again" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda: edit('rule: {ordering: "> 0"}\n  null: {difference: ["noise", "b/fact"]}',
                      'rule: {ordering: ">= 0"}\n  null: {difference: ["noise", "b/fact"]}'),
         "00.a_over_b: changed after results"),
        (lambda: edit("00.a_is_level:\n  primary: true\n", "00.a_is_level:\n"), "00.a_is_level: changed after results"),
        (lambda: edit('"noise", "b/fact"', '"noise", "c/fact"'), "00_demo: claim 00.a_over_b: null: the record has no"),
    ],
)  # fmt: skip
def test_check_tells_what_was_changed_after_its_results(call, run, change, problem):
    call("lock", "00")
    run()
    change()
    status, out, err = call("check")
    assert (status, err) == (1, "")
    assert any(line.startswith(problem) for line in out.splitlines())
    assert "agree" not in out


def test_check_tells_a_lock_that_came_after_the_run(call, run):
    target = run()
    aside = target.rename(target.with_name("aside.json"))
    call("lock", "00")
    aside.rename(target)
    status, out, _ = call("check")
    assert status == 1
    assert out.splitlines() == ["00.a_over_b: locked after results", "00.a_is_level: locked after results"]


def test_check_tells_what_cannot_fail_and_what_was_judged_otherwise(call, run, write_claims):
    write_claims(CLAIMS)
    target = run()
    refused = "00.cannot_fail: refused, its null input has one value for every question: the check cannot fail"
    assert call("check") == (1, f"{refused}\n", "")
    content = json.loads(target.read_text(encoding="utf-8"))
    content["claims"]["00.a_over_b"]["value"] = 0.9  # a better number, written by hand
    content["claims"]["00.gone"] = content["claims"].pop("00.cannot_fail")
    target.write_text(json.dumps(content), encoding="utf-8")
    assert call("check")[1].splitlines() == [
        "00.a_over_b: is no longer judged as in its record; python -m nbutils run 00",
        "00.gone: in the record, but no longer a claim",
    ]
    assert call("check", "--scale", "gpu") == (0, "claims and records of scale gpu agree\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "--scale", "huge"], "no scale 'huge': use one of smoke, tiny, gpu, paper"),
        (["check", "--scale", "huge"], "no scale 'huge'"),
        (["show", "00.other"], "there is no claim '00.other': python -m nbutils claims list shows all"),
        (["show", "07.other"], "there is no claim '07.other'"),
        (["show", "../secret"], "there is no claim '../secret'"),
        (["lock", "07"], "no notebook '07'; there are: 00_demo, 01_other"),
        (["lock", "01"], "01_other.ipynb has no parameter `draw`: its test questions are not separate from its seed"),
    ],
)
def test_wrong_input_is_one_line_and_ends_with_2(call, run, arguments, message):
    status, out, err = call(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {message}") and err.count("\n") == 1


def test_a_malformed_claims_file_is_one_line(call, run):
    edit('"> 0"}\n  null: {difference: ["noise", "b/fact"]}', '"about 0"}\n  null: {difference: ["noise", "b/fact"]}')
    for arguments in (["list"], ["check"], ["show", "00.a_over_b"], ["lock", "00"]):
        status, out, err = call(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith("error: claims/00.yaml: claim 00.a_over_b: rule is") and err.count("\n") == 1


def test_lock_without_primary_claims(call, run, write_claims):
    write_claims(WITHOUT_FAULT.replace("  primary: true\n", ""))
    status, _, err = call("lock", "00")
    assert (status, err) == (
        2,
        "error: 00.yaml has no primary claims: mark 3 to 6 of them by `primary: true`, then lock\n",
    )
