"""What a run found, and what made it: the record, claims and their verdicts, scores beside chance, the report.

Import `scoring` and `report` by name (`from nbutils.record import scoring`): who reads a record seldom needs them.
"""

from nbutils.record.provenance import device_name, library_versions, notebook_code_sha256, package_sha256
from nbutils.record.record import INTERVAL, Record
from nbutils.record.storage import FORMAT, VOLATILE, load_record, without_volatile

__all__ = [
    "FORMAT",
    "INTERVAL",
    "VOLATILE",
    "Record",
    "device_name",
    "library_versions",
    "load_record",
    "notebook_code_sha256",
    "package_sha256",
    "without_volatile",
]
