"""The nearest of many token states: exact and in blocks, so that the keys need not fit into memory, or by faiss."""

import numpy as np

from nbutils.errors import InputError
from nbutils.retrieval.faiss_index import load_faiss

BLOCK_KEYS = 65_536  # read from disk and brought to float32 at once
N_TRAINING = 32_768  # keys that an index is trained on
BLOCK_NUMBERS = 2**27  # of the keys gathered to compute distances again: 512 MiB in float32


def nearest(keys: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared L2 distances (B, k) float32, rising, and the rows (B, k) of the k nearest of `keys` (N, D) to each query.

    Exact, by faiss, over blocks of the keys: a memory-mapped array larger than memory is searched as well. Raises
    InputError for k < 1 or more than N, and for queries (B, D) of another width.
    """
    _require(keys, queries, k)
    faiss = load_faiss()
    # Distances stay the same, and faiss, which takes them from products, keeps their digits: keys may lie far from 0.
    center = np.mean(keys[:BLOCK_KEYS], axis=0, dtype=np.float64).astype(np.float32)
    queries = np.ascontiguousarray(queries, dtype=np.float32) - center
    best = faiss.ResultHeap(len(queries), k)
    for start in range(0, len(keys), BLOCK_KEYS):
        block = np.ascontiguousarray(keys[start : start + BLOCK_KEYS], dtype=np.float32) - center
        distances, rows = faiss.knn(queries, block, min(k, len(block)))
        best.add_result(distances, rows + start)
    best.finalize()
    return best.D, best.I


def build_state_index(keys: np.ndarray, index: str):
    """faiss's approximate index by L2 over `keys` (N, D), from its description, such as "IVF256,PQ64".

    Trained on at most N_TRAINING of the keys, evenly spaced, and filled block by block. Raises InputError for a
    description that faiss cannot make over D numbers, and for fewer keys than it has lists.
    """
    faiss = load_faiss()
    try:
        built = faiss.index_factory(keys.shape[1], index, faiss.METRIC_L2)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0].rpartition(": ")[2]
        raise InputError(
            f"index {index!r} is none that faiss can make over {keys.shape[1]} numbers ({reason})"
        ) from error
    ivf = faiss.try_extract_index_ivf(built)
    if ivf and len(keys) < ivf.nlist:
        raise InputError(f"index {index!r} has {ivf.nlist} lists for {len(keys)} keys: take fewer, or search exactly")
    if not built.is_trained:
        sample = np.ascontiguousarray(keys[:: -(-len(keys) // N_TRAINING)], dtype=np.float32)
        try:
            built.train(sample)
        except RuntimeError as error:  # PQ wants 256 keys
            reason = str(error).strip().splitlines()[0].rpartition(": ")[2]
            raise InputError(f"index {index!r} cannot be trained on {len(sample)} keys ({reason})") from error
    for start in range(0, len(keys), BLOCK_KEYS):
        built.add(np.ascontiguousarray(keys[start : start + BLOCK_KEYS], dtype=np.float32))
    return built


def nearest_approximate(
    index, keys: np.ndarray, queries: np.ndarray, k: int, n_probe: int, recompute: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest`, but found in an index of `build_state_index`, in `n_probe` of its lists.

    The index's own distances are those of compressed keys. With `recompute` they are computed again from `keys`, and
    the neighbors sorted by them: without that kNN-LM loses part of its gain (Khandelwal et al. 2020). Where
    the lists hold fewer than k keys, the last distances are inf and their rows 0. Raises InputError as `nearest`, and
    for n_probe < 1.
    """
    _require(keys, queries, k)
    if n_probe < 1:
        raise InputError(f"n_probe = {n_probe}: look into at least 1 list")
    ivf = load_faiss().try_extract_index_ivf(index)
    if ivf:
        ivf.nprobe = n_probe
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    distances, rows = index.search(queries, k)
    distances, rows = np.where(rows < 0, np.inf, distances), np.maximum(rows, 0)
    if not recompute:
        return distances, rows
    size = max(1, BLOCK_NUMBERS // (k * keys.shape[1]))
    for start in range(0, len(queries), size):
        block = slice(start, start + size)
        differences = keys[rows[block]].astype(np.float32) - queries[block, None]
        exact = np.einsum("bkd,bkd->bk", differences, differences)
        distances[block] = np.where(np.isinf(distances[block]), np.inf, exact)
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(rows, order, axis=1)


def squared_distances(queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """|q - k|^2 of each query (B, D) to each key (N, D): (B, N) float64."""
    queries, keys = np.asarray(queries, dtype=np.float64), np.asarray(keys, dtype=np.float64)
    squares = (queries**2).sum(axis=1)[:, None] + (keys**2).sum(axis=1)
    return np.maximum(squares - 2 * queries @ keys.T, 0)


def _require(keys: np.ndarray, queries: np.ndarray, k: int) -> None:
    if not 1 <= k <= len(keys):
        raise InputError(f"k = {k} of {len(keys)} keys: give at least 1, and no more than there are")
    if queries.ndim != 2 or queries.shape[1] != keys.shape[1]:
        raise InputError(f"queries {queries.shape} among keys {keys.shape}: give queries of the same width")
