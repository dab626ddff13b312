"""RA-DIT: the LSR loss by hand, a retriever that learns from it and from nothing else, a 4-bit reader read back."""

import checkpoints
import numpy as np
import pytest
from substitution import substitute, uncached
from test_training import (
    ANSWERS,
    CORPUS,
    EXAMPLES,
    PROMPTS,
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
    load,
    require_same,
    run_folder,
    runs,
    undisturbed,
    weights,
)

from nbutils import generation, models, rag, retrieval, training
from nbutils.errors import InputError
from nbutils.generation import scoring as scoring_module
from nbutils.training import TrainingSettings

__all__ = ["cache_folder", "encoder", "generators", "index", "llama"]  # fixtures
QUERIES, IDS = [example.query for example in EXAMPLES], np.array([[*CORPUS]] * len(CORPUS))
# A language model that reads: the answer is likely under its own passage only.
LM = np.log(np.where(np.eye(len(CORPUS), dtype=bool), 0.6, 0.02))
LEARNING = TrainingSettings(n_steps=60, batch_size=6, encoder_learning_rate=1e-3, checkpoint_every=3)


def by_hand(scores, lm, tau_r, tau, direction, reduction):
    """Loss and its gradient with respect to the scores, in float64, passage by passage."""
    n, k = scores.shape
    total, gradient = 0.0, np.zeros_like(scores)
    for i in range(n):
        p = [np.exp(scores[i, j] / tau_r) for j in range(k)]
        p = [value / sum(p) for value in p]
        q = [np.exp(np.exp(lm[i, j]) / tau) for j in range(k)]
        q = [value / sum(q) for value in q]
        if direction == "p_R||p_LSR":
            loss = sum(p[j] * (np.log(p[j]) - np.log(q[j])) for j in range(k))
            gradient[i] = [p[j] * (np.log(p[j]) - np.log(q[j]) - loss) / tau_r for j in range(k)]
        else:
            loss = sum(q[j] * (np.log(q[j]) - np.log(p[j])) for j in range(k))
            gradient[i] = [(p[j] - q[j]) / tau_r for j in range(k)]
        total += loss
    share = {"mean": 1 / n, "sum": 1.0, "elements": 1 / (n * k)}[reduction]
    return total * share, gradient * share


@pytest.mark.parametrize("direction", rag.DIRECTIONS)
@pytest.mark.parametrize("reduction", rag.REDUCTIONS)
def test_the_loss_and_its_gradient_are_those_by_hand(direction, reduction):
    import torch

    rng = np.random.default_rng(0)
    values, lm = rng.normal(size=(5, 4)), np.log(rng.uniform(0.001, 0.2, size=(5, 4)))
    scores = torch.tensor(values, requires_grad=True)
    log_prior = (scores / 0.3).log_softmax(-1)
    loss = rag.lsr_loss(log_prior, torch.tensor(lm), 0.05, direction, reduction)
    loss.backward()
    expected, gradient = by_hand(values, lm, 0.3, 0.05, direction, reduction)
    assert loss.item() == pytest.approx(expected, rel=1e-10)
    assert np.allclose(scores.grad, gradient, rtol=1e-9, atol=1e-12)
    # Planted faults: the logarithm in place of the probability, and torch's order of arguments.
    other = rag.DIRECTIONS[1 - rag.DIRECTIONS.index(direction)]
    assert by_hand(values, lm, 0.3, 0.05, other, reduction)[0] != pytest.approx(expected, rel=1e-3)
    target = (torch.tensor(lm) / 0.05).log_softmax(-1)
    assert not torch.allclose(rag.lsr_logprobs(torch.tensor(lm), 0.05), target, atol=1e-2)


def test_the_paper_s_choice_is_the_default_and_what_is_unknown_is_refused():
    import torch

    log_prior, lm = torch.randn(3, 4).log_softmax(-1), torch.log(torch.rand(3, 4))
    explicit = rag.lsr_loss(log_prior, lm, 0.01, "p_R||p_LSR", "mean")
    assert torch.equal(rag.lsr_loss(log_prior, lm), explicit)
    same = rag.lsr_logprobs(lm)
    assert rag.lsr_loss(same, lm).item() == pytest.approx(0, abs=1e-6)
    for options in ({"direction": "forward"}, {"reduction": "batchmean"}):
        with pytest.raises(InputError, match="is unknown: use one of"):
            rag.lsr_loss(log_prior, lm, **options)
    with pytest.raises(InputError, match="must be positive"):
        rag.lsr_logprobs(lm, 0.0)


def test_scores_of_passages_leave_the_ending_out_and_are_kept(llama, monkeypatch):
    prompts = [PROMPTS[:2], PROMPTS[2:4]]
    found = rag.answer_logprobs_by_passage(llama, prompts, ANSWERS[:2])
    rows = generation.answer_logprobs(llama, [p for row in prompts for p in row], [ANSWERS[0]] * 2 + [ANSWERS[1]] * 2)
    sizes = [len(llama.tokenizer(f" {answer}", add_special_tokens=False)["input_ids"]) for answer in ANSWERS[:2]]
    expected = [[row[: sizes[i]].sum() for row in rows[2 * i : 2 * i + 2]] for i in range(2)]
    assert np.allclose(found, expected) and all(len(rows[2 * i]) > sizes[i] for i in range(2))
    per_token = rag.answer_logprobs_by_passage(llama, prompts, ANSWERS[:2], per_token=True)
    assert np.allclose(per_token, found / np.array(sizes)[:, None])
    substitute(monkeypatch, scoring_module, "batch_logprobs", None)  # a second run computes nothing
    assert np.array_equal(rag.answer_logprobs_by_passage(llama, prompts, ANSWERS[:2]), found)


def test_a_pool_of_passages_serves_every_retriever(llama):
    """Candidates of four passages, of which two count, are those of a search with the two."""
    pool, chosen = [*CORPUS][:4], [2, 0]
    log_prior = np.log([0.7, 0.3])
    (whole,) = rag.sequence_candidates(llama, [PROMPTS[:4]], 4)
    (part,) = rag.sequence_candidates(llama, [[PROMPTS[i] for i in chosen]], 4)
    spread = rag.scatter_prior(pool, [pool[i] for i in chosen], log_prior)
    assert spread.tolist() == [log_prior[1], -np.inf, log_prior[0], -np.inf]
    assert rag.best_answer(whole, spread) == rag.best_answer(part, log_prior)
    assert rag.marginal_logprobs(whole, spread).max() == pytest.approx(
        rag.marginal_logprobs(part, log_prior).max(), abs=1e-3
    )


# Training


@pytest.fixture
def learn(encoder, index):
    """Function lm_logprobs, settings, ... -> what train_lsr returns."""

    def run(lm=LM, settings=LEARNING, **options):
        options = {"temperature": TEMPERATURE, **options}
        return training.train_lsr(encoder, index, CORPUS, QUERIES, IDS, lm, settings, **options)

    return run


def recall(index, encoder):
    ids, _ = retrieval.search(retrieval.DenseRetriever(index, encoder), QUERIES, 1)
    return np.mean([row[0] in example.gold_passages for row, example in zip(ids, EXAMPLES, strict=True)])


def test_the_question_encoder_learns_what_the_language_model_prefers(encoder, index, learn):
    before, vectors = weights(encoder.model), index.faiss_index.reconstruct_n(0, len(CORPUS))
    system = learn()
    tuned, curves = system.question_encoder, system.history
    assert system.passage_encoder is None and system.generator is None and system.index is index
    assert distance(encoder.model, tuned.model) > 1e-3 and tuned.sha256 != encoder.sha256
    assert all((before[name] == tensor).all() for name, tensor in weights(encoder.model).items())
    assert np.array_equal(index.faiss_index.reconstruct_n(0, len(CORPUS)), vectors)
    assert curves["loss"][-1] < curves["loss"][0] / 2 and min(curves["grad_norm"]) > 0
    assert recall(index, encoder) <= 0.5 and recall(index, tuned) == 1


def test_it_learns_nothing_of_use_from_shuffled_scores(encoder, index, learn):
    shuffled = np.roll(LM, 1, axis=1)  # every question prefers another question's passage
    tuned = learn(shuffled).question_encoder
    assert distance(encoder.model, tuned.model) > 1e-3
    assert recall(index, tuned) <= recall(index, encoder)
    flat = learn(np.full_like(LM, np.log(0.2))).question_encoder  # nor from a reader that does not care
    assert recall(index, flat) < 1


def test_the_first_gradient_is_the_loss_s(encoder, index, learn):
    """One step of the loop against the same loss in plain torch."""
    import torch

    settings = TrainingSettings(n_steps=1, batch_size=6, encoder_learning_rate=1e-3, max_grad_norm=1e9, shuffle=False)
    curves = learn(settings=settings).history
    learner = training.trainable_encoder(encoder)
    asked = training.embed_texts(learner, QUERIES)
    vectors = torch.tensor(index.faiss_index.reconstruct_n(0, len(CORPUS)))
    loss = rag.lsr_loss((asked @ vectors.T / TEMPERATURE).log_softmax(-1), torch.tensor(LM).float())
    loss.backward()
    norm = torch.cat([p.grad.flatten() for p in learner.model.parameters() if p.grad is not None]).norm().item()
    assert curves["loss"] == [pytest.approx(loss.item(), rel=1e-5)]
    assert curves["grad_norm"] == [pytest.approx(norm, rel=1e-4)]


def test_both_encoders_only_where_asked_for(encoder, index, learn):
    system = learn(settings=SHORT, passage_encoder=encoder)
    question, passage = system.question_encoder, system.passage_encoder
    assert min(distance(encoder.model, question.model), distance(encoder.model, passage.model)) > 1e-4
    assert distance(question.model, passage.model) > 1e-4
    moved = retrieval.build_dense(passage, CORPUS)
    assert not np.allclose(
        moved.faiss_index.reconstruct_n(0, len(CORPUS)), index.faiss_index.reconstruct_n(0, len(CORPUS)), atol=1e-3
    )


def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path, encoder, index, learn):
    settings = TrainingSettings(n_steps=8, batch_size=4, encoder_learning_rate=1e-3, checkpoint_every=3)
    whole, *rest = runs(tmp_path, lambda: learn(settings=settings), undisturbed, interrupted(2), interrupted(7))
    for other in rest:
        require_same(whole, other)


def test_every_choice_makes_a_run_of_its_own(encoder, index, learn):
    one = TrainingSettings(n_steps=1, batch_size=6)
    first = learn(settings=one).question_encoder
    assert learn(settings=one).question_encoder.sha256 == first.sha256 and run_folder()
    for options in (
        {"lsr_temperature": 0.1}, {"direction": rag.DIRECTIONS[1]}, {"reduction": "sum"}, {"temperature": 0.2},
        {"seed": 1}, {"lm": LM - 0.1},
    ):  # fmt: skip
        assert learn(**{"settings": one, **options}).question_encoder.sha256 != first.sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lm_logprobs": LM[:, :2]}, r"scores \(6, 2\) of candidates \(6, 6\)"),
        ({"queries": []}, "of 0 queries"),
        ({"lm_logprobs": np.exp(LM)}, "natural logarithms of probabilities"),
        ({"lm_logprobs": np.full_like(LM, -np.inf)}, "finite"),
        ({"passage_ids": IDS[:, :1], "lm_logprobs": LM[:, :1]}, "nothing to prefer"),
        ({"passage_ids": np.where(IDS == "p1", "p9", IDS)}, "passage 'p9' is not in the index"),
        ({"temperature": 0.0}, "temperature = 0.0"),
        ({"lsr_temperature": -1.0}, "lsr_temperature = -1.0"),
    ],
)
def test_what_is_refused(encoder, index, change, message):
    arguments = {"queries": QUERIES, "passage_ids": IDS, "lm_logprobs": LM, "settings": LEARNING, **change}
    with pytest.raises(InputError, match=message) as caught:
        training.train_lsr(encoder, index, CORPUS, **arguments)
    assert "\n" not in str(caught.value)


def test_a_four_bit_reader_is_saved_and_reloaded_to_the_same_logits(tmp_path):
    """QLoRA: one step on a CPU; what a later process reads back gives the same numbers, bit for bit."""
    from bitsandbytes.functional import has_avx512bf16

    if has_avx512bf16():
        pytest.skip("on such a processor bitsandbytes packs 4-bit weights for inference, and some gradients are lost")
    folder = checkpoints.llama(tmp_path / "llama", hidden_size=64)
    settings = TrainingSettings(n_steps=1, batch_size=4, learning_rate=1e-2, lora_rank=4)
    scores = []
    for _ in range(2):  # the second time nothing is trained: base and adapter are loaded anew
        base = load(models.load_generator, folder, quantize="nf4")
        system = training.fine_tune(base, PROMPTS, ANSWERS, settings)
        tuned, curves = system.generator, system.history
        adapter = {name: tensor for name, tensor in weights(tuned.model).items() if "lora_B" in name}
        assert adapter and all(tensor.abs().max() > 0 for tensor in adapter.values())
        scores.append((tuned, uncached(generation.answer_logprobs, tuned, PROMPTS, ANSWERS), curves))
    (first, numbers, curves), (second, again, same) = scores
    assert curves == same and first.sha256 == second.sha256 and equal(first.model, second.model)
    assert all(np.array_equal(one, other) for one, other in zip(numbers, again, strict=True))
