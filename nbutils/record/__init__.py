"""What a run found, and what made it, as data; claims judged on it, and the table and page made of it.

`record` collects and saves, `storage` writes and reads the file, `values` refuses what may not be in it, `provenance`
says what made it, `claims` judges, `scoring` notes scores beside what chance gives, `report` renders README and page.
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
