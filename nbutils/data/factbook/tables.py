"""The tables of `fields.yaml`: names, leaves and question fields."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nbutils.data.factbook.extractors import find_claim_class, find_extractor

FILE = Path(__file__).with_name("fields.yaml")


@dataclass(frozen=True)
class Leaf:
    """One value of an entry: where it stands in the source, and how it appears in the corpus."""

    key: str
    section: str
    label: str
    paths: tuple[str, ...]  # "section > field > subfield", tried in order
    drop: str = ""  # regular expression for what is cut out of the text
    names: bool = False  # surnames in capitals are written as names


@dataclass(frozen=True)
class Field:
    """One question field; see `fields.yaml` for its columns and the placeholders in its texts."""

    key: str
    leaf: str
    extract: Callable[[str], tuple[str, ...]]
    questions: tuple[str, ...]
    claim: str = ""  # no claim where the source's list is open, so that a swapped value could be true
    reverse: tuple[str, ...] = ()
    many: bool = False  # the answers are different true values, any of which is right
    long_form: bool = False
    withhold: bool = False  # a few cells are kept out of the corpus: their claims cannot be decided
    claim_class: Callable[[str], str] | None = None  # two values clash only if their classes differ and are not ""


@dataclass(frozen=True)
class Tables:
    """What `fields.yaml` says; an entry's code is its file's name in the source ("fr")."""

    skipped: tuple[str, ...]  # codes
    titles: dict[str, str]  # code -> title
    with_article: frozenset[str]  # names
    neutral: tuple[str, ...]  # codes
    aliases: dict[str, tuple[str, ...]]  # code -> other names
    not_names: tuple[str, ...]
    common_words: frozenset[str]
    same_value: dict[str, tuple[str, ...]]  # value -> other spellings
    leaves: tuple[Leaf, ...]
    fields: tuple[Field, ...]
    bridges: dict[str, tuple[str, str]]  # key of a field -> phrase, statement
    multi_hop: tuple[tuple[str, str], ...]  # (key of the bridge, key of the target)
    clues: dict[str, str]  # key of a leaf -> opening words
    excluded: dict[str, tuple[str, ...]]  # key of a field, or key_reverse -> codes


@functools.cache
def load_tables() -> Tables:
    """The tables, read once. Raises InputError for an extractor that is none, TypeError for an unknown column."""
    import yaml

    read = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    leaves = [_leaf(section, **row) for section, rows in read.pop("leaves").items() for row in rows]
    fields = [_field(**row) for row in read.pop("fields")]
    bridges = {key: (row["phrase"], row["statement"]) for key, row in read.pop("bridges").items()}
    return Tables(
        leaves=tuple(leaves),
        fields=tuple(fields),
        bridges=bridges,
        multi_hop=tuple((bridge, target) for bridge, target in read.pop("multi_hop")),
        with_article=frozenset(read.pop("with_article")),
        common_words=frozenset(read.pop("common_words")),
        **{name: _tuples(table) for name, table in read.items()},
    )


def _tuples(table: list | dict) -> tuple | dict:
    if isinstance(table, list):
        return tuple(table)
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def _leaf(section: str, paths: list[str], **row) -> Leaf:
    return Leaf(section=section, paths=tuple(paths), **row)


def _field(
    extract: str,
    questions: list[str],
    arguments: dict | None = None,
    reverse: list[str] | None = None,
    claim_class: str = "",
    **row,
) -> Field:
    return Field(
        extract=find_extractor(extract, arguments or {}),
        questions=tuple(questions),
        reverse=tuple(reverse or ()),
        claim_class=find_claim_class(claim_class) if claim_class else None,
        **row,
    )
