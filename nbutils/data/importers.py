"""Files of other people's making, SQuAD-style JSON and JSONL, turned into data set folders.

Wherever a text comes without passage ids, its passages are cut and named here: texts of more than `max_words` words are
split at sentence ends, equal texts become one passage, and a passage's id is a digest of its text, so that a question
and its passage find each other however they were loaded.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from nbutils.data.folder import check_replaceable, read_folder, write_folder
from nbutils.data.passages import cut_passages, gold_pieces, unique
from nbutils.data.records import check_unicode, checked_id, checked_strings, checked_text, json_fault, read_records
from nbutils.data.schema import OTHER_TASKS, SPLITS, Dataset, Example, Passage
from nbutils.data.tasks import question_example
from nbutils.errors import InputError


def import_file(path: str | Path, out_folder: str | Path, split: str = "test", max_words: int = 100) -> dict[str, int]:
    """Counts of what `import_squad` or `import_jsonl` wrote to `out_folder`; which of them, the file's content decides.

    A file that is one JSON object with the key "data" is SQuAD-style, any other is read as JSONL.
    """
    path = Path(path)
    found = re.search(r"\S[^\n]*", _read_text(path))
    first = found[0] if found else ""
    try:
        record = json.loads(first)
        squad_style = isinstance(record, dict) and "data" in record
    except (ValueError, RecursionError):
        # The first line is no JSON by itself: a file over several lines, or a broken one.
        squad_style = first.strip() == "{" or (first[0:1] == "{" and '"data"' in first)
    return (import_squad if squad_style else import_jsonl)(path, out_folder, split, max_words)


def import_squad(
    json_path: str | Path, out_folder: str | Path, split: str = "test", max_words: int = 100
) -> dict[str, int]:
    """Counts of what was written to `out_folder` (folder format) from SQuAD-style JSON, version 1 or 2.

    data: [{title, paragraphs: [{context, qas: [{id, question, answers: [{text, answer_start}]}]}]}]

    All questions go to `split`. Version 2's unanswerable questions (is_impossible) are left out and counted. Contexts
    of more than `max_words` words are split at sentence ends; the gold passage is the piece that the answer stands in.
    Raises InputError with file, line and reason for the first bad record, and then writes nothing.
    """
    path = Path(json_path)
    _check_arguments(out_folder, split, max_words)
    text = _read_text(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON ({json_fault(error)}); is the file whole?") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); is the file whole?") from error

    def where(*keys: str | int) -> str:
        return ": ".join(filter(None, (f"{path}, line {_line_of(text, keys)}", _steps(keys))))

    corpus: dict[str, Passage] = {}
    questions: list[Example] = []
    ids: dict[str, str] = {}
    n_unanswerable = n_duplicate = 0
    for at_article, article in _items(content, ("data",), where):
        title = _checked_at(checked_text, article, "title", at_article, where) if article.get("title") else ""
        for at_paragraph, paragraph in _items(article, (*at_article, "paragraphs"), where):
            context = _checked_at(checked_text, paragraph, "context", at_paragraph, where)
            pieces = cut_passages(title.replace("_", " "), context, max_words)
            n_duplicate += sum(id in corpus for id in pieces)
            for id, (passage, _, _) in pieces.items():
                corpus.setdefault(id, passage)
            for at, qa in _items(paragraph, (*at_paragraph, "qas"), where):
                if qa.get("is_impossible") is True:
                    n_unanswerable += 1
                    continue
                question, answers = _squad_question(qa, ids, at, where)
                gold = gold_pieces(pieces, context, answers)
                subject, accepted = corpus[gold[0]].title, unique([answer for answer, _ in answers])
                questions.append(question_example(*question, accepted, tuple(gold), split=split, subject=subject))
    if not questions:
        raise InputError(f"{path}: holds no question with an answer ({n_unanswerable} unanswerable ones)")
    counts = {"unanswerable questions left out": n_unanswerable, "duplicate passages merged": n_duplicate}
    return _write(path, out_folder, corpus, questions) | counts


def _squad_question(
    qa: dict, ids: dict[str, str], at: tuple, where: Callable[..., str]
) -> tuple[tuple[str, str], list[tuple[str, int | None]]]:
    """((id, question), [(answer, its start or None)]), checked."""
    id = _checked_at(checked_id, qa, "id", at, where, ids)
    ids[id] = _steps(at)
    text = _checked_at(checked_text, qa, "question", at, where)
    answers = qa.get("answers")
    starts: list = [None] * len(answers) if isinstance(answers, list) else []
    if isinstance(answers, list) and all(isinstance(answer, dict) for answer in answers):
        starts = [answer.get("answer_start") for answer in answers]
        answers = [answer.get("text") for answer in answers]
    texts = _checked_at(checked_strings, {"answers": answers}, "answers", at, where)
    starts = [start if type(start) is int and start >= 0 else None for start in starts]
    return (id, text), list(zip(texts, starts, strict=True))


def _checked_at(check: Callable, record: dict, key: str, at: tuple, where: Callable[..., str], *more: object):
    """What `check` makes of the value at `key`; `where` is called for a bad record only, because it is slow."""
    try:
        value = check(record, key, "", *more)
        check_unicode(value, "")
        return value
    except InputError as error:
        raise InputError(f"{where(*at)}{error}") from error


def _steps(keys: tuple[str | int, ...]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")


def _items(record: object, keys: tuple, where: Callable[..., str]) -> Iterator[tuple[tuple, dict]]:
    """(keys, item) of each object in the list at the last of `keys`."""
    items = record.get(keys[-1]) if isinstance(record, dict) else None
    if not isinstance(items, list):
        raise InputError(f"{where(*keys[:-1])}: no list {keys[-1]!r}; is this SQuAD-style JSON?")
    for i, item in enumerate(items):
        if not isinstance(item, dict):
            raise InputError(f"{where(*keys, i)}: not a JSON object; is this SQuAD-style JSON?")
        yield (*keys, i), item


def _line_of(text: str, keys: tuple) -> int:
    """Line, from 1, on which the innermost object on the way along `keys` begins. Parses `text` again."""
    starts: dict[int, int] = {}
    decoder = json.JSONDecoder()

    def parse_object(text_and_end, *arguments):
        value, end = json.decoder.JSONObject(text_and_end, *arguments)
        starts[id(value)] = text_and_end[1] - 1
        return value, end

    decoder.parse_object = parse_object
    decoder.scan_once = json.scanner.py_make_scanner(decoder)  # the C scanner would not call parse_object
    value = decoder.decode(text)
    start = starts.get(id(value), 0)
    for key in keys:
        if not isinstance(value, (dict, list)) or (isinstance(value, dict) and key not in value):
            break
        value = value[key]
        start = starts.get(id(value), start)
    return text.count("\n", 0, start) + 1


def import_jsonl(
    jsonl_path: str | Path, out_folder: str | Path, split: str = "test", max_words: int = 100
) -> dict[str, int]:
    """Counts of what was written to `out_folder` (folder format) from JSONL of question, answers, passage[, title, id].

    All questions go to `split`; without an id a question is called after its line, "q12". Passages of more than
    `max_words` words are split at sentence ends; the gold passages are the pieces in which an answer occurs, or all
    pieces when the answer is in other words.
    Raises InputError with file, line and reason for the first bad record, and then writes nothing.
    """
    path = Path(jsonl_path)
    _check_arguments(out_folder, split, max_words)
    corpus: dict[str, Passage] = {}
    questions: list[Example] = []
    ids: dict[str, str] = {}
    n_duplicate = 0
    for where, record in read_records(path):
        line = where.rpartition(" ")[2]
        id = checked_id(record if "id" in record else {"id": f"q{line}"}, "id", where, ids)
        text = checked_text(record, "question", where)
        answers = checked_strings(record, "answers", where)
        passage = checked_text(record, "passage", where)
        title = checked_text(record, "title", where) if record.get("title") else ""
        pieces = cut_passages(title, passage, max_words)
        n_duplicate += sum(id in corpus for id in pieces)
        for piece_id, (piece, _, _) in pieces.items():
            corpus.setdefault(piece_id, piece)
        gold = gold_pieces(pieces, passage, [(answer, None) for answer in answers])
        subject = corpus[gold[0]].title
        questions.append(question_example(id, text, unique(answers), tuple(gold), split=split, subject=subject))
    if not questions:
        raise InputError(f"{path}: holds no question; put one JSON object per line there: question, answers, passage")
    return _write(path, out_folder, corpus, questions) | {"duplicate passages merged": n_duplicate}


def _check_arguments(out_folder: str | Path, split: str, max_words: int) -> None:
    if split not in SPLITS:
        raise InputError(f"split is {split!r}, it must be one of {', '.join(SPLITS)}")
    if type(max_words) is not int or max_words < 1:
        raise InputError(f"max_words is {max_words!r}, it must be a whole number of at least 1")
    check_replaceable(Path(out_folder))


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte {error.start + 1} of the file); save it as UTF-8"
        ) from error


def _write(path: Path, out_folder: str | Path, corpus: dict[str, Passage], questions: list[Example]) -> dict[str, int]:
    counts = {"questions": len(questions), "passages": len(corpus)}
    folder, examples = Path(out_folder), questions
    if (folder / "corpus.jsonl").is_file():  # another split of the same data set
        earlier, split = read_folder(folder), questions[0].split
        asked = [example for example in earlier.examples if example.task not in OTHER_TASKS]
        others = [q for q in asked if q.split != split]
        taken, texts = {q.id for q in others}, {q.query for q in questions}
        questions = [replace(q, id=f"{split}-{q.id}") if q.id in taken else q for q in questions]
        for question in asked:  # the questions of this split may come a second time
            if (question.split == split) != (question.query in texts):
                raise InputError(
                    f"{folder}: holds {question.query!r} ({question.split}) already; name a new folder, or another "
                    "split"
                )
        no_questions = [example for example in earlier.examples if example.task in OTHER_TASKS]
        corpus, examples = {**earlier.corpus, **corpus}, [*others, *questions, *no_questions]
    write_folder(folder, Dataset(path.stem, corpus, examples))
    return counts
