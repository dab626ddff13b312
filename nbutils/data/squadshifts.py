"""SQuADShifts (Miller et al. 2020): questions that people asked about new Wikipedia articles, Reddit and Amazon."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from urllib.parse import unquote

from nbutils.data.documents import Place, open_document
from nbutils.data.downloads import Source, fetch
from nbutils.data.importers import MAX_PASSAGE_WORDS, read_document
from nbutils.data.passages import cut_passages
from nbutils.data.sampling import keep_gold, select
from nbutils.data.schema import SPLITS, Dataset, content_sha256
from nbutils.files import sha256_text

SOURCE = Source(
    name="squadshifts",
    repository="modestyachts/squadshifts-website",
    commit="b7cc4d50af791c36c49417fb94dd739d6a9e7bef",
    folder="datasets",
    files={
        "new_wiki_v1.0.json": "1d50a0ca4cdab88d038b52ea8a2d0510af6038d7f41a0a256b9659237769d0ee",
        "reddit_v1.0.json": "b4ac346dbf1816fdec80fdcf91d06a4b754fa51e47960fa8614a94f37ea42a4b",
        "amazon_reviews_v1.0.json": "9db7bdee84a91f0fb80b9e74f365042fbbb217cb8e0a7e73bb071245472589b6",
    },
    license="CC BY 4.0; the texts of Reddit and Amazon belong to those who wrote them",
)
# The other sets' titles say nothing of the text: one is the same for all, the other numbers five unrelated reviews.
TITLED = "squadshifts-wiki"
FILES = {
    TITLED: "new_wiki_v1.0.json",
    "squadshifts-reddit": "reddit_v1.0.json",
    "squadshifts-amazon": "amazon_reviews_v1.0.json",
}


def digest_of(name: str) -> str:
    """sha256 of the file that the set called `name` is made from."""
    return SOURCE.files[FILES[name]]


def build(name: str, n_questions: int | None = None, n_passages: int | None = None, seed: int = 0) -> Dataset:
    """The set called `name`, one of FILES, downloaded where it is missing; passages are cut as those of users' files.

    A question's subject is its article in Wikipedia, its whole text in the others. By the digest of the subject half of
    these are test, an eighth dev, and the rest train: of 48 articles 24, 6 and 18. No question has a field. At most
    `n_questions` of each split, drawn by `seed`; and of the passages the gold ones with a sample of the others,
    `n_passages` in all (None: all).
    Raises InputError as `downloads.fetch`, and for fewer passages than gold ones.
    """
    document = open_document(fetch(SOURCE, FILES[name]) / FILES[name])
    rows = [(at, _with_title(row, name)) for at, row in document.rows]
    corpus, questions = read_document(replace(document, rows=rows))
    subjects = {id: title.replace("_", " ") for title, _, id in _questions(rows)}
    if name != TITLED:
        subjects = _subjects_by_text(rows)
    split_of = splits(subjects.values())
    questions = [replace(q, subject=subjects[q.id], split=split_of[subjects[q.id]]) for q in questions]
    questions = [q for split in SPLITS for q in select(questions, split=split, n=n_questions, seed=seed)]
    if n_passages is not None:
        corpus = keep_gold(corpus, {id for q in questions for id in q.gold_passages}, n_passages, seed)
    dataset = Dataset(name, corpus, questions)
    return replace(dataset, sha256=content_sha256(dataset))


def splits(subjects: Iterable[str]) -> dict[str, str]:
    """Subject -> split, by digest: the first half is test, the next eighth dev, the rest train."""
    ordered = sorted(set(subjects), key=lambda subject: sha256_text("squadshifts", subject))
    n_test, n_dev = len(ordered) // 2, len(ordered) // 8
    names = ["test"] * n_test + ["dev"] * n_dev + ["train"] * (len(ordered) - n_test - n_dev)
    return dict(zip(ordered, names, strict=True))


def _with_title(article: dict, name: str) -> dict:
    """The article with a title as people write it, or with none where it would mean nothing."""
    return article | {"title": unquote(article["title"]) if name == TITLED else ""}


def _questions(rows: Iterable[tuple[Place, dict]]) -> Iterator[tuple[str, str, str]]:
    """(title, text, id) of each question."""
    for _, article in rows:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                yield article["title"], paragraph["context"], question["id"]


def _subjects_by_text(rows: Iterable[tuple[Place, dict]]) -> dict[str, str]:
    """Question id -> digest of its text. Texts that have a passage in common, as posts made twice, count as one."""
    parents: dict[str, str] = {}  # text or passage -> one of its group; the group's first one -> itself

    def root(key: str) -> str:
        while parents.setdefault(key, key) != key:
            key = parents[key]
        return key

    text_of = {id: text for _, text, id in _questions(rows)}
    for text in dict.fromkeys(text_of.values()):
        for passage in cut_passages("", text, MAX_PASSAGE_WORDS):
            parents[root(passage)] = root(text)
    return {id: f"text {sha256_text(root(text))[:12]}" for id, text in text_of.items()}
