"""`answers.json`: what every system answered to every test question, checked when it is written and when it is read."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbutils.errors import InputError

FILE = "answers.json"
_SECTIONS = ("questions", "systems", "passages")


def load_answers(path: Path) -> dict[str, Any]:
    """The content of an `answers.json`. Raises InputError when it is missing or not of the form of `validate_answers`.

    The message names the file by its last three parts, `<scale>/<notebook>/answers.json`.
    """
    name = "/".join(Path(path).parts[-3:])
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"no {name}: run the notebook first") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{name} is not JSON ({error}): run the notebook again") from error
    try:
        validate_answers(content)
    except InputError as error:
        raise InputError(f"{name}: {error}: run the notebook again") from error
    return content


def validate_answers(content: Any) -> None:
    """Nothing, when `content` is of the form of an `answers.json`; else raises InputError with the place in one line.

    {"questions": {id: {"question", "answers": [accepted], "gold": [passage ids], "subject", "field"}},
     "systems": {name: {question id: {"text", "right": 0..1, "passages": [ids]}}},
     "passages": {id: {"title", "text"}}}

    "subject" and "field" may be missing or null, as some data sets have none. "right" is a share of 1, the mean over
    training seeds. Every answer is to a known question and every passage that a system read is there; gold passages
    may lack. There is at least one question and one system. Other keys are ignored.
    """
    if not isinstance(content, Mapping) or any(not isinstance(content.get(key), Mapping) for key in _SECTIONS):
        raise InputError(f"the answers are not an object of the objects {', '.join(_SECTIONS)}")
    questions, systems, passages = (content[key] for key in _SECTIONS)
    for section, entries in (("questions", questions), ("systems", systems)):
        if not entries:
            raise InputError(f"no {section}: write no {FILE} where no system answered")
    for section, entries in (("questions", questions), ("systems", systems), ("passages", passages)):
        for name in entries:
            # Half of a surrogate pair, which JSON may hold, cannot be part of an address.
            if not isinstance(name, str) or not name.strip() or re.search("[\ud800-\udfff]", name):
                raise InputError(f"{section}: {name!r} is no name")
    for id_, passage in passages.items():
        _check_texts(f"passage {id_!r}", passage, ("title", "text"))
    for id_, question in questions.items():
        where = f"question {id_!r}"
        _check_texts(where, question, ("question",), optional=("subject", "field"))
        _check_lists(where, question, ("answers", "gold"))
    for name, given in systems.items():
        if not isinstance(given, Mapping):
            raise InputError(f"system {name!r} is not an object of answers by question id")
        for id_, answer in given.items():
            where = f"answer of {name!r} to {id_!r}"
            if id_ not in questions:
                raise InputError(f"{where}: there is no such question")
            _check_texts(where, answer, ("text",))
            _check_lists(where, answer, ("passages",))
            right = answer.get("right")
            # A comparison with NaN is false, so NaN is refused too.
            if isinstance(right, bool) or not isinstance(right, int | float) or not 0 <= right <= 1:
                raise InputError(f'{where}: "right" is {right!r}, not a number from 0 to 1')
            if unknown := [passage for passage in answer["passages"] if passage not in passages]:
                raise InputError(f"{where}: there is no passage {unknown[0]!r}")


def _check_texts(where: str, entry: Any, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    if not isinstance(entry, Mapping):
        raise InputError(f"{where} is not an object")
    for key in required:
        if not isinstance(entry.get(key), str):
            raise InputError(f'{where}: "{key}" is not a text')
    for key in optional:
        if not isinstance(entry.get(key), str | None):
            raise InputError(f'{where}: "{key}" is neither a text nor null')


def _check_lists(where: str, entry: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        value = entry.get(key)
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise InputError(f'{where}: "{key}" is not a list of texts')
