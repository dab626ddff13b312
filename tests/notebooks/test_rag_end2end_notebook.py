"""Notebook 02 at smoke and, cell by cell, with small BART and DPR; every parameter matters; its equations hold."""

import dataclasses

import checkpoints
import matplotlib
import notebook_runs
import numpy as np
import pytest

from nbutils import paths
from nbutils.presets import rag_end2end

NOTEBOOK = "02_rag_end2end"
FIGURES = {"main", "staleness", "towers", "dropout", "map"}


def test_the_method_cell_is_what_the_library_computes():
    import torch

    from nbutils import rag

    method, rng = notebook_runs.methods(NOTEBOOK), np.random.default_rng(0)
    d, q, tau = rng.normal(size=(4, 8)), rng.normal(size=8), 0.7
    token_logprobs = np.log(rng.uniform(0.05, 1, size=(4, 6)))  # K x N
    p_z, p_y = method["prior"](d @ q, tau), np.exp(token_logprobs)
    passages = torch.tensor(d, requires_grad=True)
    log_prior = rag.doc_logprobs((passages @ torch.tensor(q))[None], tau)
    mask = torch.ones(1, 6, dtype=torch.bool)
    loss = -rag.rag_token_logprobs(log_prior, torch.tensor(token_logprobs)[None], mask).sum()
    loss.backward()
    assert np.allclose(np.log(p_z), log_prior[0].detach(), atol=1e-5)
    assert method["loss"](p_z, p_y) == pytest.approx(loss.item(), abs=1e-5)
    gradient = method["passage_gradient"](p_z, p_y, q, tau)
    assert np.allclose(gradient, passages.grad, atol=1e-5)
    # Planted faults: the temperature dropped, the posterior left out.
    assert not np.allclose(method["passage_gradient"](p_z, p_y, q, 1.0), passages.grad, atol=1e-2)
    assert not np.allclose(6 * p_z[:, None] * q / tau, passages.grad, atol=1e-2)


@pytest.mark.notebook
def test_smoke_with_the_embedded_models(tmp_path):
    notebook_runs.check_smoke(NOTEBOOK, tmp_path, FIGURES)


def test_every_parameter_is_tried_in_this_file():
    assert notebook_runs.parameter_names(NOTEBOOK) == {
        "scale", "seed", "dataset", "generator", "n_seeds", "train_steps", "refresh_every", "out_dir",
    }  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Parameters that name a small random model and a small data set, and the record of a run with them."""
    folder = tmp_path_factory.mktemp("small")
    parameters = {
        "dataset": notebook_runs.small_data(folder / "one"),
        "generator": checkpoints.llama(folder / "generator", positions=1024),
        "train_steps": 3,
    }
    others = {
        "seed": 1,
        "dataset": notebook_runs.small_data(folder / "other", drop=1),
        "generator": checkpoints.bart(folder / "other_generator", positions=1024),
        "n_seeds": 2,
        "train_steps": 4,
        "refresh_every": 2,
    }
    return parameters, others, notebook_runs.results(NOTEBOOK, folder / "base", **parameters)


@pytest.mark.slow  # with its set-up over a minute and a half: the suite has twelve, and 00 does the same
@pytest.mark.notebook
def test_two_runs_with_one_seed_give_one_record(small, tmp_path):
    parameters, _, base = small
    assert notebook_runs.results(NOTEBOOK, tmp_path, **parameters) == base


@pytest.mark.slow  # several minutes: the suite has twelve
@pytest.mark.notebook
@pytest.mark.parametrize("name", ["seed", "dataset", "generator", "n_seeds", "train_steps", "refresh_every"])
def test_every_parameter_changes_the_record(small, tmp_path, name):
    """Not the parameter's own entry, but what was measured, or of a model or a data set its checksum."""
    parameters, others, base = small
    changed = notebook_runs.results(NOTEBOOK, tmp_path, **{**parameters, name: others[name]})
    section = {"generator": "models", "dataset": "data", "refresh_every": "matrices"}.get(name, "series")
    assert changed[section] != base[section]


@pytest.mark.notebook
def test_the_gpu_preset_with_small_bart_and_dpr(tmp_path, monkeypatch):
    """All cells, with full fine-tuning, dropout, two towers of DPR and two actors, as `gpu` and `paper` have them."""
    matplotlib.use("Agg")
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    paper = rag_end2end.PRESETS["paper"]
    sources = dataclasses.replace(
        paper.sources,
        dataset=notebook_runs.small_data(tmp_path / "questions"),
        question_encoder=checkpoints.dpr(tmp_path / "question", "question", positions=512),
        passage_encoder=checkpoints.dpr(tmp_path / "passage", "context", seed=1, positions=512),
        generator=checkpoints.bart(tmp_path / "generator", positions=1024),
    )
    joint = dataclasses.replace(paper.joint, n_steps=3, batch_size=2, warmup_steps=1)
    small = dataclasses.replace(
        paper, sources=sources, joint=joint, n_docs=2, n_questions=4, n_retrieval=8, refresh_every=2, max_new_tokens=4
    )
    monkeypatch.setitem(rag_end2end.PRESETS, "smoke", small)
    names = {}
    for source in notebook_runs.cells(NOTEBOOK):
        if source.startswith("scale: str"):
            source += f'\nscale, out_dir = "smoke", {str(tmp_path)!r}'
        exec(compile(source, "cell", "exec"), names)
    kept = names["record"]
    assert kept["figures"].keys() == FIGURES and names["record_path"].is_file()
    assert kept["models"]["encoder"]["sha256"] != kept["models"]["passage encoder"]["sha256"]
    assert {encoder.sha256 for encoder in names["learned"].values()}.isdisjoint({names["passage_encoder"].sha256})
    assert names["with_statements"].dropout and names["with_statements"].lora_rank is None
    import ray

    ray.shutdown()
