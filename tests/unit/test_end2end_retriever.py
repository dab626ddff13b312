"""Both encoders learn over a pool of kept likelihoods: against end-to-end training itself, and what each part does."""

import contextlib
import dataclasses
from types import SimpleNamespace
from typing import get_args, get_type_hints

import numpy as np
import pytest
from substitution import uncached
from test_pool_training import ONE_STEP, POOL, PROMPTS
from test_ra_dit import IDS, LEARNING, QUERIES, recall
from test_top_layers import encoder_of
from test_training import (
    ANSWERS,
    CORPUS,
    EXAMPLES,
    SHORT,
    TEMPERATURE,
    cache_folder,
    distance,
    encoder,
    generators,
    index,
    interrupted,
    llama,
    reader,
    require_same,
    run_folder,
    runs,
    undisturbed,
)

from nbutils import models, rag, retrieval, training
from nbutils.errors import InputError
from nbutils.training import TrainingSettings, end2end_retriever
from nbutils.training.end2end_retriever import SearchedPool
from nbutils.training.rag_retriever import MarginalLoss

__all__ = ["cache_folder", "encoder", "generators", "index", "llama", "reader"]  # fixtures
TEXTS = [retrieval.passage_text(passage) for passage in CORPUS.values()]
STEPS = TrainingSettings(n_steps=8, batch_size=4, encoder_learning_rate=1e-3, checkpoint_every=3)
LAYERED = dataclasses.replace(STEPS, passage_layers=1, question_layers=2)


@pytest.fixture
def learn(encoder, index):
    """Function pool, settings, ... -> what train_end2end_retriever returns."""

    def run(pool=POOL, settings=STEPS, n_docs=4, refresh_every=3, passages=encoder, corpus=CORPUS, **options):
        options = {"temperature": TEMPERATURE, "index": index, **options}
        searched = options.pop("index")
        return training.train_end2end_retriever(
            encoder, passages, searched, corpus, QUERIES, IDS, pool, settings, n_docs, refresh_every, **options
        )

    return run


def vectors(index):
    return index.faiss_index.reconstruct_n(0, len(index.passage_ids))


def pool_objective(pool, index, encoders, n_docs, marginalization="token", exchanged=False, folder=None):
    positions = np.arange(len(CORPUS))[None].repeat(len(CORPUS), 0)
    loss = MarginalLoss(*pool, n_docs, marginalization, TEMPERATURE)
    searched = SearchedPool(positions, index, CORPUS, encoders["passage"], folder, None)
    return training.End2EndPoolObjective(loss, QUERIES, searched, encoders, n_docs, None, exchanged)


def gradients(objective, encoder, generator, rows=(0, 2, 3, 5)):
    """Of both towers after one step: (tower, name) -> tensor, and the loss."""
    learning = {tower: training.trainable_encoder(encoder) for tower in training.TOWERS}
    values = objective.step(training.Learners(generator, learning, {}, contextlib.nullcontext()), [*rows])
    found = {}
    for tower, learner in learning.items():
        for name, parameter in learner.model.named_parameters():
            if parameter.grad is not None:
                found[tower, name] = parameter.grad
    return found, values["loss"]


@pytest.mark.parametrize("marginalization", training.MARGINALIZATIONS)
@pytest.mark.parametrize("n_docs", [3, 6])
def test_the_gradients_are_those_of_end_to_end_training(reader, encoder, tmp_path, marginalization, n_docs):
    """Also where the index is of an earlier passage encoder, so that other passages are found than would be now."""
    import torch

    stale = training.trainable_encoder(encoder)
    with torch.no_grad():
        for parameter in stale.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    index = retrieval.build_dense(dataclasses.replace(stale, sha256="stale"), CORPUS)
    both = dict.fromkeys(training.TOWERS, encoder)
    pool = rag.token_logprobs_by_passage(reader, PROMPTS, ANSWERS)
    kept, loss = gradients(pool_objective(pool, index, both, n_docs, marginalization), encoder, None)
    generator, _ = training.trainable_generator(reader, SHORT, 0)
    searched = training.RagLoss(CORPUS, EXAMPLES, marginalization, TEMPERATURE, 10_000)
    joint = training.End2EndObjective(searched, n_docs, SimpleNamespace(current=index), both)
    expected, of_joint = gradients(joint, encoder, generator)
    assert loss == pytest.approx(of_joint, rel=1e-4) and kept.keys() == expected.keys()
    for tower in training.TOWERS:
        ours, theirs = (torch.cat([g.flatten() for (t, _), g in one.items() if t == tower]) for one in (kept, expected))
        assert theirs.norm() > 1e-4 and (ours - theirs).norm() < 1e-3 * theirs.norm()


def test_in_the_null_each_passage_gets_the_gradient_of_another(encoder, index):
    """In d(z), by hand: the prior less the posterior, along q(x), at the place of its neighbor."""
    import torch

    both = dict.fromkeys(training.TOWERS, encoder)
    of = {
        exchanged: gradients(pool_objective(POOL, index, both, 6, "sequence", exchanged), encoder, None)
        for exchanged in (False, True)
    }
    (right, loss), (other, same_loss) = of[False], of[True]
    assert loss == same_loss
    for name, gradient in right.items():
        if name[0] == "question":
            torch.testing.assert_close(gradient, other[name])
    passage = [name for name in right if name[0] == "passage"]
    assert any(not torch.allclose(right[name], other[name], atol=1e-4) for name in passage)


def test_both_encoders_learn_and_the_index_is_that_of_the_learned_one(learn, encoder, index):
    system = learn(settings=LEARNING, n_docs=6)
    assert recall(index, encoder) <= 0.5 and recall(system.index, system.question_encoder) == 1
    assert min(distance(encoder.model, one.model) for one in (system.question_encoder, system.passage_encoder)) > 1e-3
    assert np.array_equal(vectors(system.index), uncached(models.encode, system.passage_encoder, TEXTS))
    assert system.generator is None and not [*run_folder().glob("vectors-*")]
    permuted = (np.roll(POOL[0], 1, axis=1), POOL[1])
    null = learn(permuted, settings=LEARNING, n_docs=6)
    assert recall(null.index, null.question_encoder) <= recall(index, encoder)


@pytest.mark.parametrize("tower", training.TOWERS)
def test_after_one_step_the_named_tower_has_moved_and_nothing_else(learn, encoder, index, tower):
    before = vectors(index)
    system = learn(settings=ONE_STEP, refresh_every=None, towers=(tower,))
    moved, kept = system.question_encoder, system.passage_encoder
    if tower == "passage":
        moved, kept = kept, moved
    assert kept is encoder and distance(encoder.model, moved.model) > 0
    assert (system.index is index) == (tower == "question") and np.array_equal(vectors(index), before)


def test_the_question_encoder_alone_is_rag_s_retriever(learn, encoder, index):
    alone = learn(settings=STEPS, refresh_every=None, towers=("question",))
    rag_s = training.train_rag_retriever(encoder, index, CORPUS, QUERIES, IDS, POOL, STEPS, 4, "token", TEMPERATURE)
    np.testing.assert_allclose(alone.history["loss"], rag_s.history["loss"], rtol=1e-3)
    ours, theirs = (uncached(models.encode, one.question_encoder, QUERIES) for one in (alone, rag_s))
    assert np.abs(ours - theirs).max() < 1e-2 * np.abs(theirs - uncached(models.encode, encoder, QUERIES)).max()


def test_what_is_searched_follows_and_only_where_it_should(learn):
    assert learn().history["index_age"] == [0, 1, 2, 0, 1, 2, 0, 1]
    never = learn(refresh_every=None)
    assert never.history["index_age"] == [*range(8)]
    # Fewer passages than there are: what is searched decides which are encoded anew.
    assert never.history["loss"][:4] == learn(refresh_every=4).history["loss"][:4]
    assert never.history["loss"] != learn(refresh_every=1).history["loss"]


def test_an_interrupted_run_goes_on_with_the_vectors_it_had(tmp_path, learn):
    whole, *rest = runs(tmp_path, lambda: learn(refresh_every=2), undisturbed, interrupted(2), interrupted(5))
    for other in rest:
        require_same(whole, other)
        assert np.array_equal(vectors(whole.index), vectors(other.index))


@pytest.fixture(params=["Bert", "MPNet", "DPR"])
def three_layers(request, tmp_path):
    """An encoder of three layers, and its index."""
    encoder = encoder_of(request.param, tmp_path / "passage", 1)
    return encoder, retrieval.build_dense(encoder, CORPUS)


def test_lower_layers_that_are_read_once_change_nothing(tmp_path, learn, three_layers):
    encoder, index = three_layers
    lower = training.LowerLayers(encoder, CORPUS, 1)
    settings = dataclasses.replace(LAYERED, question_layers=None)
    chosen = {"settings": settings, "passages": encoder, "index": index}
    (without,) = runs(tmp_path / "without", lambda: learn(**chosen), undisturbed)
    (given,) = runs(tmp_path / "given", lambda: learn(lower=lower, **chosen), undisturbed)
    np.testing.assert_allclose(without.history["loss"], given.history["loss"], rtol=1e-4)
    np.testing.assert_allclose(vectors(without.index), vectors(given.index), atol=1e-4)
    assert len(lower.states) == len(CORPUS)


def test_vectors_above_the_lower_layers_are_those_of_the_whole_encoder(three_layers):
    import torch

    encoder, _ = three_layers
    lower, learned = training.LowerLayers(encoder, CORPUS, 2), training.trainable_encoder(encoder, 2)
    with torch.no_grad():
        for parameter in training.trained_parameters(learned.model).values():
            parameter.add_(0.02)
    learned = dataclasses.replace(learned, sha256="learned")
    expected = uncached(models.encode, learned, TEXTS)
    np.testing.assert_allclose(training.encode_above(learned, lower), expected, atol=1e-5)
    np.testing.assert_allclose(training.encode_above(learned, lower), expected, atol=1e-5)  # from the cache
    with torch.no_grad():
        next(learned.model.parameters()).add_(0.02)  # below
    with pytest.raises(InputError, match="below its top 2 layers is not"):
        training.encode_above(learned, lower)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refresh_every": 8}, "refresh_every = 8: give 1 to 7, or None"),
        ({"refresh_every": 3, "towers": ("question",)}, "the passage encoder does not learn"),
        ({"towers": ()}, "name one or both of question, passage"),
        ({"n_docs": 1}, "n_docs = 1: give 2 to 6"),
        ({"pool": (POOL[0][:, :2], POOL[1])}, "token_logprobs"),
        ({"temperature": 0.0}, "temperature = 0.0"),
        ({"settings": dataclasses.replace(STEPS, passage_layers=9)}, "passage_layers = 9"),
    ],
)
def test_what_is_refused(learn, options, message):
    with pytest.raises(InputError, match=message) as caught:
        learn(**options)
    assert "\n" not in str(caught.value)


def test_lower_layers_of_something_else_are_refused(learn, encoder):
    with pytest.raises(InputError, match="passage_layers = 9: give 1 to"):
        training.LowerLayers(encoder, CORPUS, 9)
    with pytest.raises(InputError, match="the lower layers are of another corpus or below other layers"):
        learn(lower=training.LowerLayers(encoder, CORPUS, 1))
    with pytest.raises(InputError, match="the lower layers are of another corpus or below other layers"):
        learn(settings=LAYERED, lower=training.LowerLayers(encoder, {**CORPUS}, 1))


def test_the_key_names_the_classes_that_the_objective_reaches_by_a_method(learn, monkeypatch):
    """A digest does not follow `self.pool.texts(...)`: what is not listed could change, and a kept training be read."""
    listed = []
    monkeypatch.setattr(end2end_retriever, "run_key", lambda algorithm, *_: listed.extend(algorithm) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        learn()
    hints = get_type_hints(training.End2EndPoolObjective).values()
    reached = {kind for hint in hints for kind in (hint, *get_args(hint)) if isinstance(kind, type)}
    reached = {kind for kind in reached if kind.__module__.startswith("nbutils.training")}
    assert {SearchedPool, MarginalLoss, training.LowerLayers} == reached <= {*listed}
