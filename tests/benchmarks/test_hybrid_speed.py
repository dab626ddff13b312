"""Hybrid search as a ratio against sentence-transformers and a plain loop in the same run: `make benchmarks` prints it.

Both get the vectors of 1,000 questions and of the Factbook's passages, and the same keyword lists; compared is what
follows: the exact vector search and the fusion by reciprocal ranks. Encoding is common to both and left out.
"""

import statistics
import time

import numpy as np
import pytest
from substitution import substitute

from nbutils import data, models, retrieval
from nbutils.retrieval import dense as dense_module

N_QUERIES, DEPTH, ROUNDS = 1000, 50, 7


def seconds_in_turns(*functions):
    """Median seconds of each function, called in turns after one warm-up call each."""
    for function in functions:
        function()
    seconds = [[] for _ in functions]
    for _ in range(ROUNDS):
        for function, times in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


def unit_vectors(rng, n, width):
    vectors = rng.standard_normal((n, width), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def factbook():
    return data.load_dataset("factbook")


def test_hybrid_search_against_semantic_search_and_a_plain_loop(benchmark, factbook, monkeypatch):
    """3 times as fast is the aim, and is not reached on a processor (one thread of a Xeon with AVX-512: 0.6).

    Of the baseline's 115 ms, 21 are the matrix product, which nothing exact saves: the rest would have to take 17.
    Our search takes 150 ms there: the OpenBLAS inside faiss-cpu 1.15 does not know the processor and uses its
    slowest kernels. With OPENBLAS_CORETYPE=HASWELL in the environment it takes 50, and the ratio is 1.3 to 1.5.
    Fusing 100,000 ids takes as long as the loop (35 ms): reading and writing them as strings does. Asked for is that.
    """
    import torch
    from sentence_transformers import util

    corpus, queries = factbook.corpus, [example.query for example in factbook.examples[:N_QUERIES]]
    encoder, passage_ids = models.load_encoder("minilm"), list(corpus)
    rng, width = np.random.default_rng(0), models.embedding_dim(encoder)
    passages, questions = unit_vectors(rng, len(corpus), width), unit_vectors(rng, N_QUERIES, width)
    keyword = retrieval.search(retrieval.build_bm25(corpus), queries, DEPTH)
    keyword_lists = retrieval.found(keyword[0])
    dense = retrieval.DenseRetriever(retrieval.build_dense(encoder, corpus, vectors=passages), encoder)
    substitute(monkeypatch, dense_module, "encode", lambda encoder, texts, label: questions)
    tensors = torch.from_numpy(questions), torch.from_numpy(passages)

    def our_search():
        return retrieval.search(dense, queries, DEPTH)

    def their_search():
        return util.semantic_search(*tensors, top_k=DEPTH, score_function=util.dot_score)

    ours_found, theirs_found = our_search(), their_search()

    def our_fusion(found=ours_found):
        return retrieval.fuse([keyword, found], n_docs=DEPTH)

    def their_fusion(found=theirs_found):
        fused = []
        for keywords, hits in zip(keyword_lists, found, strict=True):
            scores = {}
            for ranked in (keywords, [passage_ids[hit["corpus_id"]] for hit in hits]):
                for rank, id_ in enumerate(ranked, start=1):
                    scores[id_] = scores.get(id_, 0.0) + 1 / (60 + rank)
            fused.append(sorted(scores.items(), key=lambda item: -item[1])[:DEPTH])
        return fused

    def ours():
        return our_fusion(our_search())

    def theirs():
        return their_fusion(their_search())

    for row, expected in zip(ours()[1], theirs(), strict=True):
        np.testing.assert_allclose(row, [score for _, score in expected], rtol=1e-6)
    names = ("hybrid", "search", "fusion")
    seconds = seconds_in_turns(ours, theirs, our_search, their_search, our_fusion, their_fusion)
    ratios = {name: theirs / ours for name, ours, theirs in zip(names, seconds[::2], seconds[1::2], strict=True)}
    benchmark.pedantic(ours, rounds=1)
    benchmark.extra_info.update({name: round(ratio, 2) for name, ratio in ratios.items()})
    print(f"\n{len(corpus)} passages, {N_QUERIES} queries, {DEPTH} of each: times as fast", end=" ")
    print(", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()), [f"{s * 1e3:.0f} ms" for s in seconds])
    assert ratios["fusion"] > 0.6
