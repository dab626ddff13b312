"""`answers.json`: what every system answered to every test question, and the passages that it read."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.record.answer_files import validate_answers
from nbutils.record.values import checked_ids, checked_number, error_prefix


def nothing() -> dict[str, dict]:
    """Answers before any system has answered."""
    return {"questions": {}, "systems": {}, "passages": {}}


def add(
    answered: dict[str, dict],
    corpus: Mapping[str, Passage],
    system: str,
    examples: Sequence[Any],
    texts: Sequence[str],
    right: Sequence[float],
    passages: Sequence[Sequence[str]] | None,
) -> None:
    """Add a system's answers, see `Record.answers`; nothing is added where they are refused."""
    where = f"answers of {system!r}"
    if system in answered["systems"]:
        raise InputError(f"{where} are in the record already: give each system a name of its own")
    ids = checked_ids(where, examples, len(texts))
    read = [[]] * len(ids) if passages is None else [[str(id_) for id_ in row if id_ != ""] for row in passages]
    if not len(right) == len(read) == len(ids):
        raise InputError(f"{where}: {len(ids)} texts, {len(right)} scores and passages of {len(read)} questions")
    kept, questions, texts_of = {}, {}, {}
    for example, id_, text, score, shown in zip(examples, ids, texts, right, read, strict=True):
        gold = list(example.gold_passages)
        for passage in (*shown, *gold):
            if passage not in corpus:
                raise InputError(f"{where}: there is no passage {passage!r} in the corpus: call record.dataset first")
            title, content = corpus[passage].title, corpus[passage].text
            texts_of[passage] = {"title": title, "text": content}
        questions[id_] = {
            "question": example.query if example.question is None else example.question,
            "answers": list(example.answers),
            "gold": gold,
            "subject": example.subject,
            "field": example.field,
        }
        kept[id_] = {"text": text, "right": checked_number(f"{where} to {id_}", score), "passages": shown}
    with error_prefix(where):
        validate_answers({"questions": questions, "systems": {system: kept}, "passages": texts_of})
    answered["questions"] |= questions
    answered["passages"] |= texts_of
    answered["systems"][system] = kept


def to_json(answered: Mapping[str, Mapping[str, Any]]) -> str:
    """Deterministic JSON with a line for each question, passage and answer."""
    sections = []
    for section in ("questions", "passages"):
        rows = (f"  {_compact(id_)}: {_compact(entry)}" for id_, entry in sorted(answered[section].items()))
        sections.append(f" {_compact(section)}: {{\n" + ",\n".join(rows) + "\n }")
    systems = []
    for system, of_system in answered["systems"].items():
        rows = (f"   {_compact(id_)}: {_compact(entry)}" for id_, entry in of_system.items())
        systems.append(f"  {_compact(system)}: {{\n" + ",\n".join(rows) + "\n  }")
    sections.append(' "systems": {\n' + ",\n".join(systems) + "\n }")
    return "{\n" + ",\n".join(sections) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
