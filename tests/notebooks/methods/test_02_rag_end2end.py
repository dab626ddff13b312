"""02: its method cell is what the library computes; the large presets with small BART and DPR."""

import dataclasses

import checkpoints
import notebook_runs
import numpy as np
import pytest

from nbutils import paths
from nbutils.presets import rag_end2end
from nbutils.presets.learning import Pool

NOTEBOOK = "02_rag_end2end"


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
@pytest.mark.parametrize("architecture", ["bart", pytest.param("llama", marks=pytest.mark.slow)])
def test_the_gpu_preset_with_small_models_and_dpr(tmp_path, monkeypatch, architecture):
    """All cells, with full fine-tuning, dropout, two towers of DPR and two actors, as `gpu` and `paper` have them.

    A llama stands for `-p generator=gemma-3-270m`: it has a decoder alone.
    """
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    paper = rag_end2end.PRESETS["paper"]
    sources = dataclasses.replace(
        paper.sources,
        dataset=notebook_runs.small_data(tmp_path / "questions"),
        question_encoder=checkpoints.dpr(tmp_path / "question", "question", positions=512),
        passage_encoder=checkpoints.dpr(tmp_path / "passage", "context", seed=1, positions=512),
        generator=getattr(checkpoints, architecture)(tmp_path / "generator", positions=1024),
    )
    steps = {"n_steps": 4, "batch_size": 2, "warmup_steps": 1}
    small = dataclasses.replace(
        paper,
        sources=sources,
        **{name: dataclasses.replace(getattr(paper, name), **steps) for name in ("retriever", "more", "joint")},
        sft=dataclasses.replace(paper.sft, **steps, evaluate_every=2),
        pool=Pool(n_questions=8, n_drawn=6, n_candidates=3),
        n_docs=2,
        n_dev=3,
        n_questions=4,
        n_retrieval=8,
        n_statements=4,
        refresh_every=2,
        joint_refresh_every=1,
        max_new_tokens=4,
    )
    monkeypatch.setitem(rag_end2end.PRESETS, "smoke", small)
    kept, names = notebook_runs.execute(NOTEBOOK, tmp_path)
    appendix = {"staleness", "refresh", "questions", "joint", "statements", "untitled", "dropout"}
    assert {"retrieval", "main", *appendix} <= kept["figures"].keys()
    assert kept["models"]["encoder"]["sha256"] != kept["models"]["passage encoder"]["sha256"]
    learned = {system.passage_encoder.sha256 for (name, _), system in names["systems"].items() if "end2end" in name}
    assert learned and names["passage_encoder"].sha256 not in learned and names["lower"] is None
    assert names["joint"].passage_encoder.sha256 not in learned
    assert names["preset"].joint.dropout and names["preset"].joint.lora_rank is None
    assert names["ages"] == {"in the process": [0, 0, 0], "by actors": [0, 1, 1]}
    import ray

    ray.shutdown()
