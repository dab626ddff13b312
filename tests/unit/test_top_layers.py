"""Encoders of which the top layers learn, and encoders that learn in bfloat16: against the plain training."""

import dataclasses

import checkpoints
import numpy as np
import pytest
from substitution import substitute, uncached
from test_ra_dit import IDS, LM, QUERIES
from test_training import (
    CORPUS,
    EXAMPLES,
    SHORT,
    TEMPERATURE,
    cache_folder,
    generators,
    interrupted,
    llama,
    load,
    require_same,
    runs,
    undisturbed,
    weights,
)

from nbutils import models, retrieval, training
from nbutils.errors import InputError
from nbutils.models import runtime as runtime_module
from nbutils.training import TrainingSettings
from nbutils.training import top_layers as top_layers_module

__all__ = ["cache_folder", "generators", "llama"]  # fixtures
SIZES = {
    "vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 160, "initializer_range": 0.25, "pad_token_id": checkpoints.PAD,
}  # fmt: skip
TOP = TrainingSettings(8, 4, encoder_learning_rate=1e-3, checkpoint_every=3, question_layers=2, passage_layers=1)


def encoder_of(architecture, folder, seed=0):
    """An encoder of three layers, the tokenizer that of a small BERT."""
    import torch
    import transformers

    folder = checkpoints.minilm(folder)
    torch.manual_seed(seed)
    config = getattr(transformers, f"{architecture}Config")(**SIZES)
    if architecture == "DPR":
        model = transformers.DPRQuestionEncoder(config)
    else:
        model = getattr(transformers, f"{architecture}Model")(config)
    plain = load(models.load_encoder, folder)
    pooling = "pooler" if architecture == "DPR" else "mean"
    return dataclasses.replace(plain, sha256=f"{architecture} {seed}", model=model.eval(), pooling=pooling)


@pytest.fixture(params=["Bert", "Roberta", "MPNet", "DPR"])
def encoders(request, tmp_path):
    return encoder_of(request.param, tmp_path / "question"), encoder_of(request.param, tmp_path / "passage", 1)


@pytest.fixture
def bert(tmp_path):
    return encoder_of("Bert", tmp_path / "question"), encoder_of("Bert", tmp_path / "passage", 1)


def learn(encoders, settings=TOP):
    question_encoder, passage_encoder = encoders
    index = uncached(retrieval.build_dense, passage_encoder, CORPUS)
    options = {"temperature": TEMPERATURE, "passage_encoder": passage_encoder}
    return training.train_lsr(question_encoder, index, CORPUS, QUERIES, IDS, LM, settings, **options)


def without_keeping(patch, run):
    """The lower layers' weights stay as they are, but what they make of a text is computed in every step."""
    substitute(patch, top_layers_module, "split_encoder", lambda model, n_layers: None)
    return run()


def moved(before, after):
    before, after = weights(before), weights(after)
    return {name for name in before if not (before[name] == after[name]).all()}


def test_kept_activations_give_what_plain_training_gives(tmp_path, encoders):
    kept, plain = runs(tmp_path, lambda: learn(encoders), undisturbed, without_keeping)
    assert kept.history["loss"] == pytest.approx(plain.history["loss"], abs=1e-5)
    for part, before, n_frozen in (("question_encoder", encoders[0], 1), ("passage_encoder", encoders[1], 2)):
        one, other = getattr(kept, part).model, getattr(plain, part).model
        # Adam makes full steps of gradients that are zero but for rounding: attention keys have such biases.
        names = [name for name in weights(one) if not name.endswith(("key.bias", "attn.k.bias"))]
        assert max((weights(one)[name] - weights(other)[name]).abs().max() for name in names) < 1e-5
        assert moved(before.model, one) == moved(before.model, other)
        layers = {name.partition("layer.")[2].split(".")[0] for name in moved(before.model, one) if "layer." in name}
        assert layers == {str(number) for number in range(n_frozen, 3)}
        assert not any("embeddings" in name or "relative" in name for name in moved(before.model, one))
    whole = learn(encoders, dataclasses.replace(TOP, question_layers=None, passage_layers=None))
    assert whole.history["loss"][-1] != pytest.approx(kept.history["loss"][-1], abs=1e-5)


def test_the_lower_layers_read_every_text_once(monkeypatch, bert):
    read, split = [], top_layers_module.split_encoder

    def counted(model, n_layers):
        top = split(model, n_layers)

        def lower(input_ids, attention_mask):
            read.append(len(input_ids))
            return top.lower(input_ids=input_ids, attention_mask=attention_mask)

        return dataclasses.replace(top, lower=lower)

    substitute(monkeypatch, top_layers_module, "split_encoder", counted)
    learn(bert)
    assert sum(read) == len(set(QUERIES)) + len(CORPUS)


def test_dropout_is_in_the_layers_that_learn_alone(tmp_path, bert):
    """What is kept is computed without; so an interrupted run ends as one that was not."""
    settings = dataclasses.replace(TOP, dropout=True)
    whole, *rest = runs(tmp_path, lambda: learn(bert, settings), undisturbed, interrupted(2), interrupted(7))
    for other in rest:
        require_same(whole, other)
    assert learn(bert).history["loss"] != whole.history["loss"]


def test_joint_and_end_to_end_training_know_them_too(llama, bert):
    settings = dataclasses.replace(SHORT, n_steps=3, question_layers=1, passage_layers=1)
    index = retrieval.build_dense(bert[1], CORPUS)
    joint = training.train_rag(llama, bert[0], index, CORPUS, EXAMPLES, settings, 3, temperature=TEMPERATURE)
    whole = training.train_end2end(llama, *bert, CORPUS, EXAMPLES, settings, 3, 2, temperature=TEMPERATURE)
    for before, after in (
        (bert[0], joint.question_encoder), (bert[0], whole.question_encoder), (bert[1], whole.passage_encoder)
    ):  # fmt: skip
        names = moved(before.model, after.model)
        assert names and all("layer.2." in name or "pooler" in name for name in names)
    vectors = whole.index.faiss_index.reconstruct_n(0, len(CORPUS))
    texts = [retrieval.passage_text(passage) for passage in CORPUS.values()]
    assert np.array_equal(vectors, uncached(models.encode, whole.passage_encoder, texts))


def test_what_cannot_be_divided_is_refused_in_a_line(tmp_path, bert):
    import transformers

    for n_layers in (0, 4):
        with pytest.raises(InputError, match=rf"^question_layers = {n_layers}: give 1 to 3, the layers of .*, or None"):
            learn(bert, dataclasses.replace(TOP, question_layers=n_layers))
    config = transformers.DistilBertConfig(vocab_size=400, dim=32, n_layers=3, n_heads=2, hidden_dim=64)
    odd = dataclasses.replace(bert[1], model=transformers.DistilBertModel(config).eval(), sha256="odd")
    with pytest.raises(InputError, match=r"is a DistilBertModel, which is not built as BERT is: give pass"):
        learn((bert[0], odd))


# In bfloat16


def test_encoders_learn_in_bfloat16_as_in_float32(monkeypatch, tmp_path):
    """Real MiniLM, both encoders, a switch in place of the machine's units: the loss curves agree within 2 %."""
    import torch

    encoder = load(models.load_encoder, "minilm")
    settings = TrainingSettings(8, 3, encoder_learning_rate=3e-5)
    (plain,) = runs(tmp_path, lambda: learn((encoder, encoder), settings), undisturbed)
    substitute(monkeypatch, runtime_module, "pick_dtype", lambda device: torch.bfloat16)
    fast = learn((encoder, encoder), settings)
    assert fast.history["loss"] != plain.history["loss"] and fast.history["loss"][-1] < fast.history["loss"][0]
    assert fast.history["loss"] == pytest.approx(plain.history["loss"], rel=0.02)
    dtypes = {p.dtype for which in (fast.question_encoder, fast.passage_encoder) for p in which.model.parameters()}
    assert dtypes == {torch.float32}
