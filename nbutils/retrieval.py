"""Retrieval: BM25 and dense search, exact or approximate, over a corpus; both return `(ids, scores)`, best first."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nbutils import paths
from nbutils.cache import cached_array
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.files import atomic_path, sha256_source, sha256_text
from nbutils.models import Encoder
from nbutils.progress import progress_bar

EXACT = "Flat"  # faiss's name for exact search
SHARD_SIZE = 65_536  # texts that are encoded, kept and added to an index at a time: 0.2 GB at 768 numbers
BATCH_TOKENS = 4096  # padded tokens a batch: larger ones fall out of a processor's caches and are slower
GPU_BATCH_TOKENS = 32_768  # smaller ones leave a GPU waiting for Python
EF_CONSTRUCTION = 200  # candidates while an HNSW graph is built, as in DPR's own indexer


@dataclass(frozen=True)
class BM25Index:
    passage_ids: np.ndarray  # (n,) str
    retriever: Any  # bm25s.BM25
    stemmer: Any


@dataclass(frozen=True)
class DenseIndex:
    passage_ids: np.ndarray  # (n,) str
    faiss_index: Any  # inner product; its vectors are in the order of passage_ids
    sha256: str  # digest of what it was built from: encoder, passages, description, search effort


def passage_text(passage: Passage, separator: str = Encoder.title_separator) -> str:
    """What a model reads of a passage: the title counts, since a passage rarely names its own document."""
    return f"{passage.title}{separator}{passage.text}"


def build_bm25(corpus: dict[str, Passage], title_weight: int = 3) -> BM25Index:
    """BM25 index (bm25s, Lucene variant, English stemming); the title is counted `title_weight` times.

    Without that weight BM25 is a straw man here: most passages do not repeat the country that they are about.
    """
    import bm25s
    import Stemmer

    _require_corpus(corpus)
    stemmer = Stemmer.Stemmer("english")
    texts = [" ".join([passage.title] * title_weight + [passage.text]) for passage in corpus.values()]
    tokens = bm25s.tokenize(texts, stemmer=stemmer, show_progress=False)
    if not tokens.vocab:
        raise InputError("the passages hold no words to search for, only stop words and single letters")
    retriever = bm25s.BM25(method="lucene")
    retriever.index(tokens, show_progress=False)
    return BM25Index(np.array(list(corpus)), retriever, stemmer)


def search_bm25(index: BM25Index, questions: list[str], n_docs: int) -> tuple[np.ndarray, np.ndarray]:
    """The `n_docs` best passages of each question: ids (B, K) as strings and BM25 scores (B, K).

    K is smaller than `n_docs` only when the corpus is.
    """
    import bm25s

    _require_questions(questions, n_docs)
    tokens = bm25s.tokenize(questions, stemmer=index.stemmer, show_progress=False, return_ids=False)
    k = min(n_docs, len(index.passage_ids))
    positions, scores = index.retriever.retrieve(tokens, k=k, show_progress=False)
    return index.passage_ids[positions], scores


def build_dense(
    encoder: Encoder,
    corpus: dict[str, Passage],
    index: str = EXACT,
    search_effort: int | None = None,
    seed: int = 0,
    vectors: np.ndarray | None = None,
) -> DenseIndex:
    """Inner-product index (faiss) over the encoded passages: exact ("Flat"), or approximate for corpora of millions.

    `index` is faiss's own description, as in "IVF4096,Flat", "IVF65536,SQ8" or "HNSW128,Flat"; `search_effort` is how
    much of an approximate one is looked at: lists of an IVF (nprobe), candidates of an HNSW graph (efSearch).
    An index that needs training (IVF, SQ, PQ) is trained on vectors drawn by `seed`. Encoding resumes where it was
    interrupted; approximate indexes are kept on disk by content, since a large graph takes hours. `vectors`
    (n, D) that were encoded before are taken as they are, and nothing is kept: for an encoder that learns.
    Raises InputError, before anything is encoded, for an index that faiss does not know, without its search effort, or
    too large for this machine's memory.
    """
    _require_corpus(corpus)
    width = vector_width(encoder)
    if vectors is not None and vectors.shape != (len(corpus), width):
        raise InputError(f"vectors {vectors.shape} for {len(corpus)} passages: give one of {width} numbers to each")
    _check_index(len(corpus), width, index, search_effort)
    passages, ids = list(corpus.values()), np.array(list(corpus))

    def texts() -> Iterator[list[str]]:  # a shard at a time: all of them at once would double the corpus in memory
        for start in range(0, len(passages), SHARD_SIZE):
            shard = passages[start : start + SHARD_SIZE]
            yield [passage_text(passage, encoder.title_separator) for passage in shard]

    def shards() -> Iterator[np.ndarray]:
        if vectors is not None:
            yield vectors
            return
        for number, shard in enumerate(texts()):
            yield _encode_shard(encoder, shard, _shard_label("passages", number * SHARD_SIZE, len(passages)))

    def build():
        return _fill_index(index, width, shards, len(passages), seed)

    key = sha256_text(_INDEX_CODE, index, str((EF_CONSTRUCTION, seed)), *(_key(encoder, shard) for shard in texts()))
    keep = vectors is None and index != EXACT  # an exact one is its vectors, kept already
    faiss_index = _kept_index(key, build) if keep else build()
    _set_search_effort(faiss_index, search_effort)
    return DenseIndex(ids, faiss_index, sha256_text(key, str(search_effort), *corpus))


def extend_dense(index: DenseIndex, encoder: Encoder, passages: dict[str, Passage]) -> DenseIndex:
    """A copy of the index to which further passages were added; the one given stays as it is.

    Raises InputError for no passages, an id that the index has already, and vectors of another width.
    """
    import faiss

    _require_corpus(passages)
    taken = sorted(passages.keys() & set(index.passage_ids.tolist()))
    if taken:
        raise InputError(f"passage {taken[0]!r} is in the index already: give the new ones ids of their own")
    width = vector_width(encoder)
    if width != index.faiss_index.d:
        raise InputError(f"{encoder.name} makes vectors of {width} numbers, the index holds {index.faiss_index.d}")
    texts = [passage_text(passage, encoder.title_separator) for passage in passages.values()]
    extended = faiss.clone_index(index.faiss_index)
    extended.add(encode(encoder, texts, "new passages"))
    digest = sha256_text(index.sha256, _key(encoder, texts), *passages)
    return DenseIndex(np.concatenate([index.passage_ids, np.array(list(passages))]), extended, digest)


def search_dense(
    index: DenseIndex, encoder: Encoder, questions: list[str], n_docs: int, use_cache: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """The `n_docs` passages with the largest inner products: ids (B, K) as strings and scores (B, K).

    `encoder` may be another than the one that encoded the passages (DPR has two), if its vectors are as wide.
    """
    _require_questions(questions, n_docs)
    width = vector_width(encoder)
    if width != index.faiss_index.d:
        raise InputError(
            f"{encoder.name} makes vectors of {width} numbers, the index holds vectors of {index.faiss_index.d}: "
            "search with the question encoder that belongs to the passage encoder"
        )
    vectors = encode(encoder, questions, "questions", use_cache)
    scores, positions = index.faiss_index.search(vectors, min(n_docs, len(index.passage_ids)))
    short = int((positions < 0).any(axis=1).sum())
    if short:  # faiss fills up with -1, which would be taken for the last passage
        raise InputError(
            f"the index found fewer than {n_docs} passages for {short} of {len(questions)} questions: "
            "raise search_effort"
        )
    return index.passage_ids[positions], scores


# --- faiss ------------------------------------------------------------------------------------------------------------


def index_bytes(n: int, width: int, index: str = EXACT) -> int:
    """Memory in bytes of a finished index over `n` vectors of `width` numbers: codes, ids, links, centroids."""
    empty = _empty_index(index, width)
    ivf = _faiss().try_extract_index_ivf(empty)
    if ivf:
        position_and_id = 16
        return n * (ivf.code_size + position_and_id) + ivf.nlist * width * 4
    if hasattr(empty, "hnsw"):
        codes = _faiss().downcast_index(empty.storage).code_size
        # 4 bytes a link: all of the ground level, and of the upper ones those of the few vectors that are there.
        ground, upper = (empty.hnsw.nb_neighbors(level) for level in (0, 1))
        level_and_offset = 12
        return n * (codes + 4 * ground + 4 * upper // (upper - 1) + level_and_offset)
    return n * empty.code_size


def vector_width(encoder: Encoder) -> int:
    """D: how many numbers the vectors of `encoder` have."""
    config = encoder.model.config
    return getattr(config, "projection_dim", 0) or config.hidden_size


def _faiss():
    import torch  # noqa: F401, I001  before faiss: the other order loads two OpenMP runtimes and can crash
    import faiss

    return faiss


def _empty_index(index: str, width: int):
    """The index that faiss makes of its description: inner product, no vectors, not trained."""
    faiss = _faiss()
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


def _check_index(n: int, width: int, index: str, search_effort: int | None) -> None:
    """InputError for an index that cannot be built over `n` vectors here."""
    empty = _empty_index(index, width)
    ivf = _faiss().try_extract_index_ivf(empty)
    if ivf and n < ivf.nlist:
        raise InputError(f"index {index!r} has {ivf.nlist} lists for {n} passages: take fewer, or index='{EXACT}'")
    if ivf or hasattr(empty, "hnsw"):
        parameter = "nprobe, the lists that are looked into" if ivf else "efSearch, the candidates that are kept"
        if search_effort is None or search_effort < 1:
            raise InputError(f"index {index!r} is approximate: give search_effort ({parameter}) of at least 1")
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
    ivf = _faiss().try_extract_index_ivf(empty)
    return min(n, max(65_536, 64 * ivf.nlist if ivf else 0))


def _fill_index(index: str, width: int, vectors: Callable[[], Iterator[np.ndarray]], n: int, seed: int):
    """The index over `n` vectors, which each call of `vectors` yields shard by shard."""
    faiss_index = _empty_index(index, width)
    if not faiss_index.is_trained:
        sample = _sample(vectors(), n, _n_training(faiss_index, n), seed)
        try:
            faiss_index.train(sample)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0].rpartition(": ")[2]
            raise InputError(f"index {index!r} cannot be trained on {len(sample)} vectors ({reason})") from error
    flat = _faiss().downcast_index(faiss_index.storage) if hasattr(faiss_index, "hnsw") else faiss_index
    if hasattr(flat, "codes"):  # reserved at once: grown shard by shard it would be copied, twice in memory
        flat.codes.resize(n * flat.code_size)
        flat.codes.resize(0)
    for shard in vectors():
        faiss_index.add(shard)
    ivf = _faiss().try_extract_index_ivf(faiss_index)
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


def _kept_index(key: str, build: Callable):
    """The index stored under `key`, built and stored when it is missing or unreadable."""
    faiss = _faiss()
    path = paths.CACHE / "indexes" / f"{key}.faiss"
    if path.is_file():
        try:
            return faiss.read_index(str(path))
        except RuntimeError:
            pass  # damaged: built again
    faiss_index = build()
    with atomic_path(path) as temporary:
        faiss.write_index(faiss_index, str(temporary))
    return faiss_index


def _set_search_effort(faiss_index, search_effort: int | None) -> None:
    ivf = _faiss().try_extract_index_ivf(faiss_index)
    if ivf:
        ivf.nprobe = search_effort
    elif hasattr(faiss_index, "hnsw"):
        faiss_index.hnsw.efSearch = search_effort


# --- encoding ---------------------------------------------------------------------------------------------------------


def encode(encoder: Encoder, texts: list[str], label: str = "texts", use_cache: bool = True) -> np.ndarray:
    """Vectors of the texts, (n, D) float32, in the order given.

    Results are kept by content: the same model, dtype, length limit and texts are encoded once. An encoder that is
    being trained has no sha256 of its own yet: pass `use_cache=False`.
    """
    if not use_cache:
        return _encode(encoder, texts, label)
    shards = [
        _encode_shard(encoder, texts[start : start + SHARD_SIZE], _shard_label(label, start, len(texts)))
        for start in range(0, max(1, len(texts)), SHARD_SIZE)
    ]
    return shards[0] if len(shards) == 1 else np.concatenate(shards)


def encode_with_dropout(encoder: Encoder, texts: list[str], seed: int) -> np.ndarray:
    """As `encode`, but in training mode: a fault, made to be shown. The encoder itself stays as it is."""
    import torch

    faulty = replace(encoder, model=copy.deepcopy(encoder.model).train())
    device = encoder.model.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        return _encode(faulty, texts, "texts with dropout")


def _encode_shard(encoder: Encoder, texts: list[str], label: str) -> np.ndarray:
    """Vectors of at most SHARD_SIZE texts, from the cache where they are there."""
    return cached_array("embeddings", _key(encoder, texts), lambda: _encode(encoder, texts, label))


def _key(encoder: Encoder, texts: list[str]) -> str:
    """Digest of all that the vectors depend on, the code included."""
    parameter = next(encoder.model.parameters())
    settings = f"{parameter.dtype} {parameter.device.type} {encoder.pooling} {encoder.normalise} {encoder.max_length}"
    return sha256_text(_ENCODING_CODE, encoder.sha256, settings, *texts)


def _shard_label(label: str, start: int, n: int) -> str:
    return label if n <= SHARD_SIZE else f"{label} {start + 1:,} to {min(start + SHARD_SIZE, n):,} of {n:,}"


def _encode(encoder: Encoder, texts: list[str], label: str) -> np.ndarray:
    import torch

    if not texts:
        raise InputError("nothing to encode: the list of texts is empty")
    token_ids = encoder.tokenizer(texts, truncation=True, max_length=encoder.max_length)["input_ids"]
    batch_tokens = BATCH_TOKENS if encoder.model.device.type == "cpu" else GPU_BATCH_TOKENS
    vectors = None
    with torch.inference_mode(), progress_bar(len(texts), f"Encoding {label}") as progress:
        for rows in batches_by_length([len(ids) for ids in token_ids], batch_tokens):
            pooled = embed(encoder, [token_ids[row] for row in rows]).float().cpu().numpy()
            if vectors is None:
                vectors = np.empty((len(texts), pooled.shape[1]), dtype=np.float32)
            vectors[rows] = pooled
            progress.update(len(rows))
    return vectors


def embed(encoder: Encoder, token_ids: list[list[int]]):
    """Vectors (B, D) of one batch of tokenised texts, as a tensor that gradients flow through."""
    import torch

    device = encoder.model.device
    batch = encoder.tokenizer.pad({"input_ids": token_ids}, return_tensors="pt").to(device)
    output = encoder.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    if encoder.pooling == "pooler":
        pooled = output.pooler_output
    elif encoder.pooling == "cls":
        pooled = output.last_hidden_state[:, 0]
    else:
        mask = batch["attention_mask"].unsqueeze(-1)  # (B, T, 1)
        pooled = (output.last_hidden_state.float() * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(pooled.float(), dim=-1) if encoder.normalise else pooled


def batches_by_length(lengths: list[int], batch_tokens: int) -> Iterator[list[int]]:
    """Row numbers of batches of similar length, longest first, each of at most `batch_tokens` padded tokens.

    Longest first: the batch that needs the most memory fails at once, not at the end.
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


def _require_corpus(corpus: dict[str, Passage]) -> None:
    if not corpus:
        raise InputError("the corpus is empty: there is nothing to search")


def _require_questions(questions: list[str], n_docs: int) -> None:
    if not questions:
        raise InputError("nothing to search for: the list of questions is empty")
    if n_docs < 1:
        raise InputError(f"n_docs = {n_docs}: ask for at least 1 passage")


# What the keys of the cache hold of this module, as it was when it was imported.
_ENCODING_CODE = sha256_source(_encode, embed, batches_by_length)
_INDEX_CODE = sha256_source(_empty_index, _n_training, _fill_index, _sample)
