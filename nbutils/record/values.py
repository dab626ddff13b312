"""What may go into a record: ids and groups of questions, finite numbers, and values that JSON gives back unchanged."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from nbutils.errors import InputError

MIN_FIELDS = 5


@contextmanager
def error_prefix(where: str) -> Iterator[None]:
    """Put the name of a result in front of what is wrong with it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def checked_ids(where: str, examples: Sequence[Any], n_rows: int) -> list[str]:
    """The ids of examples, or the ids that are given for them. Raises InputError unless they are `n_rows` strings, each
    another.
    """
    ids = [getattr(example, "id", example) for example in examples]
    if len(ids) != n_rows:
        raise InputError(f"{where}: {len(ids)} question ids but values of {n_rows} questions")
    if not all(isinstance(id_, str) for id_ in ids):
        raise InputError(f"{where}: question ids must be strings")
    if len(set(ids)) != len(ids):
        twice = next(id_ for id_ in ids if ids.count(id_) > 1)
        raise InputError(f"{where}: question {twice!r} occurs twice")
    return [str(id_) for id_ in ids]


def groups(examples: Sequence[Any]) -> dict[str, list[str]]:
    """What the examples are about: {"subjects": [...], "fields": [...]}, each where every example says it.

    Questions about one country are not independent of each other: intervals over subjects need to know.
    """
    found = {}
    for label, attribute in (("subjects", "subject"), ("fields", "field")):
        values = [getattr(example, attribute, None) for example in examples]
        if values and all(isinstance(value, str) and value for value in values):
            found[label] = [str(value) for value in values]
    return found


def unit_of(examples: Sequence[Any]) -> dict[str, str]:
    """{"unit": "windows"} where the examples say that they are no questions; {} otherwise."""
    units = {getattr(example, "unit", None) for example in examples}
    return {"unit": units.pop()} if len(units) == 1 and units != {None} else {}


def clusters(entry: Mapping[str, Any]) -> tuple[Sequence[str] | None, Sequence[str] | None]:
    """The subjects and the fields by which a score's interval is clustered, each None where it is not.

    Of one subject no variance can be seen. Fewer than MIN_FIELDS fields, such as the two highest offices of a state,
    are no sample of fields: they are fixed, and the interval speaks of these alone.
    """
    subjects, fields = entry.get("subjects"), entry.get("fields")
    subjects = subjects if subjects is not None and len(set(subjects)) > 1 else None
    return subjects, fields if fields is not None and len(set(fields)) >= MIN_FIELDS else None


def checked_number(where: str, value: Any) -> float:
    """A finite Python number; whole numbers stay int. Raises InputError for whatever is none."""
    value = value.item() if hasattr(value, "item") else value
    value = int(value) if isinstance(value, bool) else value
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{where}: {value!r} is not a finite number")
    return value


def checked_seed(name: str, value: Any) -> int:
    """A whole number from 0, as Python's int. Raises InputError for what is none, as 1e5 is none by plain papermill."""
    value = value.item() if hasattr(value, "item") else value
    if type(value) is not int or value < 0:
        raise InputError(f"{name} = {value!r}: give a whole number of at least 0, without point or e")
    return value


def plain(where: str, value: Any) -> Any:
    """`value` as JSON will give it back: tuples as lists, NumPy numbers as Python's."""
    if isinstance(value, Mapping):
        return {str(key): plain(f"{where}.{key}", item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(where, item) for item in value]
    if value is None or isinstance(value, str | bool):
        return value
    return checked_number(where, value)
