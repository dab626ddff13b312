"""Notebook 08 at smoke and with small models; every parameter matters; its equations are what the library computes."""

import checkpoints
import notebook_runs
import numpy as np
import pytest

from nbutils import pilot

NOTEBOOK = "08_rag_or_finetune"
FACTBOOK_ALONE = {"trained_in", "changed_facts", "monitoring", "house_style"}  # figures
FIGURES = {
    "systems", "hallucination", "learning_curve", "forgetting", "accuracy_and_cost", "decision_map", *FACTBOOK_ALONE,
}  # fmt: skip


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
def test_smoke_with_the_embedded_models(tmp_path):
    first = notebook_runs.check_smoke(NOTEBOOK, tmp_path, FIGURES)
    same = [first["scores"][f"exact_match/{system}/held out"]["ids"] for system in pilot.SYSTEMS]
    assert all(ids == same[0] for ids in same)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Parameters that name a small random model and a small data set, and the record of a run with them."""
    folder = tmp_path_factory.mktemp("small")
    parameters = {
        "dataset": notebook_runs.small_data(folder / "one"),
        "generator": checkpoints.llama(folder / "generator", positions=2048),
    }
    others = {
        "seed": 1,
        "dataset": notebook_runs.small_data(folder / "other", drop=1),
        "generator": checkpoints.llama(folder / "other_generator", positions=2048, seed=1),
        "n_seeds": 2,
        "tuning_steps": 4,
        "worth": 1e-9,
    }
    return parameters, others, notebook_runs.results(NOTEBOOK, folder / "base", **parameters)


def test_every_parameter_is_tried_in_this_file():
    assert notebook_runs.parameter_names(NOTEBOOK) == {
        "scale", "seed", "dataset", "generator", "n_seeds", "tuning_steps", "worth", "out_dir",
    }  # fmt: skip


@pytest.mark.notebook
def test_a_folder_of_questions_will_do(small):
    _, _, base = small
    assert base["figures"].keys() == FIGURES - FACTBOOK_ALONE
    assert "08.hallucination" in base["claims"] and "08.style" not in base["claims"]


@pytest.mark.slow  # half a minute each: the suite has twelve minutes
@pytest.mark.notebook
def test_two_runs_with_one_seed_give_one_record(small, tmp_path):
    parameters, _, base = small
    assert notebook_runs.results(NOTEBOOK, tmp_path, **parameters) == base


@pytest.mark.slow
@pytest.mark.notebook
def test_questions_without_gold_passages_will_do(small, tmp_path):
    parameters, _, _ = small
    open_questions = notebook_runs.without_gold(parameters["dataset"], tmp_path / "open")
    found = notebook_runs.results(NOTEBOOK, tmp_path / "out", **{**parameters, "dataset": open_questions})
    assert found["figures"].keys() == FIGURES - FACTBOOK_ALONE
    assert not any(name.startswith("unsupported") for name in found["scores"])


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.parametrize("name", ["seed", "dataset", "generator", "n_seeds", "tuning_steps", "worth"])
def test_every_parameter_changes_the_record(small, tmp_path, name):
    """Not the parameter's own entry, but what was measured, or where random models fail alike, a checksum."""
    parameters, others, base = small
    changed = notebook_runs.results(NOTEBOOK, tmp_path, **{**parameters, name: others[name]})
    section = {"generator": "models", "dataset": "data", "worth": "matrices"}.get(name, "series")
    assert changed[section] != base[section]
