"""What faiss is asked for: indexes from its own descriptions, checked, trained, filled, kept."""

import re
from collections.abc import Callable, Iterator

import numpy as np

from nbutils import cache
from nbutils.errors import InputError
from nbutils.models import SHARD_SIZE

EXACT = "Flat"  # faiss's name for exact search
EF_CONSTRUCTION = 200  # candidates while an HNSW graph is built, as in DPR's own indexer


def index_bytes(n: int, width: int, index: str = EXACT) -> int:
    """Memory in bytes of a finished index over `n` vectors of `width` numbers: codes, ids, links, centroids."""
    empty = _empty_index(index, width)
    ivf = load_faiss().try_extract_index_ivf(empty)
    if ivf:
        position_and_id = 16
        return n * (ivf.code_size + position_and_id) + ivf.nlist * width * 4
    if hasattr(empty, "hnsw"):
        codes = load_faiss().downcast_index(empty.storage).code_size
        # 4 bytes a link: all of the ground level, and of the upper ones those of the few vectors that are there.
        ground, upper = (empty.hnsw.nb_neighbors(level) for level in (0, 1))
        level_and_offset = 12
        return n * (codes + 4 * ground + 4 * upper // (upper - 1) + level_and_offset)
    return n * empty.code_size


def load_faiss():
    """The library. Torch comes before it: the other order loads two OpenMP runtimes and can crash."""
    import torch  # noqa: F401, I001
    import faiss

    return faiss


def _empty_index(index: str, width: int):
    """The index that faiss makes of its description: inner product, no vectors, not trained."""
    faiss = load_faiss()
    try:
        empty = faiss.index_factory(width, index, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0].rpartition(": ")[2]
        raise InputError(f"index {index!r} is none that faiss can make over {width} numbers ({reason})") from error
    if hasattr(empty, "hnsw"):
        empty.hnsw.efConstruction = EF_CONSTRUCTION
    elif not faiss.try_extract_index_ivf(empty) and not hasattr(empty, "code_size"):
        raise InputError(f"index {index!r} is not supported: use Flat, IVF<lists>,<codes>, HNSW<links> or SQ8")
    return empty


def check_index(n: int, width: int, index: str, search_parameters: str | None) -> None:
    """InputError for an index that cannot be built over `n` vectors here, or not be searched in with the parameters."""
    empty = _empty_index(index, width)
    ivf = load_faiss().try_extract_index_ivf(empty)
    if ivf and n < ivf.nlist:
        raise InputError(f"index {index!r} has {ivf.nlist} lists for {n} passages: take fewer, or index='{EXACT}'")
    if ivf or hasattr(empty, "hnsw"):
        name, what = ("nprobe", "lists that are looked into") if ivf else ("efSearch", "candidates that are kept")
        given = re.search(rf"(?<![^ ,]){name}=(\d+)", search_parameters or "")
        if given is None or int(given[1]) < 1:
            raise InputError(
                f"index {index!r} is approximate: give search_parameters='{name}=N', the {what}, with N of at least 1"
            )
    set_search_parameters(empty, index, search_parameters)
    growth = 1 if index == EXACT else 1.25  # some arrays are copied while they grow
    beside = width * 4 * (SHARD_SIZE if empty.is_trained else SHARD_SIZE + _n_training(empty, n))
    needed, free = growth * index_bytes(n, width, index) + min(beside, n * width * 8), _free_memory()
    if needed > free:
        raise InputError(
            f"index {index!r} over {n} passages needs {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free: "
            "lower n_passages, or take an index with smaller codes, such as 'IVF65536,SQ8'"
        )


def _free_memory() -> int:
    """Bytes of memory that this machine can still give."""
    import psutil

    return psutil.virtual_memory().available


def _n_training(empty, n: int) -> int:
    """How many vectors an index is trained on; faiss asks for at least 39 a list, and warns below."""
    ivf = load_faiss().try_extract_index_ivf(empty)
    return min(n, max(65_536, 64 * ivf.nlist if ivf else 0))


def fill_index(index: str, width: int, vectors: Callable[[], Iterator[np.ndarray]], n: int, seed: int):
    """The index over `n` vectors, which each call of `vectors` yields shard by shard."""
    faiss_index = _empty_index(index, width)
    if not faiss_index.is_trained:
        sample = _sample(vectors(), n, _n_training(faiss_index, n), seed)
        try:
            faiss_index.train(sample)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0].rpartition(": ")[2]
            raise InputError(f"index {index!r} cannot be trained on {len(sample)} vectors ({reason})") from error
    flat = load_faiss().downcast_index(faiss_index.storage) if hasattr(faiss_index, "hnsw") else faiss_index
    if hasattr(flat, "codes"):  # reserved at once: grown shard by shard it would be copied, twice in memory
        flat.codes.resize(n * flat.code_size)
        flat.codes.resize(0)
    for shard in vectors():
        faiss_index.add(shard)
    ivf = load_faiss().try_extract_index_ivf(faiss_index)
    if ivf:
        ivf.make_direct_map()  # so that vectors can be read back by their position, as those of the others
    return faiss_index


def _sample(shards: Iterator[np.ndarray], n: int, size: int, seed: int) -> np.ndarray:
    """`size` of the `n` vectors, drawn by `seed`, in order."""
    rows = np.sort(np.random.default_rng(seed).choice(n, size, replace=False))
    start, chosen = 0, []
    for shard in shards:
        inside = rows[(rows >= start) & (rows < start + len(shard))]
        chosen.append(shard[inside - start])
        start += len(shard)
    return np.concatenate(chosen)


def kept_index(key: str, build: Callable):
    """The index stored under `key`, built and stored when it is missing or unreadable."""
    faiss = load_faiss()
    return cache.file(
        "indexes",
        key,
        "faiss",
        build,
        read=lambda path: faiss.read_index(str(path)),
        write=lambda built, path: faiss.write_index(built, str(path)),
        damaged=(RuntimeError,),
    )


def set_search_parameters(faiss_index, index: str, search_parameters: str | None) -> None:
    """Set what faiss calls by these names, "nprobe=128"; InputError for a name that `index` does not know."""
    if search_parameters is None:
        return
    space = load_faiss().ParameterSpace()
    try:
        space.set_index_parameters(faiss_index, search_parameters)
    except RuntimeError as error:
        space.initialize(faiss_index)
        names = [space.parameter_ranges.at(i).name for i in range(space.parameter_ranges.size())]
        known = f"it has {', '.join(f'{name}=N' for name in names)}" if names else "it has none, leave them out"
        raise InputError(f"search_parameters {search_parameters!r} do not fit index {index!r}: {known}") from error
