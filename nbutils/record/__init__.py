"""What a run found, and what made it, as data; claims judged on it, and the table and page made of it.

`record` collects and saves, `storage` writes and reads the file, `values` refuses what may not be in it, `origin` says
which code made it and `provenance` on what machine, `claim_files` reads claims and papers' values, `claims` judges,
`locks` fixes claims before a run, `entries` makes scores and curves with their intervals, `scoring` notes scores beside
what chance gives. `answers` keeps what systems answered, `answer_files` reads it, `explorer` renders it as a page to
search. `sections` gathers what a report shows, `ledger` renders the Markdown, `report` writes README, ledger and pages,
`pages` fills the templates, `marks` the numbers in a notebook's Markdown; `wording` has the words of both.
`every_eval_ever` exports records in that public schema, `every_eval_ever_rows` the scores per question.
"""

from nbutils.record.claim_files import load_claims, paper_values
from nbutils.record.entries import INTERVAL
from nbutils.record.origin import changes, changes_since, made_by
from nbutils.record.provenance import device_name, library_versions
from nbutils.record.record import Record
from nbutils.record.storage import FORMAT, VOLATILE, load_record, without_volatile

__all__ = [
    "FORMAT",
    "INTERVAL",
    "VOLATILE",
    "Record",
    "changes",
    "changes_since",
    "device_name",
    "library_versions",
    "load_claims",
    "load_record",
    "made_by",
    "paper_values",
    "without_volatile",
]
