"""Data sets of passages, questions, claims, clues: the Factbook, SQuADShifts, folders, the hub; tasks made of them."""

from nbutils.data import query_types
from nbutils.data.folder import read_folder, write_folder
from nbutils.data.hub import HUB_SETS, hub_dataset, is_known, load_corpus, load_questions
from nbutils.data.importers import import_file, import_jsonl, import_squad
from nbutils.data.joined import JoinedDocuments, document_splits, join_documents
from nbutils.data.load import is_own, load_dataset
from nbutils.data.passages import split_text
from nbutils.data.probes import unrelated_texts
from nbutils.data.sampling import one_per_fact, require_held_out, sample, sample_mixture, select, task_batches
from nbutils.data.schema import Dataset, Example, Passage, content_sha256, corpus_sha256
from nbutils.data.tasks import (
    LABEL_ANSWERS,
    claim_example,
    claim_label,
    clue_example,
    continuation_examples,
    question_example,
    questions,
    short_answer,
    statement_examples,
    trim_answers,
    written_text,
)
