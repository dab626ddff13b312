"""Locks: a digest of each primary claim, written before the run that decides it, shows what was changed afterwards."""

import re
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
    """What the lock says of a primary claim and of its outcome in the record (None: not run); "" for exploratory ones.

    "locked": the claim was fixed before the run that judged it, and is still the same. "changed after results": it is
    not what was locked, or not what was judged. "locked after results": the run came before the lock.
    """
    if not file.claims[id_]["primary"]:
        return ""
    now = digest(file.claims[id_])
    if file.lock is None or id_ not in file.lock["claims"]:
        return NOT_LOCKED
    if file.lock["claims"][id_] != now or (outcome and outcome["digest"] != now):
        return CHANGED
    return LOCKED if outcome is None or outcome["locked"] else LATE


def lock(path: Path, draw: int, records: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Write the digests of the file's primary claims and the draw into it, and return them.

    `records`, by scale, are the notebook's results so far. A lock is kept as it is when nothing has changed. Raises
    InputError when there are no primary claims, and when results on this draw exist that were not locked in this form:
    what has been seen cannot be predicted, and another draw is needed.
    """
    file = load_file(path)
    digests = {id_: digest(claim) for id_, claim in file.claims.items() if claim["primary"]}
    if not digests:
        raise InputError(f"{path.name} has no primary claims: mark 3 to 6 of them by `primary: true`, then lock")
    if file.lock == {"draw": draw, "claims": digests}:
        return digests
    for scale, content in records.items():
        if content.get("draw") == draw and content["claims"].keys() & digests.keys():
            raise InputError(
                f"{content['notebook']} has results on draw {draw} at {scale}: leave its claims as they are, or set "
                f"draw = {draw + 1} in its parameters cell and lock new test questions"
            )
    lines = ["lock:", f"  draw: {draw}", "  claims:", *(f'    {id_}: "{value}"' for id_, value in digests.items())]
    text = re.sub(r"(?m)^lock:\n(?:[ #].*\n|\n)*", "", path.read_text(encoding="utf-8")).rstrip("\n")
    files.write_text(path, text + "\n\n" + "\n".join(lines) + "\n")
    load_file(path)
    return digests
