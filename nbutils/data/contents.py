"""What a file is, by its first bytes: text, compressed or not, parquet; anything else is refused by its name."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from nbutils.errors import InputError

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_OTHERS = {
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"PK\x03\x04": "a zip archive or an Excel file",
    b"BZh": "compressed by bzip2",
    b"\x28\xb5\x2f\xfd": "compressed by zstandard",
    b"\xfd7zXZ": "compressed by xz",
    b"ARROW1": "an Arrow file",
    b"\xff\xff\xff\xff": "an Arrow file",  # as the datasets library keeps its sets
    b"7z\xbc\xaf": "a 7z archive",
    b"SQLite": "an SQLite database",
    b"Obj\x01": "an Avro file",
    **{bytes([0x80, version]): "a Python pickle" for version in range(2, 6)},
    b"\x89HDF": "an HDF5 file",
    b"%PDF": "a PDF",
}


def is_parquet(path: Path) -> bool:
    """Whether the file begins as parquet does. Raises InputError for a file that cannot be opened."""
    with _open(path) as file:
        return file.read(4) == _PARQUET


@contextmanager
def open_text(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a text, unpacked where gzip has packed them.

    Raises InputError for a file that cannot be opened, is broken, or is no text by its first bytes.
    """
    with _open(path) as file:
        packed = file.peek(2)[:2] == _GZIP
        content: Any = gzip.GzipFile(fileobj=file) if packed else file
        try:
            _require_text(path, content.peek(262), packed)
            yield content
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(
                f"{path}: is compressed by gzip and broken after byte {file.tell()} ({error}); get it again"
            ) from error


def read_text(path: Path, keep_broken: bool = False) -> str:
    """The whole text of a UTF-8 file; with `keep_broken` bytes that are not UTF-8 become lone surrogates.

    Raises InputError as `open_text`, and for the first byte that is not UTF-8.
    """
    with open_text(path) as file:
        raw = file.read()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if keep_broken:
            return raw.decode("utf-8-sig", "surrogateescape")
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte {error.start + 1} of the file); save it as UTF-8"
        ) from error


def read_parquet(path: Path) -> Iterator[dict]:
    """The rows of a parquet file, as they are asked for. Raises InputError for a broken one."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(1000):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: is parquet and cannot be read ({reason}); get it again") from error


def _open(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error


def _require_text(path: Path, start: bytes, packed: bool) -> None:
    inside = "unpacked, " if packed else ""
    for magic, what in _OTHERS.items():
        if start.startswith(magic):
            raise InputError(f"{path}: {inside}not UTF-8 (byte 1 is 0x{start[0]:02x}: {what}); save it as UTF-8 text")
    if start.startswith(_PARQUET):
        raise InputError(f"{path}: {inside}is parquet (byte 1 is 0x50), where text must stand; rename or unpack it")
    if packed and start.startswith(_GZIP):
        raise InputError(f"{path}: is compressed by gzip twice (byte 1 is 0x1f); unpack it")
    if start[257:262] == b"ustar":
        how = ", compressed by gzip (byte 1 is 0x1f)" if packed else ""
        raise InputError(f"{path}: is a tar archive{how}; unpack it")
