"""Files of other people's making turned into data set folders.

Wherever a text comes without passage ids, its passages are cut and named here: texts of more than `max_words` words are
split at sentence ends, equal texts under one title become one passage, and a passage's id is a digest of title and
text, so that a question and its passage find each other however they were loaded.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path

from nbutils.data.documents import Document, Place, open_document
from nbutils.data.folder import check_replaceable, is_data_folder, read_folder, write_folder
from nbutils.data.forms import Asked, Fault, Item, Text
from nbutils.data.hub import hub_dataset
from nbutils.data.passages import Fill, cut_passages, gold_pieces, overlapping, unique
from nbutils.data.readers import WANTED, reader_of
from nbutils.data.records import check_unicode, checked_id, checked_question, checked_strings, keys_of, left_out
from nbutils.data.schema import OTHER_TASKS, SPLITS, Dataset, Example, Passage
from nbutils.data.tasks import question_example
from nbutils.errors import InputError

MAX_PASSAGE_WORDS = 100


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Millions of small records are made and none is a cycle: looking for some takes a tenth of an import's time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_without_collecting()
def import_file(
    path: str | Path,
    out_folder: str | Path,
    split: str | None = None,
    max_words: int = MAX_PASSAGE_WORDS,
    bad: list[str] | None = None,
    fill: Fill | None = None,
) -> dict[str, int]:
    """Counts of what was written to `out_folder` (folder format) from a file; its content decides how it is read.

    JSONL, a JSON array, SQuAD-style JSON or parquet, each also packed by gzip, of questions with passages in one of the
    forms of `data.forms`. All questions go to `split` (None: test); a data set that stands in `out_folder` is added to.
    Questions without an answer are left out and counted. Contexts of more than `max_words` words are split at sentence
    ends, and so are those that are too long by `fill`, which says how full a title and a text make an encoder
    (`retrieval.filling`); gold is the piece that the answer stands in. Without an id a question is called after its
    line, "q12".
    A folder is copied: one in the folder format in any of its forms, or one that holds a hub set's files.
    Raises InputError with file, line and reason for the first bad record, and then writes nothing. With a list of what
    is `bad`, such records are left out instead, and the list says what is wrong with each.
    """
    path, n_bad = Path(path), len(bad or ())
    if split is not None and split not in SPLITS:
        raise InputError(f"split is {split!r}, it must be one of {', '.join(SPLITS)}")
    if type(max_words) is not int or max_words < 1:
        raise InputError(f"max_words is {max_words!r}, it must be a whole number of at least 1")
    check_replaceable(Path(out_folder))
    if path.is_dir():
        counts = _copy_folder(path, Path(out_folder), split, bad)
    else:
        earlier = read_folder(out_folder) if is_data_folder(Path(out_folder)) else None
        document = open_document(path, bad)
        found = _Found(max_words, fill, split or "test", _ids_by_content(earlier))
        _collect(document, found, bad)
        counts = _write(path, Path(out_folder), found, earlier)
    return counts | ({"bad records left out": len(bad) - n_bad} if bad is not None else {})


import_squad = import_jsonl = import_file  # the two forms that the content is told apart from most often


def read_document(document: Document) -> tuple[dict[str, Passage], list[Example]]:
    """Corpus and answerable questions of the rows of a file, read as `import_file` reads them; all are of split test.

    Raises InputError for the first bad record.
    """
    found = _Found(MAX_PASSAGE_WORDS, None, "test", {})
    _collect(document, found, None)
    return found.corpus, found.questions


@dataclass
class _Found:
    """What the rows that were read so far hold."""

    max_words: int
    fill: Fill | None
    split: str
    named: dict[tuple[str, str], str]  # (title, text) -> id of the passages that are there from before
    corpus: dict[str, Passage] = field(default_factory=dict)
    questions: list[Example] = field(default_factory=list)
    ids: dict[str, Place] = field(default_factory=dict)  # id of a question -> where it was found
    gives_ids: bool | None = None  # whether the first question had one
    n_asked: int = 0
    n_unanswerable: int = 0
    n_duplicate: int = 0


def _collect(document: Document, found: _Found, bad: list[str] | None) -> None:
    first = None
    for at, item, row in _items(document, bad is not None):
        first = first or row
        with left_out(bad, found.ids, at):
            if isinstance(item, Fault):
                raise InputError(f"{document.where(at)}{item.message}")
            try:
                if isinstance(item, Text):
                    _add_passages(item, found)
                elif _is_answerable(item, found):
                    _add_question(item, found, document)
            except InputError as error:
                raise InputError(f"{document.where(at)}{error}") from error
    if not found.questions:
        left = f" ({found.n_unanswerable} unanswerable ones)"
        raise InputError(f"{document.path}: holds no question with an answer{left}; wanted are {WANTED}")
    if not found.corpus:
        raise _unknown(document, first or {})


def _items(document: Document, tolerant: bool) -> Iterator[tuple[Place, Item, dict]]:
    """(place, item, its row) of all rows, in the form of the first; MRQA's first row is a header.

    Raises InputError where the first is of no known form; if `tolerant`, where no row is, and the others are faults.
    """
    reader, first = None, None
    for at, row in document.rows:
        if reader is None:
            if row.keys() == {"header"}:
                continue
            reader, first = reader_of(row), first or row
            if reader is None and not tolerant:
                raise _unknown(document, row)
            if reader is None:
                yield at, Fault(at, f": no known form; wanted are {WANTED} (its keys are: {keys_of(row)})"), row
                continue
        for item in reader(at, row):
            yield (at if isinstance(item, Text) else item.at), item, row
    if reader is None and first is not None:
        raise _unknown(document, first)


def _unknown(document: Document, row: dict) -> InputError:
    """Which keys are wanted, and which are there, with those of the objects right below."""
    below = {key: value[0] if isinstance(value, list) and value else value for key, value in row.items()}
    inside = "".join(f"; {key} has {keys_of(v)}" for key, v in list(below.items())[:4] if isinstance(v, dict) and v)
    return InputError(
        f"{document.path}: holds no questions with passages in a form that is known; wanted are {WANTED}; its rows "
        f"have {keys_of(row)}{inside[:150]}"
    )


def _is_answerable(asked: Asked, found: _Found) -> bool:
    found.n_asked += 1
    if found.gives_ids is None:
        found.gives_ids = asked.id is not None
    found.n_unanswerable += asked.unanswerable
    return not asked.unanswerable


def _add_question(asked: Asked, found: _Found, document: Document) -> None:
    id = asked.id
    if id is None and not ("qas" in asked.at and found.gives_ids):  # SQuAD's have all an id, or none
        id = f"q{asked.at[0] if document.in_lines and 'qas' not in asked.at else found.n_asked}"
    id = checked_id({"id": id} if id is not None else asked.row, "id", "", {})
    if id in found.ids:
        first = document.name(found.ids[id])
        raise InputError(f": duplicate id {id!r}, first used in {first}; ids must be unique")
    found.ids[id] = asked.at
    text = checked_question(asked.row, "question", "")
    answers = asked.row if asked.answers is None else {"answers": asked.answers}
    accepted = unique(checked_strings(answers, "answers", ""))
    _require_unicode(id, text, *accepted)
    marks = asked.marks or [(answer, None) for answer in accepted]
    gold: dict[str, None] = {}
    for passage in asked.texts:
        pieces = _add_passages(passage, found, counted="qas" in asked.at)
        if isinstance(passage.gold, tuple):
            gold |= dict.fromkeys(overlapping(pieces, passage.gold))
        elif passage.gold != "none":
            gold |= dict.fromkeys(gold_pieces(pieces, passage.text, marks, passage.gold == "marked"))
    subject = found.corpus[next(iter(gold))].title if gold else ""
    found.questions.append(question_example(id, text, accepted, tuple(gold), split=found.split, subject=subject))


def _add_passages(text: Text, found: _Found, counted: bool = False) -> dict[str, tuple[Passage, int, int]]:
    """The pieces of the text, which are in the corpus then; those that were there are counted, but not twice."""
    _require_unicode(text.title, text.text)
    pieces = cut_passages(text.title, text.text, found.max_words, found.fill)
    if found.named:
        pieces = {found.named.get((p[0].title, p[0].text), id): p for id, p in pieces.items()}
    for id, (passage, _, _) in pieces.items():
        found.n_duplicate += not counted and id in found.corpus
        found.corpus.setdefault(id, passage)
    return pieces


def _require_unicode(*texts: str) -> None:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        check_unicode(texts, "")


def _ids_by_content(dataset: Dataset | None) -> dict[tuple[str, str], str]:
    return {(p.title, p.text): id for id, p in dataset.corpus.items()} if dataset else {}


def _write(path: Path, folder: Path, found: _Found, earlier: Dataset | None) -> dict[str, int]:
    counts = {
        "questions": len(found.questions),
        "passages": len(found.corpus),
        "unanswerable questions left out": found.n_unanswerable,
        "duplicate passages merged": found.n_duplicate,
    }
    corpus, examples = found.corpus, found.questions
    if earlier is not None:
        examples, more = _added(earlier, found, folder)
        corpus, counts = {**earlier.corpus, **corpus}, counts | more
    write_folder(folder, Dataset(path.stem, corpus, examples))
    return counts


def _added(earlier: Dataset, found: _Found, folder: Path) -> tuple[list[Example], dict[str, int]]:
    """The earlier examples with the questions that were found, which replace the same ones of their split.

    One question is the same as another where text and gold passages are: of two contracts one may ask the same.
    Raises InputError when another split holds all of them already.
    """
    asked = [example for example in earlier.examples if example.task not in OTHER_TASKS]
    new = {_same(question) for question in found.questions}
    others = [question for question in asked if question.split != found.split]
    elsewhere = {_same(question) for question in others}
    if new <= elsewhere:
        example = next(q for q in others if _same(q) in new)
        raise InputError(
            f"{folder}: holds {example.query!r} ({example.split}) and all the others already; name a new folder, or "
            "the file of another split"
        )
    kept = [q for q in asked if q.split == found.split and _same(q) not in new]
    taken, questions = {q.id for q in (*others, *kept)}, []
    for question in found.questions:
        numbered = (f"{found.split}-{number}-{question.id}" for number in count(2))
        names = chain((question.id, f"{found.split}-{question.id}"), numbered)
        id = next(name for name in names if name not in taken)
        taken.add(id)
        questions.append(replace(question, id=id))
    texts = {question.query for question in others}
    n_shared = sum(question.query in texts for question in questions)
    counts = {"questions with a text that another split has too": n_shared} if n_shared else {}
    if kept:
        counts["questions that the split held before"] = len(kept)
    rest = [example for example in earlier.examples if example.task in OTHER_TASKS]
    return [*others, *kept, *questions, *rest], counts


def _same(question: Example) -> tuple[str, tuple[str, ...]]:
    return question.query, question.gold_passages


def _copy_folder(path: Path, folder: Path, split: str | None, bad: list[str] | None) -> dict[str, int]:
    """Counts of what was copied from one folder to another."""
    if split is not None:
        raise InputError(f"{path}: is a folder, whose questions have their splits; leave out split {split!r}")
    if is_data_folder(folder):
        raise InputError(f"{folder}: holds a data set already; name a new folder")
    dataset = read_folder(path, bad=bad) if is_data_folder(path) else hub_dataset(str(path))
    write_folder(folder, dataset)
    n_questions = sum(example.task not in OTHER_TASKS for example in dataset.examples)
    return {"questions": n_questions, "passages": len(dataset.corpus)} | dataset.left_out
