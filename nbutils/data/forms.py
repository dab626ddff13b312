"""What a row of questions with passages holds, whatever its form: texts, questions, and what is wrong with it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from nbutils.data.documents import Place
from nbutils.data.records import checked_title, keys_of


@dataclass(frozen=True)
class Text:
    """A text that passages are cut from, and which of them answer the question that it comes with."""

    title: str
    text: str
    # "marked": the pieces that hold an answer or, if none does, all; "found": those that do; "none"; or their places
    gold: str | tuple[tuple[int, int], ...] = "marked"


@dataclass(frozen=True)
class Asked:
    """A question as it was found, unchecked but for its texts."""

    at: Place
    row: dict  # with the key "question", or without it where it is missing
    id: object  # None: it has none
    answers: object  # what should be a list of strings; None where the key is missing
    texts: tuple[Text, ...]
    marks: tuple[tuple[str, int | None], ...] = ()  # parts of the text that answer it, with their start
    unanswerable: bool = False


@dataclass(frozen=True)
class Fault:
    """What is wrong at a place; the rest of the row may be sound."""

    at: Place
    message: str


Item = Asked | Text | Fault
_IDS = ("id", "_id", "qid", "question_id", "QuestionId")
# RAGAS calls what a model has said "answer", and the right ones otherwise.
_ANSWERS = ("answers", "ground_truths", "ground_truth", "answer", "golden_answers")
_NO_ANSWER = "CANNOTANSWER"  # QuAC's, which also stands at the end of its texts


def asked(
    at: Place, row: dict, answers: Any, marks: tuple, texts: tuple[Text, ...], unanswerable: bool = False
) -> Asked:
    """The question of a row, with the id that it has under one of the usual names."""
    id = next((row[key] for key in _IDS if row.get(key) is not None), None)
    impossible = row.get("is_impossible") in (True, "true", "True") or row.get("answerable") is False
    return Asked(at, row, id, answers, texts, marks, impossible or unanswerable or answers in ([], [_NO_ANSWER]))


def answer_key(row: dict) -> str:
    """The key under which the row keeps its answers."""
    return next((key for key in _ANSWERS if key in row), "answers")


def answers_of(row: dict, key: str) -> tuple[Any, tuple]:
    """(what should be a list of strings, [] where there is none; the answers with their starts)."""
    answers: Any = row.get(key)
    if key in row and answers is None:
        return [], ()
    if (key in ("answer", "ground_truth") and isinstance(answers, str)) or (
        isinstance(answers, dict) and isinstance(answers.get("text"), str)
    ):
        answers = [answers]
    starts: list = []
    if isinstance(answers, dict) and "text" in answers:
        starts, answers = answers.get("answer_start"), answers["text"]
        if isinstance(starts, list) and _say_no_answer(answers, starts):
            return [], ()
    elif isinstance(answers, dict) and isinstance(answers.get("aliases", []), list):  # TriviaQA's
        answers = [answers.get("value") or answers.get("Value"), *answers.get("aliases", [])]
    elif isinstance(answers, list) and answers and all(isinstance(answer, dict) for answer in answers):
        starts = [answer.get("answer_start") for answer in answers]
        answers = [answer.get("text") for answer in answers]
        if _say_no_answer(answers, starts):
            return [], ()
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        return answers, ()
    if not isinstance(starts, list) or len(starts) != len(answers):
        starts = [None] * len(answers)
    starts = [start if type(start) is int and start >= 0 else None for start in starts]
    return answers, tuple(zip(answers, starts, strict=True))


def _say_no_answer(texts: Any, starts: list) -> bool:
    """Whether empty texts at no place say that there is no answer, as some tools have it."""
    return bool(texts) and all(text == "" for text in texts) and all(start in (-1, 0, None) for start in starts)


def detected_answers(row: dict) -> list[tuple[str, int]]:
    """MRQA's places of the answers, as lists or as columns; none where they are written otherwise."""
    detected, marks = row.get("detected_answers"), []
    if not detected:
        return []
    try:
        if not isinstance(detected, dict):
            detected = {key: [answer[key] for answer in detected or ()] for key in ("text", "char_spans")}
        for text, spans in pairs(detected, ("text", "char_spans")):
            marks += [(text, start) for start, _ in pairs(spans, ("start", "end"))]
    except (TypeError, ValueError, KeyError):
        return []
    return [(text, start) for text, start in marks if isinstance(text, str) and type(start) is int]


def title_of(row: dict) -> str:
    """The row's title, "" where it has none. Raises InputError for one that is no string, or too long."""
    return checked_title(row, "title", "")


def pairs(value: Any, columns: Iterable[str]) -> Iterator[tuple]:
    """The pairs of a list, or of a dict of two columns, of which `columns` says the names."""
    if isinstance(value, dict):
        value = zip(*(value[name] for name in columns if name in value), strict=True)
    for pair in value or ():
        first, second = pair
        yield first, second


def objects(row: dict, at: Place, key: str) -> Iterator[tuple[Place, Any]]:
    """(place, object) of each object in the list at `key`, a Fault where it is none."""
    items = row.get(key)
    if not isinstance(items, list):
        yield at, Fault(at, f": no list {key!r}; is this SQuAD-style JSON? (its keys are: {keys_of(row)})")
        return
    for i, item in enumerate(items):
        place = (*at, key, i)
        yield place, item if isinstance(item, dict) else Fault(place, ": not a JSON object; is this SQuAD-style JSON?")
