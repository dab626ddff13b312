"""08: its method cells are what the library computes; the same questions for all systems; a folder will do."""

import notebook_runs
import numpy as np
import pytest

from nbutils import pilot

NOTEBOOK = "08_rag_or_finetune"
FACTBOOK_ALONE = {"trained_in", "changed_facts", "monitoring", "house_style"}  # figures


@pytest.fixture(scope="module")
def method():
    return notebook_runs.methods(NOTEBOOK)


def test_the_alarm_is_the_library_s(method):
    rng = np.random.default_rng(0)
    for p0, p1, gamma in ((0.8, 0.4, 50), (0.5, 0.25, 500)):
        y = rng.random(400) < p1
        sums = method["cusum"](y, p0, p1)
        assert min(sums) >= 0 and len(sums) == 400
        first = next((t for t, total in enumerate(sums) if total >= np.log(gamma)), None)
        assert first is not None and first == pilot.cusum_alarm(y, p0, p0 - p1, gamma)
        # Planted fault: the probabilities exchanged.
        assert method["cusum"](y, p1, p0) != sums


def test_the_costs_are_the_library_s(method):
    shape = pilot.LARGER_MODELS["Llama-3.1-8B"]
    layer = pilot.n_parameters(pilot.with_layers(shape, 1)) - pilot.n_parameters(pilot.with_layers(shape, 0))
    for n_tokens, before in ((100, 0), (1, 300)):
        by_hand = method["flops"](
            n_tokens, before, shape.n_layers, layer, shape.n_heads * shape.head_dim, shape.hidden_size, shape.vocab_size
        )
        assert by_hand == pilot.forward_flops(shape, n_tokens, before)
    assert method["flops"](1, 301, 32, layer, 4096, 4096, 0) > method["flops"](1, 300, 32, layer, 4096, 4096, 0)


@pytest.mark.notebook
def test_all_systems_are_asked_the_same(smoke_run):
    found, _ = smoke_run(NOTEBOOK)
    same = [found["scores"][f"exact_match/{system}/held out"]["ids"] for system in pilot.SYSTEMS]
    assert all(ids == same[0] for ids in same)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Parameters of a small run, and its record."""
    folder = tmp_path_factory.mktemp("small")
    parameters, _ = notebook_runs.small_parameters(NOTEBOOK, folder)
    return parameters, notebook_runs.execute(NOTEBOOK, folder / "base", **parameters)[0]


@pytest.mark.notebook
def test_a_folder_of_questions_will_do(small, smoke_run):
    (_, base), (smoke, _) = small, smoke_run(NOTEBOOK)
    assert smoke["figures"].keys() > FACTBOOK_ALONE
    assert base["figures"].keys() == smoke["figures"].keys() - FACTBOOK_ALONE
    assert "08.hallucination" in base["claims"] and "08.style" not in base["claims"]


@pytest.mark.slow
@pytest.mark.notebook
def test_without_gold_passages_nothing_is_unsupported(small, tmp_path):
    parameters, _ = small
    open_questions = notebook_runs.without_gold(parameters["dataset"], tmp_path / "open")
    found, _ = notebook_runs.execute(NOTEBOOK, tmp_path / "out", **{**parameters, "dataset": open_questions})
    assert not any(name.startswith("unsupported") for name in found["scores"])
