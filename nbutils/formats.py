"""Other people's formats: SQuAD-style JSON and JSONL files, and data sets of the Hugging Face hub.

Wherever a text comes without passage ids, its passages are cut and named here: texts of more than `max_words` words are
split at sentence ends, equal texts become one passage, and a passage's id is a digest of its text, so that a question
and its passage find each other however they were loaded.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from nbutils.data import (
    SPLITS,
    Dataset,
    Passage,
    Question,
    check_replaceable,
    check_unicode,
    checked_id,
    checked_strings,
    checked_text,
    content_sha256,
    json_fault,
    read_folder,
    read_records,
    select,
    write_folder,
)
from nbutils.errors import InputError
from nbutils.files import sha256_text

# --- passages ---------------------------------------------------------------------------------------------------------


# Chinese and Japanese are written without spaces: each character counts as a word there. What is longer than 60
# characters elsewhere is no word, and is cut.
_UNSPACED = "\u3001-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]{{1,60}}")
# Then closing quotation marks and brackets.
_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"'\u201d\u2019)\]]*$")
_ABBREVIATION = re.compile(r"^\W*((\w\.)+|(Mr|Mrs|Ms|Dr|Prof|Gen|Col|Lt|St|Sr|Jr|No|vs)\.)$")  # "U.S.", "J."


def words_of(text: str) -> list[tuple[int, int]]:
    """(start, end) of each word: what white space separates, or one character of Chinese or Japanese."""
    return [word.span() for word in _WORD.finditer(text)]


def split_text(text: str, max_words: int = 100) -> list[tuple[int, int]]:
    """(start, end) of the pieces of `text`, each of at most `max_words` words, as `words_of` counts them.

    A piece ends at a sentence end where that is possible, and the pieces are about equally long, so that none is a stub
    of a few words. A single sentence of more than `max_words` words is cut between words.
    """
    words = list(_WORD.finditer(text))
    if len(words) <= max_words:
        return [(words[0].start(), words[-1].end())] if words else []
    n_pieces = -(-len(words) // max_words)
    target = -(-len(words) // n_pieces)
    sentences, first = [], 0  # (first word, one past the last word)
    for i, word in enumerate(words):
        last = i + 1 == len(words)
        ends_sentence = (
            not last
            and _SENTENCE_END.search(word[0])
            and not _ABBREVIATION.search(word[0])
            and not words[i + 1][0][0].islower()
        )
        if ends_sentence or last or i + 1 - first == max_words:
            sentences.append((first, i + 1))
            first = i + 1
    pieces = [sentences[0]]
    for first, end in sentences[1:]:
        piece_first, piece_end = pieces[-1]
        if end - piece_first > max_words or piece_end - piece_first >= target:
            pieces.append((first, end))
        else:
            pieces[-1] = (piece_first, end)
    return [(words[first].start(), words[end - 1].end()) for first, end in pieces]


@lru_cache(maxsize=8)  # the questions on one text follow one another
def _passages(title: str, text: str, max_words: int) -> dict[str, tuple[Passage, int, int]]:
    """Passage id -> (passage, its start and end in `text`), in order."""
    spans = [(text[start:end], start, end) for start, end in split_text(text, max_words)]
    return {sha256_text(piece)[:16]: (Passage(title, piece), start, end) for piece, start, end in spans}


def _gold(pieces: dict[str, tuple[Passage, int, int]], text: str, answers: list[tuple[str, int | None]]) -> list[str]:
    """Ids of the pieces that hold an answer: where its given start is right, there; else wherever its words occur.

    All of them when no piece does: the answer is in the text in other words, and that is all that is known.
    """
    spans = [(start, start + len(a)) for a, start in answers if start is not None and text.startswith(a, start)]
    gold = [id for id, (_, first, end) in pieces.items() if any(a < end and first < b for a, b in spans)]
    if not gold:
        words = re.compile("|".join(rf"(?<!\w){re.escape(a.strip())}(?!\w)" for a, _ in answers), re.IGNORECASE)
        gold = [id for id, (passage, _, _) in pieces.items() if words.search(passage.text)]
    return gold or list(pieces)


def _unique(values: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


# --- files ------------------------------------------------------------------------------------------------------------


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
    questions: list[Question] = []
    ids: dict[str, str] = {}
    n_unanswerable = n_duplicate = 0
    for at_article, article in _items(content, ("data",), where):
        title = _checked_at(checked_text, article, "title", at_article, where) if article.get("title") else ""
        for at_paragraph, paragraph in _items(article, (*at_article, "paragraphs"), where):
            context = _checked_at(checked_text, paragraph, "context", at_paragraph, where)
            pieces = _passages(title.replace("_", " "), context, max_words)
            n_duplicate += sum(id in corpus for id in pieces)
            for id, (passage, _, _) in pieces.items():
                corpus.setdefault(id, passage)
            for at, qa in _items(paragraph, (*at_paragraph, "qas"), where):
                if qa.get("is_impossible") is True:
                    n_unanswerable += 1
                    continue
                question, answers = _squad_question(qa, ids, at, where)
                gold = _gold(pieces, context, answers)
                questions.append(Question(*question, _unique([a for a, _ in answers]), tuple(gold), split=split))
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
    questions: list[Question] = []
    ids: dict[str, str] = {}
    n_duplicate = 0
    for where, record in read_records(path):
        line = where.rpartition(" ")[2]
        id = checked_id(record if "id" in record else {"id": f"q{line}"}, "id", where, ids)
        text = checked_text(record, "question", where)
        answers = checked_strings(record, "answers", where)
        passage = checked_text(record, "passage", where)
        title = checked_text(record, "title", where) if record.get("title") else ""
        pieces = _passages(title, passage, max_words)
        n_duplicate += sum(id in corpus for id in pieces)
        for piece_id, (piece, _, _) in pieces.items():
            corpus.setdefault(piece_id, piece)
        gold = _gold(pieces, passage, [(answer, None) for answer in answers])
        questions.append(Question(id, text, _unique(answers), tuple(gold), split=split))
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


def _write(path: Path, out_folder: str | Path, corpus: dict[str, Passage], questions: list[Question]) -> dict[str, int]:
    counts = {"questions": len(questions), "passages": len(corpus)}
    folder, claims, clues = Path(out_folder), [], []
    if (folder / "corpus.jsonl").is_file():  # another split of the same data set
        earlier, split = read_folder(folder), questions[0].split
        others = [q for q in earlier.questions if q.split != split]
        taken, texts = {q.id for q in others}, {q.text for q in questions}
        questions = [replace(q, id=f"{split}-{q.id}") if q.id in taken else q for q in questions]
        for question in earlier.questions:  # the questions of this split may come a second time
            if (question.split == split) != (question.text in texts):
                raise InputError(
                    f"{folder}: holds {question.text!r} ({question.split}) already; name a new folder, or another split"
                )
        corpus, questions = {**earlier.corpus, **corpus}, [*others, *questions]
        claims, clues = earlier.claims, earlier.clues
    write_folder(folder, Dataset(path.stem, corpus, questions, claims, clues))
    return counts


# --- the Hugging Face hub ---------------------------------------------------------------------------------------------

# What is known of each: the schema of its rows, how `datasets.load_dataset` is to be called for it, and the split that
# stands in for "test" where that is not "validation".
# wiki_dpr is read by its files: its repository still holds a script, which `datasets` refuses to run, as we do.
HUB_SETS = {
    "google-research-datasets/nq_open": {"schema": "nq_open", "config": None},
    "mandarjoshi/trivia_qa": {"schema": "trivia_qa", "config": "unfiltered.nocontext"},
    "rajpurkar/squad": {"schema": "squad", "config": "plain_text"},
    "facebook/wiki_dpr": {"schema": "wiki_dpr", "config": "data/psgs_w100/no_embeddings/train-*.parquet"},
    "stanfordnlp/web_questions": {"schema": "web_questions", "config": None, "test": "test"},
}
COLUMNS = {
    "nq_open": ("question", "answer"),
    "trivia_qa": ("question_id", "question", "answer"),
    "squad": ("id", "title", "context", "question", "answers"),
    "wiki_dpr": ("id", "title", "text"),
    "web_questions": ("url", "question", "answers"),
}
_QUESTION_SCHEMAS, _CORPUS_SCHEMAS = ("nq_open", "trivia_qa", "squad", "web_questions"), ("squad", "wiki_dpr")


def is_known(name: str) -> bool:
    """Whether every part of `name` ("questions+corpus", "id@revision") is a hub id that is known here, or a folder."""
    parts = _parts(name)
    sources = [_source(part)[0] for part in parts]
    return all(parts) and all(source in HUB_SETS or Path(source).is_dir() for source in sources)


def is_remote(name: str) -> bool:
    """Whether every part of `name` is a hub id."""
    return all(_source(part)[0] in HUB_SETS for part in _parts(name))


def hub_dataset(name: str, n_questions: int | None = None, n_passages: int | None = None, seed: int = 0) -> Dataset:
    """A data set of the hub: the questions of `name` with its own passages, or those of "questions+corpus".

    At most `n_questions` of each split, drawn by `seed`. Of a set's own passages the gold ones and a sample of the
    others are kept, `n_passages` in all; of a separate corpus the first `n_passages`, and gold passages are known only
    where the corpus holds them. Either part is a hub id, "id@revision", or a folder that holds the same files.
    """
    parts = _parts(name)
    questions = [question for split in SPLITS for question in load_questions(parts[0], split, n_questions, seed)]
    if len(parts) == 1:
        corpus = load_corpus(parts[0])
        if n_passages is not None:
            corpus = _keep(corpus, {id for q in questions for id in q.gold_passages}, n_passages, seed)
    else:
        corpus = load_corpus(parts[1], n_passages)
    questions = [replace(q, gold_passages=tuple(id for id in q.gold_passages if id in corpus)) for q in questions]
    dataset = Dataset(name, corpus, questions)
    return Dataset(name, corpus, questions, sha256=content_sha256(dataset))


def load_questions(
    source: str | Path, split: str = "test", n: int | None = None, seed: int = 0, revision: str | None = None
) -> list[Question]:
    """At most `n` questions of one split of a hub id, drawn by `seed`, or of a folder that holds the same files.

    Where the hub's test split hides its answers, "test" is its validation split, as in the literature; WebQuestions has
    a test split with answers. "dev" is the last tenth of the training split. SQuAD's questions name their gold
    passages, see `load_corpus`.
    Raises InputError when the hub cannot be reached, or with the row that is not in the data set's schema.
    """
    if split not in SPLITS:
        raise InputError(f"split is {split!r}, it must be one of {', '.join(SPLITS)}")
    source, revision = _source(source, revision)
    hub_split = _test_split(source) if split == "test" else "train"
    schema = _schema(source, hub_split, revision, _QUESTION_SCHEMAS)
    questions = []
    ids: dict[str, str] = {}
    for where, number, row in _rows(source, hub_split, revision, schema):
        # NQ-open and WebQuestions name no ids.
        id = {"trivia_qa": row.get("question_id"), "squad": row.get("id")}.get(schema, f"{hub_split}-{number}")
        id = checked_id({"id": id}, "id", where, ids)
        text = checked_text(row, "question", where)
        answers, gold = _answers(schema, row, where)
        questions.append(Question(id, text, answers, gold, split=split))
    if not questions:
        raise InputError(f"{source}: its {hub_split} split holds no question")
    cut = -(-len(questions) * 9 // 10)
    part = {"train": questions[:cut], "dev": questions[cut:], "test": questions}[split]
    return select(part, n=n, seed=seed) if part else []


def load_corpus(source: str | Path, n: int | None = None, revision: str | None = None) -> dict[str, Passage]:
    """Passage id -> passage: the first `n` (None: all) of a hub id, or of a folder that holds the same files.

    Of SQuAD the contexts of both splits, cut to about 100 words. wiki_dpr is streamed and read no further than `n`;
    its embeddings are not downloaded.
    """
    source, revision = _source(source, revision)
    corpus: dict[str, Passage] = {}
    ids: dict[str, str] = {}
    schema = _schema(source, "train", revision, _CORPUS_SCHEMAS)
    for hub_split in ("train", "validation") if schema == "squad" else ("train",):
        for where, _, row in _rows(source, hub_split, revision, schema):
            if schema == "squad":
                for id, (passage, _, _) in _squad_passages(row, where).items():
                    corpus.setdefault(id, passage)
            else:
                id = checked_id(row, "id", where, ids)
                title = checked_text(row, "title", where) if row.get("title") else ""
                corpus[id] = Passage(title, checked_text(row, "text", where))
            if n is not None and len(corpus) >= n:
                return dict(list(corpus.items())[:n])
    if not corpus:
        raise InputError(f"{source}: holds no passage")
    return corpus


def _squad_passages(row: dict, where: str) -> dict[str, tuple[Passage, int, int]]:
    title = checked_text(row, "title", where) if row.get("title") else ""
    return _passages(title.replace("_", " "), checked_text(row, "context", where), 100)


def _answers(schema: str, row: dict, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(answers, gold passage ids) of a row."""
    if schema in ("nq_open", "web_questions"):
        return _unique(checked_strings(row, COLUMNS[schema][-1], where)), ()
    if schema == "trivia_qa":
        answer = row.get("answer")
        if not isinstance(answer, dict) or not isinstance(answer.get("aliases", []), list):
            raise InputError(f"{where}: answer is {answer!r:.40}, it must hold value and aliases")
        values = [answer.get("value"), *answer.get("aliases", [])]
        return _unique(checked_strings({"answer": values}, "answer", where)), ()
    answers = row.get("answers")
    starts = answers.get("answer_start") if isinstance(answers, dict) else None
    if not isinstance(starts, list) or not all(type(start) is int for start in starts):
        raise InputError(f"{where}: answers is {answers!r:.40}, it must hold text and answer_start")
    texts = checked_strings(answers, "text", where)
    if len(texts) != len(starts):
        raise InputError(f"{where}: answers holds {len(texts)} texts but {len(starts)} starts")
    pieces = _squad_passages(row, where)
    return _unique(texts), tuple(_gold(pieces, row["context"], list(zip(texts, starts, strict=True))))


def _keep(corpus: dict[str, Passage], gold: set[str], n: int, seed: int) -> dict[str, Passage]:
    """The gold passages and a seeded sample of the others, `n` in all, in the order of `corpus`."""
    if n < len(gold):
        raise InputError(f"n_passages is {n}, but the questions have {len(gold)} gold passages; take fewer questions")
    others = sorted((id for id in corpus if id not in gold), key=lambda id: sha256_text(str(seed), id))
    kept = gold | set(others[: n - len(gold)])
    return {id: passage for id, passage in corpus.items() if id in kept}


def _parts(name: str) -> list[str]:
    """["questions", "corpus"], or ["both"]: also when a folder's name holds a plus."""
    return [name] if name and Path(name).expanduser().is_dir() else name.split("+", 1)


def _test_split(source: str) -> str:
    """The split of a source that stands in for "test"."""
    if source in HUB_SETS or not Path(source).is_dir():
        return HUB_SETS.get(source, {}).get("test", "validation")
    import datasets

    with _hub_errors(source):
        splits = datasets.get_dataset_split_names(source)
    return "test" if "test" in splits and "validation" not in splits else "validation"


def _source(name: str | Path, revision: str | None = None) -> tuple[str, str | None]:
    """(hub id or folder, revision) of "id@revision"."""
    name = str(name)
    if Path(name).expanduser().is_dir() or "@" not in name:
        return str(Path(name).expanduser()) if name not in HUB_SETS else name, revision
    id, _, pinned = name.partition("@")
    return id, revision or pinned


def _schema(source: str, split: str, revision: str | None, wanted: tuple[str, ...]) -> str:
    """Which of COLUMNS the rows of `source` follow: known for a hub id, seen in the first row of a folder."""
    if source in HUB_SETS:
        schema = HUB_SETS[source]["schema"]
    elif Path(source).is_dir():
        with _hub_errors(source):
            first = next(iter(_open(source, split, revision)), {})
        # The fullest match first: the columns of NQ-open are among those of the others.
        by_size = sorted(COLUMNS, key=lambda schema: -len(COLUMNS[schema]))
        schema = next((schema for schema in by_size if set(COLUMNS[schema]) <= set(first)), None)
        if schema is None:
            known = "; ".join(f"{schema}: {', '.join(columns)}" for schema, columns in COLUMNS.items())
            raise InputError(f"{source}: columns {', '.join(first) or 'none'} are no known schema ({known})")
    else:
        raise InputError(f"{source}: neither a folder nor one of the known hub ids, {', '.join(HUB_SETS)}")
    if schema not in wanted:
        has = "passages and no questions" if schema == "wiki_dpr" else "questions and no passages"
        raise InputError(f"{source}: has {has}; name questions and a corpus as questions+corpus")
    return schema


def _rows(source: str, split: str, revision: str | None, schema: str) -> Iterator[tuple[str, int, dict]]:
    """(where, number, row) of each row of one split, with the columns of `schema` only; read as they are asked for."""
    with _hub_errors(source):
        rows = _open(source, split, revision)
        if rows.column_names is not None:  # unknown before the first row of a JSONL file
            rows = rows.select_columns([column for column in COLUMNS[schema] if column in rows.column_names])
        batches = rows.iter(batch_size=1000)
    number = 0
    while True:
        with _hub_errors(source):  # around the library's work alone: a fault of ours is no fault of the hub
            batch = next(batches, None)
        if batch is None:
            return
        missing = [column for column in COLUMNS[schema] if column not in batch]
        if missing:
            raise InputError(f"{source}, {split} row {number}: no column {missing[0]!r}, which {schema} must have")
        for values in zip(*(batch[column] for column in COLUMNS[schema]), strict=True):
            yield f"{source}, {split} row {number}", number, dict(zip(COLUMNS[schema], values, strict=True))
            number += 1


def _open(source: str, split: str, revision: str | None):
    """The rows of one split. Code that a repository holds is never run."""
    import datasets

    if source not in HUB_SETS:
        return datasets.load_dataset(source, split=split, streaming=True)  # streaming: leaves no copy in a cache
    config = HUB_SETS[source]["config"]
    if HUB_SETS[source]["schema"] == "wiki_dpr":
        files = f"hf://datasets/{source}@{revision or 'main'}/{config}"
        return datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
    return datasets.load_dataset(source, config, split=split, revision=revision)


@contextmanager
def _hub_errors(source: str) -> Iterator[None]:
    """Turns what the libraries raise, several lines of retries and a class that varies by release, into one line."""
    import datasets  # noqa: F401  (imported later, it would set the levels back)

    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if source in HUB_SETS:
            raise InputError(
                f"cannot reach the hub for {source} ({reason}): download it on a machine that can and set HF_HOME to "
                "that cache, or name a local folder"
            ) from error
        raise InputError(
            f"{source}: cannot be read ({reason}); it must hold corpus.jsonl and queries.jsonl, or a hub set's files"
        ) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
