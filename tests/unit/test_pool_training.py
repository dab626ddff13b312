"""Retrievers that learn from kept likelihoods and from labels: by hand, against RAG's own training, and what moves."""

import contextlib
import dataclasses

import numpy as np
import pytest
from test_ra_dit import IDS, LEARNING, LM, QUERIES, recall
from test_training import (
    ANSWERS,
    CORPUS,
    EXAMPLES,
    SHORT,
    TEMPERATURE,
    cache_folder,
    distance,
    encoder,
    equal,
    generators,
    index,
    interrupted,
    llama,
    reader,
    require_same,
    runs,
    undisturbed,
    weights,
)

from nbutils import generation, rag, retrieval, training
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.training import TrainingSettings
from nbutils.training.rag_retriever import MarginalLoss

__all__ = ["cache_folder", "encoder", "generators", "index", "llama", "reader"]  # fixtures
PROMPTS = [[generation.build_prompt(e.question, passage) for passage in CORPUS.values()] for e in EXAMPLES]
GOLD = [example.gold_passages for example in EXAMPLES]
ONE_STEP = TrainingSettings(n_steps=1, batch_size=6, encoder_learning_rate=1e-3, max_grad_norm=1e9, shuffle=False)
POOL = (LM[..., None], np.ones((len(LM), 1), dtype=bool))  # answers of one token


@pytest.fixture
def learn(encoder, index):
    """Function token_logprobs, settings, ... -> what train_rag_retriever returns."""

    def run(pool=POOL, settings=LEARNING, n_docs=6, **options):
        options = {"temperature": TEMPERATURE, **options}
        return training.train_rag_retriever(encoder, index, CORPUS, QUERIES, IDS, pool, settings, n_docs, **options)

    return run


@pytest.fixture
def supervise(encoder, index):
    def run(settings=LEARNING, gold=GOLD, negatives=IDS[:, :2], temperature=TEMPERATURE, seed=0, corpus=CORPUS):
        return training.train_contrastive(encoder, index, corpus, QUERIES, gold, negatives, settings, temperature, seed)

    return run


# The marginal over a pool


@pytest.mark.parametrize("marginalization", ["sequence", "token"])
def test_the_loss_is_the_papers_over_the_best_of_the_moment(marginalization):
    import torch

    rng = np.random.default_rng(0)
    logprobs, mask = np.log(rng.uniform(0.05, 0.9, size=(3, 5, 4))), np.arange(4) < np.array([[4], [2], [1]])
    logprobs *= mask[:, None]
    scores = torch.tensor(rng.normal(size=(2, 5)), requires_grad=True)
    loss, values = MarginalLoss(logprobs, mask, 3, marginalization, 0.5)(scores, [2, 0])
    expected = []
    for values_of, row in zip(scores.detach().numpy(), [2, 0], strict=True):
        best = np.argsort(-values_of)[:3]
        p_z = np.exp(values_of[best] / 0.5) / np.exp(values_of[best] / 0.5).sum()
        p_y = np.exp(logprobs[row][best][:, mask[row]])  # (K, T)
        expected.append(-np.log(p_z @ p_y.prod(1) if marginalization == "sequence" else (p_z @ p_y).prod()))
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-6)
    loss.backward()
    assert (scores.grad != 0).sum() == 6  # the others take no part
    assert {*values} == {"max_doc_prob", "posterior_entropy"}


def test_kept_likelihoods_are_those_of_a_training_step(llama):
    kept, mask = rag.token_logprobs_by_passage(llama, PROMPTS, ANSWERS)
    computed, expected_mask = rag.answer_token_logprobs(llama, PROMPTS, ANSWERS)
    assert kept.shape == computed.shape and np.array_equal(mask, expected_mask.numpy())
    assert np.allclose(kept, computed.detach().numpy(), atol=1e-4)
    assert {*mask.sum(1).tolist()} != {mask.shape[1]} and (kept[~np.broadcast_to(mask[:, None], kept.shape)] == 0).all()


@pytest.mark.parametrize("marginalization", ["sequence", "token"])
@pytest.mark.parametrize("n_docs", [3, 6])
def test_the_pool_s_gradient_is_that_of_rag_s_own_training(reader, encoder, index, marginalization, n_docs):
    """The pool holds all that a search can find: the question encoder's gradient is the same, number by number."""
    pool = rag.token_logprobs_by_passage(reader, PROMPTS, ANSWERS)
    gradients, rows = {}, [0, 2, 3, 5]
    for how in ("search", "pool"):
        learner = training.trainable_encoder(encoder)
        if how == "search":
            generator, _ = training.trainable_generator(reader, SHORT, 0)
            loss = training.RagLoss(CORPUS, EXAMPLES, marginalization, TEMPERATURE, 10_000)
            objective = training.RagObjective(loss, n_docs, index, None)
        else:
            generator = None
            positions = np.arange(len(CORPUS))[None].repeat(len(CORPUS), 0)
            loss = MarginalLoss(*pool, n_docs, marginalization, TEMPERATURE)
            objective = training.PoolObjective(loss, QUERIES, positions, index, CORPUS)
        values = objective.step(training.Learners(generator, {"question": learner}, {}, contextlib.nullcontext()), rows)
        found = [p.grad.flatten() for p in learner.model.parameters() if p.grad is not None]
        gradients[how] = np.concatenate([gradient.numpy() for gradient in found]), values["loss"]
    (searched, one), (pooled, other) = gradients.values()
    assert one == pytest.approx(other, rel=1e-4) and np.linalg.norm(searched) > 1e-4
    assert np.linalg.norm(searched - pooled) < 1e-3 * np.linalg.norm(searched)


@pytest.mark.parametrize("marginalization", ["sequence", "token"])
def test_a_retriever_learns_from_kept_likelihoods_and_from_nothing_else(learn, encoder, index, marginalization):
    before, vectors = weights(encoder.model), index.faiss_index.reconstruct_n(0, len(CORPUS))
    system = learn(marginalization=marginalization)
    tuned = system.question_encoder
    assert recall(index, encoder) <= 0.5 and recall(index, tuned) == 1
    assert distance(encoder.model, tuned.model) > 1e-3 and system.index is index and system.generator is None
    assert all((before[name] == tensor).all() for name, tensor in weights(encoder.model).items())
    assert np.array_equal(index.faiss_index.reconstruct_n(0, len(CORPUS)), vectors)
    assert system.history["loss"][-1] < system.history["loss"][0] and min(system.history["grad_norm"]) > 0
    # The cause removed: every question's posterior is another question's; a reader that does not care.
    permuted = (np.roll(POOL[0], 1, axis=1), POOL[1])
    assert recall(index, learn(permuted, marginalization=marginalization).question_encoder) <= recall(index, encoder)
    flat = (np.full_like(POOL[0], np.log(0.2)), POOL[1])
    still = learn(flat, ONE_STEP, marginalization=marginalization)
    assert still.history["grad_norm"][0] < 1e-4  # p(y|x) is the same under every passage


def test_after_one_step_what_learns_has_moved_and_nothing_else(learn, encoder, index):
    vectors = index.faiss_index.reconstruct_n(0, len(CORPUS))
    alone = learn(settings=ONE_STEP)
    assert distance(encoder.model, alone.question_encoder.model) > 0 and alone.passage_encoder is None
    both = learn(settings=ONE_STEP, passage_encoder=encoder)
    assert min(distance(encoder.model, tower.model) for tower in (both.question_encoder, both.passage_encoder)) > 0
    assert np.array_equal(index.faiss_index.reconstruct_n(0, len(CORPUS)), vectors)
    top = dataclasses.replace(ONE_STEP, question_layers=1)
    layered = learn(settings=top).question_encoder
    assert not equal(encoder.model, layered.model)
    moved = {name for name, tensor in weights(layered.model).items() if (tensor != weights(encoder.model)[name]).any()}
    last = max(int(name.split("layer.")[1].split(".")[0]) for name in moved if "layer." in name)
    assert all(f"layer.{last}." in name for name in moved if "pooler" not in name)


def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path, learn):
    settings = TrainingSettings(n_steps=8, batch_size=4, encoder_learning_rate=1e-3, checkpoint_every=3)
    whole, *rest = runs(tmp_path, lambda: learn(settings=settings), undisturbed, interrupted(2), interrupted(7))
    for other in rest:
        require_same(whole, other)


def test_every_choice_makes_a_run_of_its_own(learn):
    settings = TrainingSettings(n_steps=1, batch_size=4)
    two_tokens = (np.concatenate([POOL[0], POOL[0][::-1]], axis=-1), np.ones((len(LM), 2), dtype=bool))
    likelier = (two_tokens[0] + np.where(np.arange(6) == 0, 0.1, 0.0)[:, None], two_tokens[1])
    chosen = {"settings": settings, "pool": two_tokens}
    first = learn(**chosen).question_encoder.sha256
    assert learn(**chosen).question_encoder.sha256 == first
    for options in ({"n_docs": 3}, {"marginalization": "token"}, {"temperature": 0.2}, {"seed": 1}, {"pool": likelier}):
        assert learn(**{**chosen, **options}).question_encoder.sha256 != first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": (POOL[0][:, :2], POOL[1])}, r"token_logprobs \(6, 2, 1\) and mask \(6, 1\) of candidates \(6, 6\)"),
        ({"pool": (POOL[0], np.zeros_like(POOL[1]))}, "at least one token"),
        ({"pool": (np.exp(POOL[0]), POOL[1])}, "natural logarithms of probabilities"),
        ({"n_docs": 7}, "n_docs = 7"),
        ({"n_docs": 1}, "n_docs = 1: give 2 to 6"),
        ({"marginalization": "mean"}, "marginalization 'mean' is unknown"),
        ({"temperature": 0.0}, "temperature = 0.0"),
    ],
)
def test_what_is_refused(learn, options, message):
    with pytest.raises(InputError, match=message) as caught:
        learn(**options)
    assert "\n" not in str(caught.value)


# The supervised bound


def shared_gold(masked):
    """Three questions, the first two with one gold passage; cosine 0.9 with gold, 0.1 else, temperature 0.05."""
    import torch

    scores = torch.tensor([[0.9, 0.9, 0.1], [0.9, 0.9, 0.1], [0.1, 0.1, 0.9]], dtype=torch.float64) / 0.05
    left_out = torch.zeros(3, 3, dtype=torch.bool)
    if masked:
        left_out[0, 1] = left_out[1, 0] = True
    return rag.contrastive_loss(scores, left_out).item()


def test_a_passage_that_two_questions_share_is_nobody_s_negative():
    assert shared_gold(True) == pytest.approx(1.5e-7, rel=0.01)
    assert shared_gold(False) == pytest.approx(0.462098, abs=1e-6)  # no encoder can lower it below 2/3 ln 2


def test_all_questions_about_one_passage_teach_nothing_and_are_no_error(supervise):
    system = supervise(ONE_STEP, gold=[("p0",)] * 6, negatives=np.empty((6, 0), dtype=str))
    assert system.history["loss"] == [0.0] and system.history["grad_norm"] == [0.0]


def test_equal_texts_under_two_ids_are_no_negatives_either(encoder, index):
    twins = {**CORPUS, "p1": Passage("Another", CORPUS["p0"].text)}
    twin_index = retrieval.build_dense(encoder, twins)
    arguments = (encoder, twin_index, twins, QUERIES[:1] * 2, [("p0",), ("p1",)], np.array([["p1"], ["p0"]]))
    settings = dataclasses.replace(ONE_STEP, batch_size=2)
    assert training.train_contrastive(*arguments, settings, TEMPERATURE).history["loss"] == [0.0]
    other = training.train_contrastive(*arguments[:5], np.array([["p2"], ["p0"]]), settings, TEMPERATURE)
    assert other.history["loss"][0] > 0


def test_labels_teach_the_question_encoder_alone(supervise, encoder, index):
    vectors = index.faiss_index.reconstruct_n(0, len(CORPUS))
    system = supervise()
    assert recall(index, encoder) <= 0.5 and recall(index, system.question_encoder) == 1
    assert system.history["accuracy"][-1] == 1 and system.passage_encoder is None
    assert np.array_equal(index.faiss_index.reconstruct_n(0, len(CORPUS)), vectors)
    wrong = supervise(gold=[*GOLD[1:], GOLD[0]])
    assert recall(index, wrong.question_encoder) <= recall(index, encoder)


def test_the_first_loss_is_that_of_plain_torch(supervise, encoder, index):
    import torch

    history = supervise(ONE_STEP).history
    asked = training.embed_texts(training.trainable_encoder(encoder), QUERIES).detach()
    vectors = torch.tensor(index.faiss_index.reconstruct_n(0, len(CORPUS)))
    rows = []
    for i, example in enumerate(EXAMPLES):
        columns = [*range(6), *[int(id_[1:]) for row in IDS[:, :2] for id_ in row]]  # positives, then negatives
        kept = [p for place, p in enumerate(columns) if place == i or p != int(example.gold_passages[0][1:])]
        scores = (asked[i] @ vectors[kept].T) / TEMPERATURE
        rows.append(scores.logsumexp(0) - asked[i] @ vectors[i] / TEMPERATURE)
    assert history["loss"] == [pytest.approx(torch.stack(rows).mean().item(), rel=1e-5)]


def test_a_query_without_gold_is_refused(supervise):
    with pytest.raises(InputError, match="without a gold passage"):
        supervise(gold=[(), *GOLD[1:]])
    with pytest.raises(InputError, match=r"negatives \(3, 2\) of 6 queries"):
        supervise(negatives=IDS[:3, :2])
