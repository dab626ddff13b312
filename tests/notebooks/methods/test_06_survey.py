"""06: its method cells are what the library computes; the large preset with small models; other data."""

import dataclasses

import checkpoints
import notebook_runs
import numpy as np
import pytest

from nbutils import paths, retrieval
from nbutils.errors import InputError
from nbutils.presets import load_preset, survey

NOTEBOOK = "06_survey"


def test_the_method_cells_are_what_the_library_computes():
    import torch

    method, rng = notebook_runs.methods(NOTEBOOK), np.random.default_rng(0)
    distances = np.sort(rng.random((50, 8)) * 9, axis=1)
    tokens = rng.integers(3, size=(50, 8))
    labels = rng.integers(3, size=50)
    by_library = retrieval.knn_probabilities(distances, tokens, labels, 2.0)
    by_hand = [method["p_kNN"](*row, 2.0) for row in zip(labels, distances, tokens, strict=True)]
    np.testing.assert_allclose(by_library, by_hand)
    p_lm = rng.random(50)
    mixed = retrieval.interpolate(np.log(p_lm), (by_library, 0.3))
    np.testing.assert_allclose(np.exp(mixed), method["p_mixed"](np.array(by_hand), p_lm, 0.3))
    # Planted faults: another temperature, the two shares exchanged.
    assert not np.allclose(
        by_library, [method["p_kNN"](*row, 1.0) for row in zip(labels, distances, tokens, strict=True)]
    )
    assert not np.allclose(np.exp(mixed), method["p_mixed"](np.array(by_hand), p_lm, 0.7))
    assert float(method["mean_nll"](torch.tensor([-1.0, -3.0]))) == 2.0


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Function folder of questions -> the smoke preset is the large one, with small models over that folder."""
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")

    def small(dataset):
        large, smoke = survey.PRESETS["gpu"], survey.PRESETS["smoke"]
        encoder = checkpoints.minilm(tmp_path / "encoder")
        sources = dataclasses.replace(
            large.sources,
            dataset=dataset,
            question_encoder=encoder,
            passage_encoder=encoder,
            generator=checkpoints.llama(tmp_path / "generator", positions=2048),
        )
        changes = {
            field.name: getattr(smoke, field.name) for field in dataclasses.fields(smoke) if field.name != "sources"
        }
        monkeypatch.setitem(survey.PRESETS, "smoke", dataclasses.replace(large, sources=sources, **changes))

    return small


@pytest.mark.notebook
def test_the_gpu_preset_with_a_small_llama(small, tmp_path):
    small(notebook_runs.small_data(tmp_path / "questions"))
    found, names = notebook_runs.execute(NOTEBOOK, tmp_path)
    figures = {"systems", "look_up_or_learn", "places", "answers", "choices", "keys", "search", "kinds"}
    assert figures <= found["figures"].keys()
    assert found["skipped"].keys() >= {
        "06.knn_over_lm_wikipedia",
        "06.large_lambda_harms_wikipedia",
    }  # no second corpus
    # No test document is looked up or learned.
    read = {split: {w.subject for w in names["windows"]["domain", split]} for split in ("train", "dev", "test")}
    assert read["test"] and not read["test"] & (read["train"] | read["dev"])
    # Those of the answers are: they hold what is asked, the null's do not.
    gold, others = (names["passage_ids_of"][name].keys() for name in ("kNN-LM", "other countries"))
    asked = names["questions"]["single facts", "test"]
    assert all(gold >= set(item.gold_passages) and not others & set(item.gold_passages) for item in asked)
    # Were they looked up, the test windows would be no surprise any more.
    own = names["test"]
    distances, rows = retrieval.nearest(own.keys["ffn_input"], own.keys["ffn_input"], 1)
    p = retrieval.knn_probabilities(distances, own.tokens[rows], own.tokens, names["knn"].temperature)
    leaked = retrieval.perplexity(retrieval.interpolate(own.logprobs, (p, 0.9)))
    assert leaked < 1.5 < found["metrics"]["perplexity/kNN-LM"]["value"]


def test_questions_without_gold_passages_are_refused_before_any_work(small, tmp_path):
    folder = notebook_runs.small_data(tmp_path / "questions")
    small(notebook_runs.without_gold(folder, tmp_path / "open"))
    with pytest.raises(InputError, match="no gold passages, so no documents to test on"):
        notebook_runs.execute(NOTEBOOK, tmp_path)


def test_windows_without_room_for_a_query_are_refused_before_any_work():
    with pytest.raises(InputError, match="no piece of 64 tokens has text before it"):
        load_preset(NOTEBOOK, "tiny", {"n_tokens": 64})
