"""TODO"""

from nbutils.data.folder import DIGEST, check_replaceable, read_folder, write_dataset, write_folder
from nbutils.data.hub import COLUMNS, HUB_SETS, hub_dataset, is_known, is_remote, load_corpus, load_questions
from nbutils.data.importers import import_file, import_jsonl, import_squad
from nbutils.data.load import FACTBOOK_PACKAGE, load_dataset
from nbutils.data.passages import cut_passages, gold_pieces, split_text, unique, words_of
from nbutils.data.probes import answer_options, counterfactual_passages, unrelated_texts
from nbutils.data.records import (
    check_unicode,
    checked_choice,
    checked_gold,
    checked_id,
    checked_strings,
    checked_text,
    json_fault,
    optional_text,
    read_lines,
    read_records,
)
from nbutils.data.sampling import one_per_fact, sample, sample_mixture, select, task_batches
from nbutils.data.schema import CLAIM_LABELS, SPLITS, Claim, Clue, Dataset, Passage, Question, content_sha256
from nbutils.data.tasks import (
    LABEL_ANSWERS,
    Example,
    claim_items,
    clue_items,
    continuation_items,
    question_items,
    statement_items,
)
