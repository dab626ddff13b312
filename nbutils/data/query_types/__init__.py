"""Queries of the types of Microsoft's table (2023), made of questions by rule: keywords, snippets, typing errors."""

from nbutils.data.query_types.misspelling import misspell, n_errors
from nbutils.data.query_types.overlap import gold_overlap, mean_overlaps, word_overlap
from nbutils.data.query_types.queries import LENGTHS, TYPES, is_concept, is_fact, make
from nbutils.data.query_types.rewording import low_overlap
from nbutils.data.query_types.rewriting import document_frequencies, keywords, web_like
from nbutils.data.query_types.snippets import snippet
