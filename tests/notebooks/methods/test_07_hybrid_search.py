"""07: its method cell is what the library computes; the large preset with a small cross-encoder; other data."""

import dataclasses

import checkpoints
import notebook_runs
import numpy as np
import pytest

from nbutils import paths, retrieval
from nbutils.errors import InputError
from nbutils.presets import hybrid_search

NOTEBOOK = "07_hybrid_search"


def rankings(rng, n_lists=2, depth=8):
    """Ids and scores as `search` returns them, for one question."""
    found = []
    for _ in range(n_lists):
        ids = rng.choice([f"p{i}" for i in range(12)], depth, replace=False)[None]
        found.append((ids, -np.sort(-rng.normal(size=(1, depth)), axis=1).astype(np.float32)))
    return found


def test_the_method_cell_is_what_the_library_computes():
    method, rng = notebook_runs.methods(NOTEBOOK), np.random.default_rng(0)
    for _ in range(20):
        found = rankings(rng)
        for k in (2, 60):
            by_hand = method["rrf"]([ids[0].tolist() for ids, _ in found], k)
            ids, scores = retrieval.fuse(found, k=k)
            there = ids[0] != ""
            assert [by_hand[id_] for id_ in ids[0][there]] == pytest.approx(scores[0][there].tolist(), rel=1e-6)
            assert len(by_hand) == there.sum()
        listed = [dict(zip(ids[0].tolist(), scores[0].tolist(), strict=True)) for ids, scores in found]
        by_hand = method["min_max"](listed, (0.3, 0.7))
        ids, scores = retrieval.fuse(found, "minmax", weights=(0.3, 0.7))
        there = ids[0] != ""
        assert [by_hand[id_] for id_ in ids[0][there]] == pytest.approx(scores[0][there].tolist(), abs=1e-6)
        # Planted faults: ranks from 0, weights exchanged.
        wrong = method["rrf"]([["none", *ids[0].tolist()] for ids, _ in found])
        assert wrong[ids[0][0]] != pytest.approx(method["rrf"]([ids[0].tolist() for ids, _ in found])[ids[0][0]])
        assert method["min_max"](listed, (0.7, 0.3)) != by_hand
    assert method["min_max"]([{"a": 2.0, "b": 2.0}], (0.5,)) == {"a": 0.5, "b": 0.5}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Function folder of questions -> the smoke preset is the large one, with small models over that folder."""
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")

    def small(dataset):
        large, smoke = hybrid_search.PRESETS["gpu"], hybrid_search.PRESETS["smoke"]
        encoder = checkpoints.minilm(tmp_path / "encoder")
        sources = dataclasses.replace(
            large.sources,
            dataset=dataset,
            question_encoder=encoder,
            passage_encoder=encoder,
            generator=checkpoints.llama(tmp_path / "generator", positions=2048),
        )
        sizes = ("n_queries", "n_dev", "depth", "depths", "n_likelihood", "likelihood_depth", "n_chunk_questions")
        sizes += ("chunk_sizes", "budgets", "n_answered", "n_several", "ks_answered", "n_reader_dev", "max_new_tokens")
        preset = dataclasses.replace(
            large,
            sources=sources,
            human_dataset=None,
            reranker=str(checkpoints.cross_encoder(tmp_path / "cross", positions=512)),
            sft=dataclasses.replace(smoke.sft),
            **{name: getattr(smoke, name) for name in sizes},
        )
        monkeypatch.setitem(hybrid_search.PRESETS, "smoke", preset)

    return small


@pytest.mark.notebook
def test_the_gpu_preset_with_a_small_cross_encoder(small, tmp_path):
    small(notebook_runs.small_data(tmp_path / "questions"))
    found, names = notebook_runs.execute(NOTEBOOK, tmp_path)
    assert {"types", "reranked", "chunks", "answers", "fusion", "depth", "boundaries"} <= found["figures"].keys()
    assert found["models"]["re-ranker"]["name"].endswith("cross")
    assert type(names["rerankers"]["main"]).__name__ == "CrossEncoder"
    # The null re-ranks for another question: other scores, the same passages.
    place = "main", "fact"
    for name in ("re-ranked", "re-ranked for another"):
        pairs = zip(names["found"][place]["Hybrid"], names["found"][place][name], strict=True)
        assert all(sorted(before) == sorted(after) for before, after in pairs)


@pytest.mark.notebook
def test_without_the_reranker_its_claims_are_skipped_and_say_so(small, tmp_path, monkeypatch):
    small(notebook_runs.small_data(tmp_path / "questions"))
    preset = dataclasses.replace(
        hybrid_search.PRESETS["smoke"], reranker="all-mpnet-base-v2", reranker_kind="bi-encoder"
    )
    monkeypatch.setitem(hybrid_search.PRESETS, "smoke", preset)  # the cache is empty: it was not fetched
    found, _ = notebook_runs.execute(NOTEBOOK, tmp_path)
    of_reranker = ("reranked_over_hybrid", "reranker_alone_over_hybrid", "larger_over_own_encoder")
    lacking = {f"07.{claim}" for claim in (*of_reranker, "reranked_over_keyword_em", "deeper_is_better")}
    lacking |= {"07.hybrid_over_keyword_people", "07.hybrid_over_vector_people"}  # no second corpus
    assert lacking == found["skipped"].keys() and "models fetch" in found["skipped"]["07.reranked_over_hybrid"]
    assert "07.hybrid_over_keyword" in found["claims"]


def test_questions_without_gold_passages_are_refused_before_any_search(small, tmp_path):
    folder = notebook_runs.small_data(tmp_path / "questions")
    small(notebook_runs.without_gold(folder, tmp_path / "open"))
    with pytest.raises(InputError, match="does not name the passages that answer its questions"):
        notebook_runs.execute(NOTEBOOK, tmp_path)
