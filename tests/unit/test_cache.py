"""What is kept by content: written whole or not at all, read back, and computed again when it cannot be read."""

import numpy as np
import pytest

from nbutils import cache


@pytest.fixture(autouse=True)
def cache_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def never():
    pytest.fail("computed although it was kept")


ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3) / 7
LIST = ["N'Djamena", "São Tomé", "北京", "", "a\nb", [0.1, -1e-30, 3], None]
KINDS = [(cache.cached_array, ARRAY, "npy"), (cache.cached_json, LIST, "json")]


def same(left, right):
    return np.array_equal(left, right) if isinstance(left, np.ndarray) else left == right


@pytest.mark.parametrize(("cached", "value", "suffix"), KINDS)
def test_round_trip(cached, value, suffix, cache_folder):
    assert same(cached("kind", "key", lambda: value), value)
    again = cached("kind", "key", never)
    assert same(again, value) and type(again) is type(value)
    assert [path.relative_to(cache_folder).as_posix() for path in cache_folder.rglob("*.*")] == [f"kind/key.{suffix}"]
    if suffix == "npy":
        assert again.dtype == value.dtype


@pytest.mark.parametrize(("cached", "value", "suffix"), KINDS)
def test_kinds_and_keys_are_apart(cached, value, suffix):
    cached("kind", "key", lambda: value)
    other = value[:1]
    assert same(cached("kind", "other key", lambda: other), other)
    assert same(cached("other kind", "key", lambda: other), other)
    assert same(cached("kind", "key", never), value)


@pytest.mark.parametrize(("cached", "value", "suffix"), KINDS)
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, MemoryError, SystemExit])
def test_an_interrupted_computation_leaves_nothing(cached, value, suffix, interruption, cache_folder):
    def interrupted():
        raise interruption

    with pytest.raises(interruption):
        cached("kind", "key", interrupted)
    assert not list(cache_folder.rglob("*"))
    assert same(cached("kind", "key", lambda: value), value)


@pytest.mark.parametrize(("cached", "value", "suffix"), KINDS)
def test_an_interrupted_write_leaves_nothing(cached, value, suffix, monkeypatch, cache_folder):
    def full_disk(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full_disk)
        patch.setattr("pathlib.Path.write_text", full_disk)
        with pytest.raises(OSError, match="No space left"):
            cached("kind", "key", lambda: value)
    assert not [path for path in cache_folder.rglob("*") if path.is_file()]
    assert same(cached("kind", "key", lambda: value), value)


@pytest.mark.parametrize(("cached", "value", "suffix"), KINDS)
@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-2], lambda data: b"\xff\x00nonsense"])
def test_a_damaged_file_is_computed_again(cached, value, suffix, damage, cache_folder):
    cached("kind", "key", lambda: value)
    path = cache_folder / "kind" / f"key.{suffix}"
    path.write_bytes(damage(path.read_bytes()))
    other = value[:1]
    assert same(cached("kind", "key", lambda: other), other)
    assert same(cached("kind", "key", never), other)


def test_arrays_of_objects_are_neither_written_nor_read(cache_folder):
    """They are stored by pickle, which runs what it reads."""
    with pytest.raises(ValueError, match="allow_pickle"):
        cache.cached_array("kind", "key", lambda: np.array([{}], dtype=object))
    assert not [path for path in cache_folder.rglob("*") if path.is_file()]
    folder = cache_folder / "kind"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "planted.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert same(cache.cached_array("kind", "planted", lambda: ARRAY), ARRAY)
