"""Locks: what was fixed before a run, what changed after it, and what of the file a lock may touch."""

import copy

import pytest

from nbutils.errors import InputError
from nbutils.record import locks
from nbutils.record.claim_files import load_file
from nbutils.record.claims import digest, judge

CLAIMS = """\
# The claims of a notebook, with   odd spacing, and a comment: lock: none
headline: "A {a} of the questions."   # filled in

00.first:
  primary: true
  paper: "this project"
  where: "-"
  sentence: "A is better than B."
  paper_values: "-"
  quantity: {difference: ["a", "b"]}  # the two systems
  rule: {ordering: "> 0"}
  null: exchanged labels
  min_scale: tiny
00.second:
  primary: true
  paper: "this project"
  where: "-"
  sentence: "A is good."
  paper_values: "-"
  quantity: {mean: a}
  rule: {ordering: "> 0.2"}
  null: shuffled
  min_scale: tiny
00.exploratory:
  paper: "this project"
  where: "-"
  sentence: "B is good."
  paper_values: "-"
  quantity: {mean: b}
  rule: {ordering: "> 0.2"}
  null: shuffled
  min_scale: tiny
"""
SCORES = {
    name: {"ids": [f"q{i}" for i in range(40)], "values": [(i + shift) % 3 / 2 for i in range(40)]}
    for name, shift in (("a", 0), ("b", 1), ("a, shuffled", 2), ("b, shuffled", 0), ("a, random", 1), ("b, random", 2))
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "00.yaml"
    path.write_text(CLAIMS, encoding="utf-8")
    return path


def record_of(path, draw):
    """What a run of these claims leaves in the record, as `Record.claim` does it."""
    file = load_file(path)
    judged = {id_: judge(claim, SCORES, "tiny") for id_, claim in file.claims.items()}
    for id_, claim in file.claims.items():
        if claim["primary"]:
            judged[id_]["locked"] = locks.is_locked(file, id_, draw)
    return {"notebook": "00_demo", "draw": draw, "claims": judged, "scores": copy.deepcopy(SCORES)}


def statuses(path, record=None):
    file = load_file(path)
    return [locks.lock_status(file, id_, record and record["claims"].get(id_)) for id_ in file.claims]


def replace(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_lock_before_the_run(path):
    assert statuses(path) == ["not locked", "not locked", ""]
    digests = locks.lock(path, 0, {})
    file = load_file(path)
    assert digests == {id_: digest(file.claims[id_]) for id_ in ("00.first", "00.second")}
    assert file.lock == {"draw": 0, "claims": digests}
    assert statuses(path) == ["locked", "locked", ""]
    record = record_of(path, 0)
    assert statuses(path, record) == ["locked", "locked", ""]


@pytest.mark.parametrize(
    ("old", "new"),
    [('"> 0"}', '">= 0"}'), ('["a", "b"]', '["b", "a"]'), ("null: exchanged labels", "null: random")],
)
def test_planted_fault_a_claim_changed_after_the_lock_shows_it(path, old, new):
    locks.lock(path, 0, {})
    record = record_of(path, 0)
    replace(path, old, new)
    assert statuses(path) == ["changed after results", "locked", ""]
    assert statuses(path, record) == ["changed after results", "locked", ""]
    with pytest.raises(InputError, match="has results on draw 0"):
        locks.lock(path, 0, {"tiny": record})
    # A new run does not wash it off: the claim is still not what was locked.
    assert statuses(path, record_of(path, 0)) == ["changed after results", "locked", ""]
    replace(path, new, old)
    assert statuses(path, record) == ["locked", "locked", ""]


def test_planted_fault_a_claim_judged_in_another_form_than_it_has_now(path):
    """Both the claim and its digest in the file were rewritten: the record tells."""
    locks.lock(path, 0, {})
    record = record_of(path, 0)
    replace(path, '"> 0"}', '">= 0"}')
    locks.lock(path, 0, {})  # as if there were no record
    assert statuses(path) == ["locked", "locked", ""]
    assert statuses(path, record) == ["changed after results", "locked", ""]


def test_planted_fault_a_claim_that_was_locked_may_not_become_exploratory(path):
    locks.lock(path, 0, {})
    replace(path, "00.second:\n  primary: true\n", "00.second:\n")
    assert statuses(path, record_of(path, 0)) == ["locked", "changed after results", ""]


def test_the_words_of_a_claim_may_change(path):
    locks.lock(path, 0, {})
    record = record_of(path, 0)
    replace(path, "A is better than B.", "A answers more than B.")
    replace(path, "null: exchanged labels", "null: exchanged labels\n  label: A - B\n  note: 40 questions")
    assert statuses(path, record) == ["locked", "locked", ""]
    before = path.read_bytes()
    assert locks.lock(path, 0, {"tiny": record}).keys() == {"00.first", "00.second"}  # an equal re-run keeps its lock
    assert path.read_bytes() == before


def test_locking_after_results_is_refused_on_the_same_draw(path):
    record = record_of(path, 0)
    before = path.read_bytes()
    for scale in ("tiny", "gpu"):
        with pytest.raises(InputError) as caught:
            locks.lock(path, 0, {scale: record})
        assert str(caught.value) == (
            f"00_demo has results on draw 0 at {scale}: leave its claims as they are, or set draw = 1 in its "
            "parameters cell and lock new test questions"
        )
    assert path.read_bytes() == before
    locks.lock(path, 1, {"tiny": record})  # questions that nobody has seen
    assert load_file(path).lock["draw"] == 1
    # Until they are asked, what the record shows was judged on the former ones, without a lock.
    assert statuses(path, record) == ["locked after results", "locked after results", ""]
    assert statuses(path, record_of(path, 1)) == ["locked", "locked", ""]


def test_planted_fault_a_lock_written_by_hand_after_the_run_shows_it(path):
    record = record_of(path, 0)
    locks.lock(path, 0, {})  # as if there were no record
    assert statuses(path, record) == ["locked after results", "locked after results", ""]
    assert statuses(path, record_of(path, 0)) == ["locked", "locked", ""]


def test_an_exploratory_claim_that_becomes_primary_was_not_locked_when_it_was_judged(path):
    record = record_of(path, 0)
    replace(path, "00.exploratory:\n", "00.exploratory:\n  primary: true\n")
    with pytest.raises(InputError, match="has results on draw 0"):
        locks.lock(path, 0, {"tiny": {**record, "claims": {"00.exploratory": record["claims"]["00.exploratory"]}}})
    locks.lock(path, 1, {"tiny": record})
    assert statuses(path, record) == ["locked after results"] * 3


def test_planted_fault_a_claim_of_another_name_has_been_seen_too(path):
    """All ids are new, but the scores that decide the claims lie in the record."""
    record = record_of(path, 0)
    path.write_text(CLAIMS.replace("00.first", "00.third").replace("00.second", "00.fourth"), encoding="utf-8")
    with pytest.raises(InputError, match="has results on draw 0"):
        locks.lock(path, 0, {"tiny": record})
    del record["scores"]["a"]
    record["claims"] = {}
    assert locks.lock(path, 0, {"tiny": record}).keys() == {"00.third", "00.fourth"}  # nothing of them was seen


def test_a_lock_is_of_one_draw(path):
    locks.lock(path, 0, {})
    file = load_file(path)
    assert locks.is_locked(file, "00.first", 0)
    assert not any(locks.is_locked(file, "00.first", draw) for draw in (1, None))
    assert not locks.is_locked(file, "00.exploratory", 0)
    assert statuses(path, record_of(path, 1)) == ["locked after results", "locked after results", ""]


def test_no_primary_claim_is_nothing_to_lock(path):
    path.write_text(CLAIMS.replace("  primary: true\n", ""), encoding="utf-8")
    with pytest.raises(InputError, match=r"00\.yaml has no primary claims: mark 3 to 6"):
        locks.lock(path, 0, {})


# --- the file ---------------------------------------------------------------------------------------------------------


def block(digests, draw):
    lines = [f"lock:\n  draw: {draw}\n  claims:", *(f'    {id_}: "{value}"' for id_, value in digests.items())]
    return "\n".join(lines)


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n# the last word\n"])
def test_a_first_lock_goes_to_the_end_and_nothing_else_changes(path, end):
    text = CLAIMS.rstrip("\n") + end
    path.write_text(text, encoding="utf-8")
    digests = locks.lock(path, 0, {})
    written = path.read_text(encoding="utf-8")
    assert written.startswith(text)
    assert written.removeprefix(text).lstrip("\n") == block(digests, 0) + "\n"
    assert f"\n\n{block(digests, 0)}" in written  # set off by an empty line


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "lock", ['lock:\n  draw: 0  # first\n  claims:\n    00.first: "abc"', "lock: {draw: 0, claims: {}}"]
)
def test_a_lock_is_rewritten_where_it_stands_and_nothing_else_changes(path, lock, newline):
    head, first, rest = CLAIMS.partition("00.first:\n")
    before = f"{head}# written by a command\n"
    after = f"  # of draw 0\n\n# The claims   proper:\n\n{first}{rest}\n\n# é, the last word"
    path.write_bytes(f"{before}{lock}{after}".replace("\n", newline).encode())
    digests = locks.lock(path, 7, {})
    assert path.read_bytes() == f"{before}{block(digests, 7)}{after}".replace("\n", newline).encode()
    assert load_file(path).lock == {"draw": 7, "claims": digests}
    again = path.read_bytes()
    locks.lock(path, 8, {})
    assert path.read_bytes() == again.replace(b"draw: 7", b"draw: 8")


def test_a_claim_that_is_called_lock_is_no_lock(path):
    path.write_text(CLAIMS.replace("00.second", "00.lock"), encoding="utf-8")
    assert [*locks.lock(path, 0, {})] == ["00.first", "00.lock"]
    assert path.read_text(encoding="utf-8").startswith(CLAIMS.replace("00.second", "00.lock"))


@pytest.mark.parametrize("value", ["123456789012", "012345670123", "1e2345678901", "0x1234567890", "1_2345678901"])
def test_digests_that_look_like_numbers_survive(path, monkeypatch, value):
    monkeypatch.setattr(locks, "digest", lambda claim: value)
    locks.lock(path, 0, {})
    assert load_file(path).lock["claims"] == {"00.first": value, "00.second": value}
    assert statuses(path) == ["locked", "locked", ""]
    assert locks.is_locked(load_file(path), "00.first", 0)


def test_what_would_not_be_read_again_is_not_written(path, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr(locks, "digest", lambda claim: 'a"b')
    with pytest.raises(InputError):
        locks.lock(path, 0, {})
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["00.yaml"]
