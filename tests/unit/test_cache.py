"""What is kept by content: written whole or not at all, read back, and computed again when it cannot be read."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from nbutils import __main__ as cli
from nbutils import cache, paths
from nbutils.errors import InputError
from nbutils.files import write_text

DAY = 86_400


pytestmark = pytest.mark.usefixtures("cache_folder")


def never(*arguments):
    pytest.fail("computed although it was kept")


ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3) / 7
LIST = ["N'Djamena", "São Tomé", "北京", "", "a\nb", [0.1, -1e-30, 3], None]


def text_file(kind, key, compute):
    """A file of a library that has its own exception for what it cannot read."""

    def read(path):
        content = path.read_bytes()
        if content[-1:] != b"." or not content.isascii():
            raise RuntimeError("not mine")
        return content.decode()[:-1]

    return cache.file(
        kind, key, "txt", compute, read, lambda value, path: path.write_text(f"{value}."), (RuntimeError,)
    )


def text_folder(kind, key, compute):
    """A folder that is read as None where it is not what was written."""

    def read(path):
        try:
            content = (path / "text").read_bytes()
        except OSError:
            return None
        return content.decode()[:-1] if content[-1:] == b"." and content.isascii() else None

    def build(path):
        value = compute()
        write_text(path / "text", f"{value}.")
        return value

    return cache.folder(kind, key, read, build)


KINDS = [
    (cache.array, ARRAY, "key.npy"),
    (cache.json_list, LIST, "key.json"),
    (text_file, "words", "key.txt"),
    (text_folder, "words", "key/text"),
]
every_kind = pytest.mark.parametrize(("kept", "value", "name"), KINDS, ids=["array", "json", "file", "folder"])


def same(left, right):
    return np.array_equal(left, right) if isinstance(left, np.ndarray) else left == right


def files_in(folder):
    """Names of all files but the locks."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return sorted(path.relative_to(folder).as_posix() for path in found)


# Results


@every_kind
def test_round_trip(kept, value, name, cache_folder):
    assert same(kept("kind", "key", lambda: value), value)
    again = kept("kind", "key", never)
    assert same(again, value) and type(again) is type(value)
    assert files_in(cache_folder) == [f"kind/{name}"]
    if isinstance(value, np.ndarray):
        assert again.dtype == value.dtype


@every_kind
def test_kinds_and_keys_are_apart(kept, value, name):
    kept("kind", "key", lambda: value)
    other = value[:1]
    assert same(kept("kind", "other key", lambda: other), other)
    assert same(kept("other kind", "key", lambda: other), other)
    assert same(kept("kind", "key", never), value)


@every_kind
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, MemoryError, SystemExit])
def test_an_interrupted_computation_leaves_nothing(kept, value, name, interruption, cache_folder):
    def interrupted():
        raise interruption

    with pytest.raises(interruption):
        kept("kind", "key", interrupted)
    assert files_in(cache_folder) == []
    assert same(kept("kind", "key", lambda: value), value)


@every_kind
def test_an_interrupted_write_leaves_nothing(kept, value, name, monkeypatch, cache_folder):
    def full_disk(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full_disk)
        patch.setattr("pathlib.Path.write_text", full_disk)
        with pytest.raises(OSError, match="No space left"):
            kept("kind", "key", lambda: value)
    assert files_in(cache_folder) == []
    assert same(kept("kind", "key", lambda: value), value)


@every_kind
@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-2], lambda data: b"\xff\x00nonsense"])
def test_what_is_damaged_is_computed_again(kept, value, name, damage, cache_folder):
    kept("kind", "key", lambda: value)
    path = cache_folder / "kind" / name
    path.write_bytes(damage(path.read_bytes()))
    other = value[:1]
    assert same(kept("kind", "key", lambda: other), other)
    assert same(kept("kind", "key", never), other)


def test_arrays_of_objects_are_neither_written_nor_read(cache_folder):
    """They are stored by pickle, which runs what it reads."""
    with pytest.raises(ValueError, match="allow_pickle"):
        cache.array("kind", "key", lambda: np.array([{}], dtype=object))
    assert not [path for path in cache_folder.rglob("*") if path.is_file()]
    folder = cache_folder / "kind"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "planted.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert same(cache.array("kind", "planted", lambda: ARRAY), ARRAY)


# Where it lies


NOWHERE = [Path("/proc/none/cache"), "a file"]  # permissions bind no superuser


@every_kind
@pytest.mark.parametrize("place", NOWHERE, ids=["no folder can be made", "a file"])
def test_what_cannot_be_kept_is_not_computed(kept, value, name, place, monkeypatch, tmp_path):
    place = tmp_path / "file" if place == "a file" else place
    (tmp_path / "file").touch()
    monkeypatch.setattr(paths, "CACHE", place)
    with pytest.raises(
        InputError, match=rf"the cache {place} cannot be written \(.*\): set .* NBUTILS_CACHE"
    ) as caught:
        kept("kind", "key", never)
    assert "\n" not in str(caught.value)
    with cache.off():
        assert same(kept("kind", "key", lambda: value), value)


@every_kind
def test_what_is_kept_is_read_where_nothing_can_be_written(kept, value, name, monkeypatch):
    kept("kind", "key", lambda: value)
    monkeypatch.setattr(cache, "require_writable", never)
    assert same(kept("kind", "key", never), value)


def test_a_full_disk_is_no_wrong_input(monkeypatch):
    def full_disk(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full_disk)
    with pytest.raises(OSError, match="No space left"):
        cache.json_list("kind", "key", never)


@pytest.mark.parametrize(
    ("variable", "folder"),
    [
        ("/kept/elsewhere", Path("/kept/elsewhere")),
        ("kept", paths.ROOT / "kept"),  # wherever the process runs: a kernel runs in notebooks/
        ("~/kept", Path("/home/ada/kept")),
        ("", paths.ROOT / "data" / "cache"),
        (None, paths.ROOT / "data" / "cache"),
    ],
)
def test_a_variable_moves_the_cache(variable, folder, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "NBUTILS_CACHE"}
    environment |= {"HOME": "/home/ada", "PYTHONPATH": str(paths.ROOT)}
    environment |= {} if variable is None else {"NBUTILS_CACHE": variable}
    command = [sys.executable, "-c", "from nbutils import paths; print(paths.CACHE)"]
    found = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert found == f"{folder}\n"


# Keys


def test_keys():
    assert cache.key(never, "ab", "c") != cache.key(never, "a", "bc") != cache.key(never, "abc")
    assert cache.key(never, "a") == cache.key([never], "a") == cache.key((never,), "a")
    assert len({cache.key(never), cache.key(same), cache.key([never, same]), cache.key([same, never])}) == 4
    assert cache.key([never, same], "a") != cache.key(never, "a")


def test_a_key_is_quick_the_second_time():
    from nbutils import training

    functions = [training.train_end2end, training.train_lsr]
    cache.key(functions, "text")
    began = time.process_time()
    cache.key(functions, "text")
    assert time.process_time() - began < 0.001


# Off


@every_kind
def test_off_neither_reads_nor_writes(kept, value, name, cache_folder):
    kept("kind", "key", lambda: value)
    other = value[:1]
    with cache.off():
        assert same(kept("kind", "key", lambda: other), other)
        assert same(kept("kind", "another", lambda: other), other)
        with cache.off():
            assert same(kept("kind", "key", lambda: other), other)
        assert same(kept("kind", "key", lambda: other), other)
    assert same(kept("kind", "key", never), value)
    assert files_in(cache_folder) == [f"kind/{name}"]


def test_off_ends_with_an_exception():
    cache.json_list("kind", "key", lambda: [1])
    with pytest.raises(ZeroDivisionError), cache.off():
        raise ZeroDivisionError
    assert cache.json_list("kind", "key", never) == [1]


def test_off_holds_for_its_own_thread():
    cache.json_list("kind", "key", lambda: [1])
    found = []
    with cache.off():
        thread = threading.Thread(target=lambda: found.append(cache.json_list("kind", "key", lambda: [2])))
        thread.start()
        thread.join()
    assert found == [[1]]


def test_a_folder_lives_through_a_block(cache_folder):
    with cache.locked_folder("kind", "key") as path:
        assert path == cache_folder / "kind" / "key" and not path.exists()
        write_text(path / "state", "1")
    with cache.off(), cache.locked_folder("kind", "key") as scratch:
        assert not scratch.exists() and not scratch.is_relative_to(cache_folder)
        write_text(scratch / "state", "2")
    assert not scratch.parent.exists()
    assert files_in(cache_folder) == ["kind/key/state"] and (path / "state").read_text() == "1"


# Several processes

ASK = """
import sys, time
from pathlib import Path
from nbutils import cache, paths
from nbutils.files import write_text
paths.CACHE = Path(sys.argv[1])
print("ready", flush=True)
"""


def other_process(cache_folder, code):
    process = subprocess.Popen(
        [sys.executable, "-c", ASK + code, cache_folder], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout.readline() == "ready\n"
    return process


def rest_of(process):
    """What else it says; not by `communicate`, which misses what came in one piece with the first line."""
    with process:
        return process.stdout.read()


def test_the_second_process_waits_for_the_first(cache_folder):
    with cache.locked_folder("kind", "key") as path:
        code = "with cache.locked_folder('kind', 'key') as path: print((path / 'state').read_text())"
        second = other_process(cache_folder, code)
        time.sleep(0.2)
        write_text(path / "state", "from the first")
    assert rest_of(second) == "from the first\n"


def test_one_of_two_processes_builds_a_folder(cache_folder):
    code = """
def read(path):
    return path.read_text() if path.exists() else None
def build(path):
    time.sleep(0.3)
    write_text(path, "kept")
    return "built"
print(cache.folder("kind", "key", lambda path: read(path / "text"), lambda path: path.mkdir() or build(path / "text")))
"""
    both = [other_process(cache_folder, code) for _ in range(2)]
    outputs = sorted(rest_of(process) for process in both)
    assert outputs == ["built\n", "kept\n"]


def test_a_killed_process_gives_its_lock_back(cache_folder):
    code = "with cache.locked_folder('kind', 'key') as path: print('held', flush=True); time.sleep(60)"
    first = other_process(cache_folder, code)
    assert first.stdout.readline() == "held\n"
    first.kill()
    first.communicate()
    with cache.locked_folder("kind", "key"):
        pass


# Housekeeping


def age(path, days):
    then = time.time() - days * DAY
    os.utime(path, (then, then))


@pytest.fixture
def filled(cache_folder):
    """A cache with old and new entries of three kinds."""
    cache.json_list("rag", "old", lambda: ["a"])
    cache.json_list("rag", "new", lambda: ["a", "b"])
    for key in ("old", "new"):
        text_folder("training", key, lambda: "words")
    write_text(cache_folder / "models" / "gemma" / "weights", "10 letters")
    for path in ("rag/old.json", "training/old", "models/gemma"):
        age(cache_folder / path, 10)
    return cache_folder


def test_show(filled, cache_folder):
    usage = cache.show()
    assert {kind: (u.n_entries, u.n_bytes) for kind, u in usage.items()} == {
        "models": (1, 10), "rag": (2, 5 + 10), "training": (2, 6 + 6),
    }  # fmt: skip
    assert time.time() - usage["rag"].newest < 60 < 9 * DAY < time.time() - usage["rag"].oldest < 11 * DAY


def test_nothing_is_shown_of_no_cache():
    assert cache.show() == cache.prune(0) == cache.clear() == {}


def test_prune_goes_by_the_last_use(filled):
    removed = cache.prune(5)
    assert {kind: (u.n_entries, u.n_bytes) for kind, u in removed.items()} == {"rag": (1, 5), "training": (1, 6)}
    assert files_in(filled) == ["models/gemma/weights", "rag/new.json", "training/new/text"]
    assert cache.prune(5) == {}


@every_kind
def test_what_was_read_was_used(kept, value, name, cache_folder):
    kept("kind", "key", lambda: value)
    entry = cache_folder / "kind" / name.partition("/")[0]
    age(entry, 10)
    with cache.off():
        kept("kind", "key", lambda: value)
    assert cache.show()["kind"].oldest < time.time() - 9 * DAY
    kept("kind", "key", never)
    assert cache.prune(5) == {}
    age(entry, 10)
    assert cache.prune(5)["kind"].n_entries == 1
    assert files_in(cache_folder) == []


def test_a_block_uses_its_folder(cache_folder):
    text_folder("kind", "key", lambda: "words")
    age(cache_folder / "kind" / "key", 10)
    with cache.locked_folder("kind", "key"):
        pass
    assert cache.prune(5) == {}


@pytest.mark.parametrize("remove", [lambda: cache.prune(0), cache.clear])
def test_a_folder_in_use_stays(cache_folder, remove):
    text_folder("kind", "key", lambda: "words")
    age(cache_folder / "kind" / "key", 10)
    code = "with cache.locked_folder('kind', 'key') as path: print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", ASK + code, cache_folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert [other.stdout.readline() for _ in range(2)] == ["ready\n", "held\n"]
    assert remove() == {} and files_in(cache_folder) == ["kind/key/text"]
    other.communicate("done", timeout=20)
    assert remove()["kind"].n_entries == 1 and files_in(cache_folder) == []


def test_a_folder_of_ones_own_block_stays(cache_folder):
    with cache.locked_folder("kind", "key") as path:
        write_text(path / "state", "1")
        assert cache.clear() == {}
    assert files_in(cache_folder) == ["kind/key/state"]


def test_models_stay_until_all_is_cleared(filled):
    cache.prune(0)
    assert files_in(filled) == ["models/gemma/weights"]
    assert cache.clear()["models"].n_bytes == 10
    assert files_in(filled) == [] and cache.show() == {}


def test_what_is_being_written_stays_and_what_was_left_behind_goes(cache_folder):
    scratch = cache_folder / "kind" / ".key.npy.a1b2"
    write_text(scratch / "key.npy", "half")
    assert cache.clear() == cache.show() == {}
    age(scratch, 2)
    assert cache.show()["kind"].n_bytes == 4
    assert cache.prune(1)["kind"].n_entries == 1 and not scratch.exists()


@pytest.mark.parametrize("days", [-1, float("nan")])
def test_days_must_be_a_number_of_days(days):
    with pytest.raises(InputError, match="give a number of days of at least 0"):
        cache.prune(days)


# Command line


@pytest.fixture
def call(monkeypatch, capsys):
    """Function (arguments) -> (exit status, standard output, standard error) of `python -m nbutils cache`."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["nbutils", "cache", *map(str, arguments)])
        with pytest.raises(SystemExit) as ending:
            cli.main()
        return (ending.value.code or 0, *capsys.readouterr())

    return call


def test_show_on_the_command_line(call, filled):
    status, out, err = call("show")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [["models", "1"], ["rag", "2"], ["training", "2"]]
    assert lines[-1] == f"{filled}: 5 entries, 0.0 MB"


def test_prune_on_the_command_line(call, filled):
    assert call("prune", "--older-than", 5) == (0, "removed: 2 entries, 0.0 MB\n", "")
    assert call("prune", "--older-than", 5) == (0, "removed: 0 entries, 0.0 MB\n", "")
    status, out, err = call("prune", "--older-than", -1)
    assert (status, out) == (2, "")
    assert err == "error: older than -1 days: give a number of days of at least 0\n"
    assert call("prune")[0] == 2
    assert files_in(filled) == ["models/gemma/weights", "rag/new.json", "training/new/text"]


def test_clear_on_the_command_line(call, filled, monkeypatch):
    answers = iter(["n", "y"])
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt: next(answers))
    status, *_ = call("clear")
    assert status == 1 and len(files_in(filled)) == 5
    assert call("clear")[0] == 0 and files_in(filled) == []
    cache.json_list("rag", "new", lambda: ["a"])
    assert call("clear", "--yes") == (0, "removed: 1 entries, 0.0 MB\n", "")
