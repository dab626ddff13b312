"""`nbutils.files`: whole or not at all, whatever interrupts."""

import errno
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nbutils import files
from nbutils.files import atomic_path, exclusive, sha256_file, sha256_text, write_text

FAILURES = [ValueError("a bug"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device"), SystemExit(1)]


def contents(folder: Path) -> dict[str, str]:
    """Every file under `folder`, hidden ones included, and its text."""
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def write_a_file(temporary: Path) -> None:
    temporary.write_text("new")


def write_a_folder(temporary: Path) -> None:
    temporary.mkdir()
    (temporary / "new.txt").write_text("new")


def old_file(target: Path) -> None:
    target.write_text("old")


def old_folder(target: Path) -> None:
    target.mkdir()
    (target / "old.txt").write_text("old")


def nothing(target: Path) -> None:
    pass


@pytest.mark.parametrize("earlier", [nothing, old_file])
def test_a_file_is_written(tmp_path, earlier):
    earlier(tmp_path / "a.txt")
    with atomic_path(tmp_path / "a.txt") as temporary:
        write_a_file(temporary)
    assert contents(tmp_path) == {"a.txt": "new"}


@pytest.mark.parametrize("earlier", [nothing, old_folder])
@pytest.mark.parametrize("name", ["a", "replaced", "a.replaced"])
def test_a_folder_is_replaced_as_a_whole(tmp_path, earlier, name):
    earlier(tmp_path / name)
    with atomic_path(tmp_path / name) as temporary:
        write_a_folder(temporary)
    assert contents(tmp_path) == {f"{name}/new.txt": "new"}
    assert os.listdir(tmp_path) == [name]


def test_parents_are_created(tmp_path):
    write_text(tmp_path / "x" / "y" / "a.txt", "é\n")
    assert (tmp_path / "x" / "y" / "a.txt").read_bytes() == b"\xc3\xa9\n"


def test_the_current_folder_can_be_replaced(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with atomic_path(Path(".")) as temporary:
        write_a_folder(temporary)
    assert contents(tmp_path) == {"here/new.txt": "new"}


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("write", [write_a_file, write_a_folder, nothing])
@pytest.mark.parametrize("earlier", [nothing, old_file, old_folder])
def test_a_failing_block_leaves_everything_as_it_was(tmp_path, earlier, write, failure):
    earlier(tmp_path / "a")
    before = contents(tmp_path)
    with pytest.raises(type(failure)), atomic_path(tmp_path / "a") as temporary:
        write(temporary)
        raise failure
    assert contents(tmp_path) == before
    assert set(os.listdir(tmp_path)) <= {"a"}, "a temporary was left"


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("fails_at", [1, 2])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupt_between_the_moves_restores_the_earlier_folder(tmp_path, monkeypatch, failure, fails_at, when):
    """Replacing a folder takes two moves; what interrupts either, before or after it, must lose neither folder."""
    old_folder(tmp_path / "a")
    moves = []
    replace = os.replace

    def failing_replace(source, target):
        moves.append(target)
        if len(moves) == fails_at and when == "before":
            raise failure
        replace(source, target)
        if len(moves) == fails_at and when == "after":
            raise failure

    monkeypatch.setattr(files.os, "replace", failing_replace)
    with pytest.raises(type(failure)), atomic_path(tmp_path / "a") as temporary:
        write_a_folder(temporary)
    done = fails_at == 2 and when == "after"
    assert contents(tmp_path) == ({"a/new.txt": "new"} if done else {"a/old.txt": "old"})
    assert os.listdir(tmp_path) == ["a"]


def test_a_full_disk_leaves_the_earlier_file(tmp_path, monkeypatch):
    old_file(tmp_path / "a.txt")

    def full(self, text, encoding=None):
        with open(self, "w") as file:
            file.write(text[:2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "a.txt", "new text")
    assert contents(tmp_path) == {"a.txt": "old"}
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_file_does_not_replace_a_folder(tmp_path):
    old_folder(tmp_path / "a")
    with pytest.raises(OSError), atomic_path(tmp_path / "a") as temporary:
        write_a_file(temporary)
    assert contents(tmp_path) == {"a/old.txt": "old"}


def test_exclusive_makes_a_second_process_wait(tmp_path):
    lock, log = tmp_path / "locks" / "a.lock", tmp_path / "log.txt"
    program = (
        "import sys; from pathlib import Path; from nbutils.files import exclusive\n"
        "print('ready', flush=True)\n"
        "with exclusive(Path(sys.argv[1])), open(sys.argv[2], 'a') as log: log.write('second ')"
    )
    with exclusive(lock):
        second = subprocess.Popen([sys.executable, "-c", program, lock, log], stdout=subprocess.PIPE)
        assert second.stdout.readline() == b"ready\n"
        time.sleep(0.2)
        with open(log, "a") as file:
            file.write("first ")
    assert second.wait(timeout=10) == 0
    second.stdout.close()
    assert log.read_text() == "first second "


def test_digests(tmp_path):
    content = os.urandom((1 << 20) + 3)  # more than one block
    (tmp_path / "a").write_bytes(content)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()
    assert len({sha256_text("ab", "c"), sha256_text("a", "bc"), sha256_text("abc"), sha256_text("abc", "")}) == 4
