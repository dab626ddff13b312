"""Locks: a digest of each primary claim, written before the run that decides it, shows what was changed afterwards."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbutils import files
from nbutils.errors import InputError
from nbutils.record.claim_files import ClaimsFile, load_file
from nbutils.record.claims import digest

LOCKED = "locked"
CHANGED = "changed after results"
LATE = "locked after results"
NOT_LOCKED = "not locked"


def is_locked(file: ClaimsFile, id_: str, draw: int | None) -> bool:
    """Whether the file's lock fixes this claim as it is, on this draw of test questions."""
    lock = file.lock
    return lock is not None and lock["draw"] == draw and lock["claims"].get(id_) == digest(file.claims[id_])


def lock_status(file: ClaimsFile, id_: str, outcome: Mapping[str, Any] | None) -> str:
    """What the lock says of a claim and of its outcome in the record (None: not run); "" for exploratory ones.

    "locked": the claim was fixed before the run that judged it, and is still the same. "changed after results": it is
    not what was locked, or not what was judged, or no longer primary. "locked after results": the run that the record
    shows did not know the lock, since it came before it or asked another draw.
    """
    is_named = file.lock is not None and id_ in file.lock["claims"]
    if not file.claims[id_]["primary"]:
        return CHANGED if is_named else ""
    if not is_named:
        return NOT_LOCKED
    now = digest(file.claims[id_])
    if file.lock["claims"][id_] != now or (outcome and outcome["digest"] != now):
        return CHANGED
    return LOCKED if outcome is None or outcome.get("locked") else LATE  # an exploratory outcome has no "locked"


def lock(path: Path, draw: int, records: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Write the digests of the file's primary claims and the draw into it, and return them.

    `records`, by scale, are the notebook's results so far. A lock is kept as it is when nothing has changed; the rest
    of the file is never touched. Raises InputError when there are no primary claims, and when results on this draw
    exist that were not locked in this form: what has been seen cannot be predicted, and another draw is needed. Seen is
    a claim that was judged, primary or not, and one all of whose scores are there, whatever its name.
    """
    file = load_file(path)
    digests = {id_: digest(claim) for id_, claim in file.claims.items() if claim["primary"]}
    if not digests:
        raise InputError(f"{path.name} has no primary claims: mark 3 to 6 of them by `primary: true`, then lock")
    if file.lock == {"draw": draw, "claims": digests}:
        return digests
    for scale, content in records.items():
        seen = content["claims"].keys() & digests.keys()
        seen |= {id_ for id_ in digests if _score_names(file.claims[id_]) <= content["scores"].keys()}
        if content.get("draw") == draw and seen:
            raise InputError(
                f"{content['notebook']} has results on draw {draw} at {scale}: leave its claims as they are, or set "
                f"draw = {draw + 1} in its parameters cell and lock new test questions"
            )
    lines = ["lock:", f"  draw: {draw}", "  claims:", *(f'    {id_}: "{value}"' for id_, value in digests.items())]
    text = _with_block(path.read_bytes().decode("utf-8"), lines)
    with files.atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))
        if load_file(temporary).lock != {"draw": draw, "claims": digests}:
            raise InputError(f"{path.name}: its lock cannot be rewritten: take it out, and lock again")
    return digests


def _score_names(claim: Mapping[str, Any]) -> set[str]:
    (names,) = claim["quantity"].values()
    return {names} if isinstance(names, str) else set(names)


def _with_block(text: str, lines: list[str]) -> str:
    """A claims file with `lines` in place of its lock, or at its end where it has none; all else byte for byte."""
    import yaml

    newline = "\r\n" if "\r\n" in text else "\n"
    block = newline.join(lines)
    for key, value in yaml.compose(text, Loader=yaml.SafeLoader).value:
        if key.value == "lock":
            return text[: key.start_mark.index] + block + text[_end(value) :]
    n_missing = next(n for n in (0, 1, 2) if (text + newline * n).endswith(2 * newline))
    return text + newline * n_missing + block + newline


def _end(node: Any) -> int:
    """Where a node ends; the end that YAML notes for a block is that of the comments and blank lines behind it."""
    import yaml

    if isinstance(node, yaml.ScalarNode) or node.flow_style or not node.value:
        return node.end_mark.index
    parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
    return max(_end(part) for part in parts)
