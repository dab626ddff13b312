"""The formulas against transformers' RAG and against sums by hand; decoding against enumeration and plain scoring."""

import copy
import dataclasses
import itertools
import math

import checkpoints
import numpy as np
import pytest
import word_checkpoints
from substitution import substitute, uncached

from nbutils import generation, models, rag
from nbutils.errors import InputError
from nbutils.generation import continuations as continuations_module
from nbutils.generation import decoding as decoding_module
from nbutils.generation import prefix as prefix_module
from nbutils.rag import beam_search as beam_search_module
from nbutils.rag import candidates as candidates_module
from nbutils.rag import likelihoods as likelihoods_module
from nbutils.rag import losses as losses_module

FAUST = "Question: Who wrote Faust?\nAnswer:"
PERU = "Background: Peru. The capital of Peru is Lima; its currency is the sol.\n\nQuestion: What is spent?\nAnswer:"
SHORT = "Answer:"
CHAD = (
    "Question: Which country has the largest area?\nAnswer: Russia\n\nQuestion: What is the capital of Chad?\nAnswer:"
)
PROMPTS = [[FAUST, PERU, SHORT], [PERU, SHORT, CHAD], [CHAD, FAUST, PERU]]
ANSWERS = ["Goethe", "the sol", "N'Djamena, of course"]
SCORES = [[2.0, -1.0, 0.5], [0.3, 0.1, 0.2], [-1.0, 3.0, 1.0]]
N_DOCS = 3


pytestmark = pytest.mark.usefixtures("cache_folder")


def load(name, dtype="float32"):
    return checkpoints.load_on_cpu(models.load_generator, name, dtype)


@pytest.fixture(scope="module", params=["llama", "gemma3", "bart"])
def generator(request, tmp_path_factory):
    seed = int(request.param == "bart")  # one that does not give the same answer to everything
    return load(getattr(checkpoints, request.param)(tmp_path_factory.mktemp(request.param), seed=seed))


@pytest.fixture(scope="module", params=["llama", "bart"])
def word_generator(request, tmp_path_factory):
    """A model of few words, which mostly ends its answers by itself."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "llama":
        return load(word_checkpoints.llama(folder, n_words=4, seed=1))
    return load(word_checkpoints.bart(folder, n_words=4, std=0.3, seed=7, ending=1.5))


@pytest.fixture(scope="module")
def bart(tmp_path_factory):
    return load(checkpoints.bart(tmp_path_factory.mktemp("bart")))


@pytest.fixture(scope="module")
def parrot(tmp_path_factory):
    """Answers ":" with "Paris", "=" with "yen" and two newlines in one token, "+" with "Lima.", "!" with nothing."""
    texts = [": Paris\nXX", "= yen\n\nXX", "+ Lima.\nXX", "!\nXX"]
    return load(checkpoints.parrot(tmp_path_factory.mktemp("parrot"), texts))


def random_case(seed=0, n_questions=4, n_docs=3, n_tokens=5):
    """log p(z|x), log p(y_i|...) and a mask with answers of different lengths, in float64."""
    import torch

    torch.manual_seed(seed)
    log_prior = torch.randn(n_questions, n_docs, dtype=torch.float64).log_softmax(-1)
    token_logprobs = -3 * torch.rand(n_questions, n_docs, n_tokens, dtype=torch.float64)
    lengths = torch.tensor([1 + i % n_tokens for i in range(n_tokens - n_questions, n_tokens)])
    return log_prior, token_logprobs, torch.arange(n_tokens) < lengths[:, None]


# The losses are those of transformers


def transformers_losses(generator, prompts, answers, scores, model, **options):
    """Per-question loss of transformers' RAG; its first label starts the decoder and is not predicted."""
    import torch

    prompt_ids, answer_ids = generation.tokenize_pairs(
        generator, [text for row in prompts for text in row], [answer for answer in answers for _ in prompts[0]]
    )
    inputs, mask = generation.pad(prompt_ids, generator.tokenizer.pad_token_id, "cpu")
    start = generator.model.config.decoder_start_token_id
    labels, _ = generation.pad([[start, *ids] for ids in answer_ids[:: len(prompts[0])]], checkpoints.PAD, "cpu")
    output = model(
        context_input_ids=inputs,
        context_attention_mask=mask,
        doc_scores=torch.as_tensor(scores),
        labels=labels,
        n_docs=len(prompts[0]),
        **options,
    )
    return output.loss


@pytest.fixture(scope="module")
def transformers_rag(bart, tmp_path_factory):
    """Function name of the class -> it, from a small DPR and the same BART."""
    import transformers

    encoder = transformers.DPRQuestionEncoder.from_pretrained(checkpoints.dpr(tmp_path_factory.mktemp("dpr")))

    def build(name):
        config = transformers.RagConfig.from_question_encoder_generator_configs(
            encoder.config, bart.model.config, n_docs=N_DOCS, label_smoothing=0.0, exclude_bos_score=False
        )
        architecture = getattr(transformers, name)
        return architecture(config, question_encoder=encoder, generator=copy.deepcopy(bart.model)).eval()

    return build


def our_losses(generator, prompts, answers, scores, name):
    log_prior = rag.doc_logprobs(scores)
    token_logprobs, mask = rag.answer_token_logprobs(generator, prompts, answers)
    if name == "RagSequenceForGeneration":
        return -rag.rag_sequence_logprob(log_prior, token_logprobs, mask)
    return -rag.rag_token_logprobs(log_prior, token_logprobs, mask).sum(-1)


def require_losses_of_transformers(bart, transformers_rag, name):
    import torch

    theirs_scores, ours_scores = (torch.tensor(SCORES, requires_grad=True) for _ in range(2))
    model = transformers_rag(name)
    theirs = transformers_losses(bart, PROMPTS, ANSWERS, theirs_scores, model)
    ours = our_losses(bart, PROMPTS, ANSWERS, ours_scores, name)
    assert ours.shape == (len(ANSWERS),) and ours.min() > 1
    torch.testing.assert_close(ours, theirs.view(-1), rtol=0, atol=1e-4)
    reduced = transformers_losses(bart, PROMPTS, ANSWERS, theirs_scores, model, reduce_loss=True)
    assert abs((ours.sum() - reduced).item()) < 1e-4
    theirs.sum().backward()
    ours.sum().backward()
    assert theirs_scores.grad.abs().max() > 0.1
    torch.testing.assert_close(ours_scores.grad, theirs_scores.grad, rtol=0, atol=1e-4)


NAMES = ["RagSequenceForGeneration", "RagTokenForGeneration"]


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_those_of_transformers(bart, transformers_rag, name):
    require_losses_of_transformers(bart, transformers_rag, name)


def swapped(monkeypatch):
    """The two marginalizations in each other's place."""
    sequence, token = rag.rag_sequence_logprob, rag.rag_token_logprobs
    substitute(monkeypatch, losses_module, "rag_sequence_logprob", lambda *arguments: token(*arguments).sum(-1))
    substitute(monkeypatch, losses_module, "rag_token_logprobs", lambda *arguments: sequence(*arguments)[:, None])


def shuffled(monkeypatch):
    read = rag.answer_token_logprobs
    substitute(
        monkeypatch,
        likelihoods_module,
        "answer_token_logprobs",
        lambda g, prompts, a: read(g, [p[::-1] for p in prompts], a),
    )


def uniform(monkeypatch):
    prior = rag.doc_logprobs
    substitute(monkeypatch, losses_module, "doc_logprobs", lambda scores: prior(0 * scores))


def detached(monkeypatch):
    prior = rag.doc_logprobs
    substitute(
        monkeypatch, losses_module, "doc_logprobs", lambda scores, *rest: prior(scores.detach(), *rest) + 0 * scores
    )


@pytest.mark.parametrize("fault", [swapped, shuffled, uniform, detached])
@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_loss_would_be_noticed(bart, transformers_rag, monkeypatch, name, fault):
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        require_losses_of_transformers(bart, transformers_rag, name)


# The formulas by hand


def require_sum_over_paths():
    """RAG-Token chooses a passage for every token anew: the sum over all K^T ways to choose."""
    log_prior, token_logprobs, mask = random_case()
    prior, probs = log_prior.exp().numpy(), token_logprobs.exp().numpy()
    ours = rag.rag_token_logprobs(log_prior, token_logprobs, mask).sum(-1)
    for question, length in enumerate(mask.sum(-1).tolist()):
        total = sum(
            math.prod(prior[question, z] * probs[question, z, i] for i, z in enumerate(path))
            for path in itertools.product(range(prior.shape[1]), repeat=length)
        )
        assert math.isclose(float(ours[question]), math.log(total), rel_tol=1e-9)


def require_sum_over_passages():
    """RAG-Sequence chooses one passage for the whole answer."""
    log_prior, token_logprobs, mask = random_case()
    prior, probs = log_prior.exp().numpy(), token_logprobs.exp().numpy()
    ours = rag.rag_sequence_logprob(log_prior, token_logprobs, mask)
    for question, length in enumerate(mask.sum(-1).tolist()):
        total = sum(prior[question, z] * probs[question, z, :length].prod() for z in range(prior.shape[1]))
        assert math.isclose(float(ours[question]), math.log(total), rel_tol=1e-9)


def test_token_is_the_sum_over_all_document_paths():
    require_sum_over_paths()


def test_sequence_is_the_sum_over_passages():
    require_sum_over_passages()


@pytest.mark.parametrize("check", [require_sum_over_paths, require_sum_over_passages])
def test_swapped_marginalizations_would_be_noticed(monkeypatch, check):
    swapped(monkeypatch)
    with pytest.raises(AssertionError):
        check()


def both(log_prior, token_logprobs, mask):
    token = rag.rag_token_logprobs(log_prior, token_logprobs, mask)
    assert token.shape == mask.shape and (token[~mask] == 0).all()
    return rag.rag_sequence_logprob(log_prior, token_logprobs, mask), token.sum(-1)


def test_one_passage_or_one_token_make_the_models_equal():
    import torch

    for case in (random_case(n_docs=1), random_case(n_tokens=1, n_questions=1)):
        torch.testing.assert_close(*both(*case))
    sequence, token = both(*random_case())
    assert ((sequence - token).abs() > 1e-3).sum() == 3  # all but the answer of one token


def test_where_one_model_exceeds_the_other():
    """E[prod p_i] >= prod E[p_i] (Chebyshev) where the passages rank alike at every token, the reverse where opposed.

    With the same p_i at every token the first is Jensen's inequality.
    """
    import torch

    log_prior, token_logprobs, _ = random_case(n_tokens=2)
    mask = torch.ones(4, 2, dtype=torch.bool)
    repeated = token_logprobs[..., :1].expand_as(token_logprobs)
    alike = token_logprobs.sort(1).values
    opposed = torch.stack([alike[..., 0], alike[..., 1].flip(1)], -1)
    for case, sign in ((repeated, 1), (alike, 1), (opposed, -1)):
        sequence, token = both(log_prior, case, mask)
        assert (sign * (sequence - token) > 1e-3).all()


def test_what_is_masked_does_not_count():
    log_prior, token_logprobs, mask = random_case()
    changed = token_logprobs.where(mask[:, None], -math.inf)
    for ours, theirs in zip(both(log_prior, token_logprobs, mask), both(log_prior, changed, mask), strict=True):
        assert (ours == theirs).all()


def test_prior_is_a_softmax_with_a_temperature():
    import torch

    scores = torch.tensor([[1.0, 0.5, -1.0], [0.2, -math.inf, 0.1]])
    log_prior = rag.doc_logprobs(scores, 0.1)
    expected = np.exp(10 * scores.numpy())
    np.testing.assert_allclose(log_prior.exp(), expected / expected.sum(1, keepdims=True), rtol=1e-5)
    assert log_prior[1, 1] == -math.inf
    assert rag.doc_logprobs(scores)[0].exp().max() < 0.7 < 0.99 < log_prior[0].exp().max()
    assert rag.doc_logprobs(scores.bfloat16()).dtype == torch.float32
    with pytest.raises(InputError, match="question number 1 has no passage"):
        rag.doc_logprobs(torch.tensor([[0.0, 1.0], [-math.inf, -math.inf]]))
    with pytest.raises(InputError, match="temperature = 0"):
        rag.doc_logprobs(scores, 0)


def test_a_passage_that_is_left_out_changes_nothing():
    import torch

    _, token_logprobs, mask = random_case()
    scores = torch.tensor(SCORES)[:1].repeat(4, 1)
    without = both(rag.doc_logprobs(scores[:, :2]), token_logprobs[:, :2], mask)
    scores = torch.cat([scores[:, :2], torch.full((4, 1), -math.inf)], 1).requires_grad_()
    with_it = both(rag.doc_logprobs(scores), token_logprobs, mask)
    for ours, theirs in zip(with_it, without, strict=True):
        torch.testing.assert_close(ours, theirs)
    sum(with_it).sum().backward()
    assert scores.grad.isfinite().all() and scores.grad[:, :2].abs().min() > 1e-6


def require_posterior_by_bayes():
    log_prior, token_logprobs, mask = random_case()
    posterior = rag.doc_posterior_logprobs(log_prior, token_logprobs)
    prior, probs = log_prior.exp().numpy(), token_logprobs.exp().numpy()
    for question, i in np.argwhere(mask.numpy()):
        joint = [prior[question, z] * probs[question, z, i] for z in range(prior.shape[1])]
        expected = [value / sum(joint) for value in joint]
        np.testing.assert_allclose(posterior[question, :, i].exp(), expected, rtol=1e-9)
    np.testing.assert_allclose(posterior.exp().sum(1), 1)


def test_posterior_is_bayes_rule():
    require_posterior_by_bayes()


def test_a_posterior_without_the_prior_would_be_noticed(monkeypatch):
    posterior = rag.doc_posterior_logprobs
    substitute(
        monkeypatch, losses_module, "doc_posterior_logprobs", lambda prior, logprobs: posterior(0 * prior, logprobs)
    )
    with pytest.raises(AssertionError):
        require_posterior_by_bayes()


def require_gradient_of_the_scores():
    """d log p(y|x) / d score = (p(z|x,y) - p(z|x)) / temperature, of a whole answer and of a token."""
    import torch

    _, token_logprobs, mask = random_case()
    scores, temperature = torch.tensor([*SCORES, SCORES[0]], requires_grad=True), 0.5
    log_prior = rag.doc_logprobs(scores, temperature)
    prior = log_prior.detach().exp()
    (gradient,) = torch.autograd.grad(
        rag.rag_sequence_logprob(log_prior, token_logprobs, mask).sum(), scores, retain_graph=True
    )
    posterior = (log_prior + (token_logprobs * mask[:, None]).sum(-1)).softmax(-1)
    expected = (posterior.detach() - prior) / temperature
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(gradient, expected.float(), rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(rag.rag_token_logprobs(log_prior, token_logprobs, mask).sum(), scores)
    posterior = rag.doc_posterior_logprobs(log_prior, token_logprobs).detach().exp()
    expected = ((posterior - prior[..., None]) * mask[:, None]).sum(-1) / temperature
    torch.testing.assert_close(gradient, expected.float(), rtol=1e-4, atol=1e-5)


def test_the_retriever_learns_what_raised_the_likelihood():
    require_gradient_of_the_scores()


def without_temperature(monkeypatch):
    prior = rag.doc_logprobs
    substitute(monkeypatch, losses_module, "doc_logprobs", lambda scores, temperature=1.0: prior(scores))


@pytest.mark.parametrize("fault", [detached, without_temperature, swapped])
def test_scores_that_do_not_learn_would_be_noticed(monkeypatch, fault):
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        require_gradient_of_the_scores()


# log p of an answer's tokens under every passage


def test_token_logprobs_are_those_of_plain_scoring(generator):
    token_logprobs, mask = rag.answer_token_logprobs(generator, PROMPTS, ANSWERS)
    assert token_logprobs.shape == (3, N_DOCS, mask.shape[1]) and mask.shape[0] == 3
    assert len(set(mask.sum(1).tolist())) > 1
    for question, answer in enumerate(ANSWERS):
        plain = uncached(generation.answer_logprobs, generator, PROMPTS[question], [answer] * N_DOCS)
        for k, expected in enumerate(plain):
            values = token_logprobs[question, k].detach().numpy()
            np.testing.assert_allclose(values[mask[question]], expected, atol=1e-4)
            assert (values[~mask[question]] == 0).all()


def test_gradients_reach_the_generator_through_every_passage(generator):
    import torch

    token_logprobs, mask = rag.answer_token_logprobs(generator, PROMPTS, ANSWERS)
    log_prior = rag.doc_logprobs(torch.tensor(SCORES))
    weights = [weight for weight in generator.model.parameters() if weight.requires_grad]
    loss = -rag.rag_sequence_logprob(log_prior, token_logprobs, mask).sum()
    gradients = torch.autograd.grad(loss, [*weights, token_logprobs], allow_unused=True)
    assert sum(gradient is not None and gradient.abs().max() > 1e-4 for gradient in gradients) > 10
    assert gradients[-1].transpose(1, 2)[mask].abs().min() > 0


def test_what_cannot_be_scored_is_refused(bart):
    with pytest.raises(InputError, match="3 questions and 2 answers"):
        rag.answer_token_logprobs(bart, PROMPTS, ANSWERS[:2])
    with pytest.raises(InputError, match="2 to 3 prompts a question: give each one equally many"):
        rag.answer_token_logprobs(bart, [PROMPTS[0], PROMPTS[1][:2]], ANSWERS[:2])
    with pytest.raises(InputError, match="a question without a prompt"):
        rag.answer_token_logprobs(bart, [PROMPTS[0], []], ANSWERS[:2])


# RAG-Sequence


def search(generator, prompts=PROMPTS, max_new_tokens=5, n_beams=1):
    return uncached(rag.sequence_candidates, generator, prompts, max_new_tokens, n_beams)


def search_fast(generator, n_beams):
    return uncached(rag.sequence_candidates, generator, PROMPTS, 5, n_beams, thorough=False)


def require_exact(generator, n_beams=1):
    found = search(generator, n_beams=n_beams)
    assert sum(len(candidates.texts) for candidates in found) > 2 * n_beams
    for prompts, candidates in zip(PROMPTS, found, strict=True):
        assert candidates.logprobs.shape == candidates.in_beam.shape == (len(candidates.texts), N_DOCS)
        assert len(set(candidates.texts)) == len(candidates.texts) and candidates.in_beam.any(1).all()
        for text, row in zip(candidates.texts, candidates.logprobs, strict=True):
            expected = uncached(generation.answer_logprobs, generator, prompts, [text] * N_DOCS)
            np.testing.assert_allclose(row, [values.sum() for values in expected], atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("n_beams", [1, 3])
def test_every_candidate_has_its_exact_score_under_every_passage(generator, n_beams):
    """The prompts of gemma3 are longer than its sliding window: its cache no longer holds their beginnings."""
    require_exact(generator, n_beams)


def test_padding_on_the_wrong_side_would_be_noticed(generator, monkeypatch):
    right = prefix_module.pad
    for module in (prefix_module, continuations_module):  # the reference keeps the right one
        monkeypatch.setattr(module, "pad", lambda *a, left=False: right(*a, left=not left))
    with pytest.raises(AssertionError):
        require_exact(generator)


def forgetful_cache(monkeypatch):
    """The cache is not copied: what the beams add to it stands before the candidates."""
    substitute(monkeypatch, prefix_module, "copy_cache", lambda read: read)


def other_rows(monkeypatch):
    select = generation.gather
    substitute(
        monkeypatch,
        prefix_module,
        "gather",
        lambda read, rows, same_prompts=False: select(read, rows.flip(0), same_prompts),
    )


@pytest.mark.parametrize("fault", [forgetful_cache, other_rows])
def test_a_wrong_cache_would_be_noticed(bart, monkeypatch, fault):
    fault(monkeypatch)
    with pytest.raises((AssertionError, RuntimeError)):
        require_exact(bart)


def test_answers_in_one_row_see_only_their_own_beginnings():
    trees = [continuations_module._trie([[5, 6], [7], [5, 6, 8]]), continuations_module._trie([[9]])]
    assert trees[0] == {(5,): 0, (5, 6): 1, (7,): 2, (5, 6, 8): 3}
    seen = continuations_module._ancestors(trees, 4).int().tolist()
    assert seen[0] == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [1, 1, 0, 1]]
    assert seen[1] == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_answers_that_see_each_other_would_be_noticed(tmp_path, monkeypatch):
    """Only a model without a short window has several answers in a row."""
    llama, gemma, bart = (load(getattr(checkpoints, name)(tmp_path / name)) for name in ("llama", "gemma3", "bart"))
    assert [continuations_module._can_share_rows(generator, 100) for generator in (llama, gemma, bart)] == [
        True,
        False,
        False,
    ]
    assert continuations_module._can_share_rows(gemma, 5)
    alone = continuations_module._ancestors
    substitute(
        monkeypatch, continuations_module, "_ancestors", lambda trees, width: alone(trees, width).fill_(True).tril()
    )
    with pytest.raises(AssertionError):
        require_exact(llama)


def test_greedy_candidates_are_what_is_generated(generator):
    for prompts, candidates in zip(PROMPTS, search(generator), strict=True):
        texts = uncached(generation.generate, generator, prompts, 5)
        assert candidates.texts == list(dict.fromkeys(texts))
        assert candidates.in_beam.tolist() == [[text == own for own in texts] for text in candidates.texts]


def transformers_beams(generator, prompt, n_beams, max_new_tokens):
    """Texts of the beams of transformers' own search, best first; None where the best did not end by itself."""
    inputs = generator.tokenizer(prompt, return_tensors="pt")
    ends = generation.stop_tokens(generator)
    output = generator.model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        max_new_tokens=max_new_tokens,
        min_new_tokens=1,  # not the empty answer, which we do not count
        num_beams=n_beams,
        num_return_sequences=n_beams,
        do_sample=False,
        length_penalty=0.0,
        eos_token_id=ends,
        pad_token_id=generator.tokenizer.pad_token_id,
    )
    new = output[:, 1 if generator.seq2seq else inputs["input_ids"].shape[1] :]
    free = new[0, : max_new_tokens - generator.seq2seq].tolist()  # the last of BART is forced
    return beam_search_module._first_lines(generator, new.tolist()) if set(free) & set(ends) else None


def word_prompts(n_questions, n_docs, n_words=4, seed=0):
    rng = np.random.default_rng(seed)
    return [
        [word_checkpoints.prompt(rng.integers(0, n_words, rng.integers(2, 9))) for _ in range(n_docs)]
        for _ in range(n_questions)
    ]


def require_beams_of_transformers(word_generator):
    """Where no text is empty because of its special tokens, and the best is not cut, which it scores without ending."""
    prompts = [row[0] for row in word_prompts(40, 1)]
    ours = uncached(rag.rag_token_generate, word_generator, [[text] for text in prompts], [[0.0]] * 40, 24, 3)
    compared = set()
    for prompt, text in zip(prompts, ours, strict=True):
        beams = transformers_beams(word_generator, prompt, 3, 24)
        if beams is not None and all(beams):
            assert text == beams[0]
            compared.add(text)
    assert len(compared) > 3


def test_beams_of_one_passage_are_those_of_transformers(word_generator):
    require_beams_of_transformers(word_generator)


def stale_beams(monkeypatch):
    """The cache keeps the order of the beams before."""
    select = generation.gather

    def sometimes(read, rows, same_prompts=False):
        return read if len(rows) == len(read.mask) else select(read, rows, same_prompts)

    substitute(monkeypatch, prefix_module, "gather", sometimes)


def test_beams_with_the_caches_of_others_would_be_noticed(word_generator, monkeypatch):
    stale_beams(monkeypatch)
    with pytest.raises(AssertionError):
        require_beams_of_transformers(word_generator)


def test_passages_of_a_smaller_k_are_searched_in_the_same_call(generator):
    log_prior, more = rag_prior(), 0
    for n_docs in (1, 2):
        few = search(generator, [row[:n_docs] for row in PROMPTS], n_beams=2)
        for question, (candidates, fewer) in enumerate(zip(search(generator, n_beams=2), few, strict=True)):
            prior = np.log(np.exp(log_prior[question, :n_docs]) / np.exp(log_prior[question, :n_docs]).sum())
            for fast in (False, True):
                scores = rag.marginal_logprobs(candidates, prior, fast)
                ours = {t: s for t, s in zip(candidates.texts, scores, strict=True) if s > -np.inf}
                theirs = dict(zip(fewer.texts, rag.marginal_logprobs(fewer, prior, fast), strict=True))
                assert ours.keys() == theirs.keys()
                np.testing.assert_allclose([ours[t] for t in theirs], list(theirs.values()), atol=1e-3)
                more += len(candidates.texts) > len(fewer.texts)
    assert more


def rag_prior():
    import torch

    return rag.doc_logprobs(torch.tensor(SCORES)).numpy()


CANDIDATES = rag.Candidates(
    ["Lima", "Chad", ""],
    np.log([[0.5, 0.1, 0.2], [0.2, 0.4, 0.1], [0.9, 0.9, 0.9]]),
    np.array([[True, False, True], [False, True, False], [False, False, True]]),
)


def test_marginal_by_hand():
    prior = np.log([0.2, 0.3, 0.5])
    thorough = [0.2 * 0.5 + 0.3 * 0.1 + 0.5 * 0.2, 0.2 * 0.2 + 0.3 * 0.4 + 0.5 * 0.1, 0]
    np.testing.assert_allclose(np.exp(rag.marginal_logprobs(CANDIDATES, prior)), thorough)
    np.testing.assert_allclose(np.exp(rag.marginal_logprobs(CANDIDATES, prior, fast=True)), [0.2, 0.12, 0])
    assert rag.best_answer(CANDIDATES, prior) == "Lima"
    assert rag.best_answer(CANDIDATES, np.log([0.1, 0.8, 0.1])) == "Chad"
    # Only what the first passages found; "Lima" would win, but is not in the beam of the second alone.
    np.testing.assert_allclose(np.exp(rag.marginal_logprobs(CANDIDATES, np.log([1.0]))), [0.5, 0, 0])
    with np.errstate(divide="ignore"):
        only_second, only_third = np.log([0.0, 1.0]), np.log([0.0, 0.0, 1.0])
    np.testing.assert_allclose(np.exp(rag.marginal_logprobs(CANDIDATES, only_second)), [0, 0.4, 0])
    np.testing.assert_allclose(np.exp(rag.marginal_logprobs(CANDIDATES, only_third)), [0.2, 0, 0])
    ties = dataclasses.replace(CANDIDATES, logprobs=np.zeros((3, 3)))
    assert rag.best_answer(ties, prior) == "Lima" and rag.best_answer(ties, prior, fast=True) == "Lima"


def test_a_prior_is_spread_over_a_pool():
    prior = np.log([0.5, 0.3, 0.2])
    spread = rag.scatter_prior(["a", "b", "", "c"], ["c", "a", "b"], prior)
    np.testing.assert_allclose(np.exp(spread), [0.3, 0.2, 0, 0.5])
    assert spread[3] == prior[0]  # to the digit
    with np.errstate(all="raise"):
        nothing = rag.scatter_prior(["a", ""], ["", "", ""], np.log([1 / 3] * 3))  # a search that found nothing
        some = rag.scatter_prior(["a", ""], ["a", "", ""], np.array([0, -np.inf, -np.inf]))
    np.testing.assert_allclose(np.exp(nothing), [0, 1])
    np.testing.assert_array_equal(some, [0, -np.inf])


def test_the_empty_answer_counts_where_there_is_no_other():
    lonely = dataclasses.replace(CANDIDATES, in_beam=CANDIDATES.in_beam & [[True, True, False]] * 2 + [[True] * 3])
    with np.errstate(divide="ignore"):
        prior = np.log([0.0, 0.0, 1.0])
    np.testing.assert_allclose(np.exp(rag.marginal_logprobs(lonely, prior)), [0, 0, 0.9])
    assert rag.best_answer(lonely, prior) == ""


def test_priors_that_do_not_fit_are_refused():
    for prior in ([], [0.0] * 4):
        with pytest.raises(InputError, match="priors for candidates of 3 passages"):
            rag.marginal_logprobs(CANDIDATES, prior)
    with pytest.raises(InputError, match="all passages have prior 0"):
        rag.marginal_logprobs(CANDIDATES, [-np.inf] * 3)


def test_fast_is_at_most_thorough(generator):
    differences = []
    for candidates, prior in zip(search(generator, n_beams=2), rag_prior(), strict=True):
        thorough, fast = rag.marginal_logprobs(candidates, prior), rag.marginal_logprobs(candidates, prior, fast=True)
        assert (fast <= thorough + 1e-12).all()
        differences += (thorough - fast)[np.isfinite(fast)].tolist()
        for text, score in zip(candidates.texts, thorough, strict=True):
            assert score <= thorough.max() and (text != rag.best_answer(candidates, prior) or score == thorough.max())
    assert max(differences) > 1e-3


def test_fast_needs_the_scores_of_the_beams_only(generator):
    for whole, part in zip(search(generator, n_beams=2), search_fast(generator, n_beams=2), strict=True):
        assert part.texts == whole.texts and (part.in_beam == whole.in_beam).all()
        assert (np.isfinite(part.logprobs) == whole.in_beam).all()
        np.testing.assert_allclose(part.logprobs[part.in_beam], whole.logprobs[whole.in_beam], rtol=1e-5)
        prior = np.log(np.full(whole.logprobs.shape[1], 1 / whole.logprobs.shape[1]))
        fast = [rag.marginal_logprobs(candidates, prior, fast=True) for candidates in (whole, part)]
        np.testing.assert_allclose(*fast, rtol=1e-5)
    assert not all(row.in_beam.all() for row in search(generator, n_beams=2))  # there was something to leave out


def test_texts_are_one_line_without_repetition(parrot):
    """Two endings and a full stop in the ending token; "" only where a passage's beam holds nothing else."""
    (candidates,) = search(parrot, [[":", "=", "What: is it =", "+", "!"]], 20)
    assert candidates.texts == ["Paris", "yen", "Lima.", ""]
    expected = [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]
    assert candidates.in_beam.astype(int).tolist() == expected
    ending = parrot.tokenizer(generation.ANSWER_END, add_special_tokens=False)["input_ids"]
    with_ending = generation.batch_logprobs(parrot, [parrot.tokenizer("!")["input_ids"]], [ending])
    np.testing.assert_allclose(candidates.logprobs[-1, -1], with_ending.sum().item(), atol=1e-4)
    assert rag.best_answer(candidates, np.log([0.1] * 4 + [0.6])) != ""
    (empty,) = search(parrot, [["!", "What is it!"]], 20)
    assert empty.texts == [""] and rag.best_answer(empty, np.log([0.5, 0.5])) == ""


def test_more_beams_find_another_answer_than_the_empty_one(parrot):
    (candidates,) = search(parrot, [["!"]], 3, n_beams=4)
    assert len(candidates.texts) == 4 and "" not in candidates.texts


def test_what_does_not_end_is_cut(word_generator):
    prompts = word_prompts(8, 2)
    found = search(word_generator, prompts, 3, n_beams=3)
    lengths = {len(text.split()) for candidates in found for text in candidates.texts}
    assert max(lengths) == (2 if word_generator.seq2seq else 3)  # transformers counts BART's forced ending as well


# RAG-Token


def enumerate_answers(generator, prompts, log_prior, n_tokens):
    """The text with the most likely token sequence of at most `n_tokens` and an ending, by trying all of them."""
    import torch

    ends = generation.stop_tokens(generator)
    vocabulary = generator.model.get_output_embeddings().weight.shape[0]
    going = [token for token in range(vocabulary) if token not in ends]
    stems = [list(stem) for n in range(n_tokens + 1) for stem in itertools.product(going, repeat=n)]
    answers = [[*stem, end] for stem in stems for end in ends]
    total = torch.zeros(len(answers), dtype=torch.float64)
    with torch.inference_mode():
        per_passage = []
        for prompt in prompts:
            prompt_ids = generator.tokenizer(prompt)["input_ids"]
            flat = generation.batch_logprobs(generator, [prompt_ids] * len(answers), answers).double()
            per_passage.append(flat.split([len(ids) for ids in answers]))
        for i in range(len(answers)):
            joint = torch.stack([rows[i] for rows in per_passage]).exp() * torch.tensor(log_prior).exp()[:, None]
            total[i] = joint.sum(0).log().sum()
    texts = beam_search_module._first_lines(generator, answers)
    return max((score, text) for score, text in zip(total.tolist(), texts, strict=True) if text)[1]


ENUMERATED = word_prompts(12, 3, seed=3)
PRIORS = np.log(np.random.default_rng(3).dirichlet([1, 1, 1], size=12))


def require_argmax_of_enumeration(generator):
    n_tokens = 2 + generator.seq2seq
    ours = uncached(rag.rag_token_generate, generator, ENUMERATED, PRIORS, n_tokens, 300)
    expected = [enumerate_answers(generator, row, prior, 2) for row, prior in zip(ENUMERATED, PRIORS, strict=True)]
    assert ours == expected and len(set(expected)) > 1
    return expected


def test_wide_beams_find_the_most_likely_answer_of_all(word_generator):
    expected = require_argmax_of_enumeration(word_generator)
    n_tokens = 2 + word_generator.seq2seq
    assert uncached(rag.rag_token_generate, word_generator, ENUMERATED, PRIORS, n_tokens, 1) != expected


def product_of_experts(monkeypatch):
    """sum_z p(z) log p(y|z) in place of log sum_z p(z) p(y|z)."""

    def mixed(generator, features, log_prior, comparable):
        logprobs = generation.next_logits(generator, features).log_softmax(-1).view(*log_prior.shape, -1)
        return (log_prior.exp()[..., None] * logprobs).sum(1)

    substitute(monkeypatch, beam_search_module, "_next_logprobs", mixed)


def one_prior(monkeypatch):
    mixed = beam_search_module._next_logprobs
    substitute(
        monkeypatch,
        beam_search_module,
        "_next_logprobs",
        lambda g, f, prior, comparable: mixed(g, f, 0 * prior, comparable),
    )


@pytest.mark.parametrize("fault", [product_of_experts, one_prior])
def test_a_wrong_mixture_would_be_noticed(word_generator, monkeypatch, fault):
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        require_argmax_of_enumeration(word_generator)


def test_one_passage_is_ordinary_greedy_search(generator):
    prompts = [FAUST, PERU, SHORT, CHAD]
    expected = uncached(generation.generate, generator, prompts, 8)
    assert len(set(expected)) > 1
    assert uncached(rag.rag_token_generate, generator, [[p] for p in prompts], [[0.0]] * 4, 8) == expected
    same = [[p, p, p] for p in prompts]  # the mixture of equal distributions is the distribution
    assert uncached(rag.rag_token_generate, generator, same, np.log([[0.2, 0.5, 0.3]] * 4), 8) == expected


def by_definition(generator, prompts, log_prior, max_new_tokens):
    """Greedy RAG-Token, every step with the whole sequences and no cache."""
    import torch

    ends = generation.stop_tokens(generator)
    answer = []
    while len(answer) < max_new_tokens - generator.seq2seq:
        candidates = range(generator.model.get_output_embeddings().weight.shape[0])
        total = torch.full((len(candidates),), -torch.inf)
        for prompt, prior in zip(prompts, log_prior, strict=True):
            ids = torch.tensor([generator.tokenizer(prompt)["input_ids"]])
            with torch.inference_mode():
                if generator.seq2seq:
                    so_far = torch.tensor([[generator.model.config.decoder_start_token_id, *answer]])
                    logits = generator.model(input_ids=ids, decoder_input_ids=so_far).logits[0, -1]
                else:
                    so_far = torch.tensor([answer], dtype=torch.long)
                    logits = generator.model(input_ids=torch.cat([ids, so_far], 1)).logits[0, -1]
            total = torch.logaddexp(total, logits.log_softmax(-1) + prior)
        answer.append(int(total.argmax()))
        if answer[-1] in ends:
            break
    return beam_search_module._first_lines(generator, [answer])[0]


def require_greedy_of_the_definition(generator):
    expected = [by_definition(generator, *pair, 6) for pair in zip(PROMPTS, rag_prior(), strict=True)]
    assert uncached(rag.rag_token_generate, generator, PROMPTS, rag_prior(), 6) == expected
    assert len(set(expected)) > 1


def test_greedy_is_that_of_the_definition(generator):
    require_greedy_of_the_definition(generator)


@pytest.mark.parametrize("fault", [product_of_experts, one_prior])
def test_another_greedy_search_would_be_noticed(generator, monkeypatch, fault):
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        for prior in (PROMPTS, [row[::-1] for row in PROMPTS]):
            monkeypatch.setitem(globals(), "PROMPTS", prior)
            require_greedy_of_the_definition(generator)


def test_one_reading_serves_every_smaller_k(generator):
    rng = np.random.default_rng(5)
    log_prior = np.log(rng.dirichlet(np.ones(len(PROMPTS[0])), size=len(PROMPTS)))
    ks = (1, 2, len(PROMPTS[0]))
    together = uncached(rag.rag_token_generate_at, generator, PROMPTS, log_prior, ks, 5)
    for k in ks:
        prior = log_prior[:, :k] - np.logaddexp.reduce(log_prior[:, :k], axis=1, keepdims=True)
        alone = uncached(rag.rag_token_generate, generator, [row[:k] for row in PROMPTS], prior, 5)
        assert together[k] == alone
    with pytest.raises(InputError, match=r"n_docs = \[9\]: give numbers from 1 to"):
        rag.rag_token_generate_at(generator, PROMPTS, log_prior, (9,), 5)


def test_passages_without_prior_are_not_read(bart, monkeypatch):
    prior = rag_prior()
    prior[0, 1] = prior[2, 0] = prior[2, 2] = -np.inf
    seen, read = [], generation.prefill
    substitute(
        monkeypatch, prefix_module, "prefill", lambda generator, ids: seen.append(len(ids)) or read(generator, ids)
    )
    texts = uncached(rag.rag_token_generate, bart, PROMPTS, prior, 6, 2)
    assert sum(seen) == 6
    for text, row, values in zip(texts, PROMPTS, prior, strict=True):
        kept = np.isfinite(values)
        few = [prompt for prompt, keep in zip(row, kept, strict=True) if keep]
        assert uncached(rag.rag_token_generate, bart, [few], [values[kept]], 6, 2) == [text]


def test_decoding_that_cannot_be_done_is_refused(bart):
    decode = rag.rag_token_generate
    with pytest.raises(InputError, match="do not fit the prompts"):
        decode(bart, PROMPTS, rag_prior()[:, :2], 4)
    for bad in (np.nan, -np.inf):
        with pytest.raises(InputError, match="question number 1"):
            decode(bart, PROMPTS[:2], [[0.0, 0.0, 0.0], [bad] * 3], 4)
    with pytest.raises(InputError, match="both must be at least 1"):
        decode(bart, PROMPTS, rag_prior(), 0)
    with pytest.raises(InputError, match="n_beams = 0"):
        search(bart, n_beams=0)
    with pytest.raises(InputError, match="a question without a prompt"):
        search(bart, [])
    with pytest.raises(InputError, match=r"takes \d{3} tokens, .* has 256: shorten it") as caught:
        search(bart, [["Lima " * 300]])
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"has 256: shorten it"):
        search(bart, max_new_tokens=300)


# The search itself


@pytest.mark.parametrize("n_beams", [1, 3])
def test_blocks_and_pieces_do_not_change_the_result(generator, monkeypatch, n_beams):
    prior = rag_prior()
    whole = search(generator, n_beams=n_beams)
    texts = uncached(rag.rag_token_generate, generator, PROMPTS, prior, 5, n_beams)
    reads, read = [], generation.prefill
    substitute(
        monkeypatch, prefix_module, "prefill", lambda generator, ids: reads.append(len(ids)) or read(generator, ids)
    )
    substitute(monkeypatch, decoding_module, "GENERATION_TOKENS", 200)
    substitute(monkeypatch, continuations_module, "LOGITS", 1500)
    substitute(monkeypatch, beam_search_module, "MIXED_LOGITS", 700)
    substitute(monkeypatch, continuations_module, "COPY_TOKENS", 150)
    for ours, theirs in zip(search(generator, n_beams=n_beams), whole, strict=True):
        assert ours.texts == theirs.texts and (ours.in_beam == theirs.in_beam).all()
        np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=1e-4)
    assert uncached(rag.rag_token_generate, generator, PROMPTS, prior, 5, n_beams) == texts
    assert reads == [N_DOCS] * 6


def test_prompts_are_read_once(generator, monkeypatch):
    """Only answer tokens go through the model after that, however many candidates there are."""
    fed, read_, advance = [], generation.prefill, generation.decode_step

    def reading(generator, prompt_ids):
        fed.append(("read", sum(map(len, prompt_ids))))
        return read_(generator, prompt_ids)

    def advancing(generator, read, tokens, *visible):
        fed.append(("advance", tokens.shape[1]))
        return advance(generator, read, tokens, *visible)

    substitute(monkeypatch, prefix_module, "prefill", reading)
    substitute(monkeypatch, prefix_module, "decode_step", advancing)
    found = search(generator, n_beams=2)
    n_tokens = sum(len(generator.tokenizer(text)["input_ids"]) for row in PROMPTS for text in row)
    assert [count for kind, count in fed if kind == "read"] == [n_tokens]
    widths = [count for kind, count in fed if kind == "advance"]
    # Answers stand side by side in a row where the model allows it.
    assert len(widths) > 4 and max(widths) < 10 * max(len(candidates.texts) for candidates in found)


def test_search_stops_when_all_beams_have_ended(parrot, monkeypatch):
    steps, advance = [], generation.decode_step

    def counted(generator, read, tokens):
        steps.append(len(tokens))
        return advance(generator, read, tokens)

    substitute(monkeypatch, prefix_module, "decode_step", counted)
    texts = uncached(rag.rag_token_generate, parrot, [[":"], ["!"], ["+"]], [[0.0]] * 3, 200)
    assert texts == ["Paris", "", "Lima."]
    assert steps[0] == 2 and len(steps) < 8  # "!" ends at once and is dropped
    steps.clear()
    uncached(rag.rag_token_generate, parrot, [[":"], ["="]], [[0.0]] * 2, 100, 3)
    assert len(steps) < 50


def test_ties_go_to_the_smaller_place():
    import torch

    torch.manual_seed(0)
    values = torch.randint(0, 4, (50, 30)).float()
    for n in (1, 2, 7, 29, 30):
        top, places = beam_search_module._largest(values.clone(), n)
        expected = values.sort(dim=-1, descending=True, stable=True)
        assert (top == expected.values[:, :n]).all()
        order = (-top * 100 + places).argsort(-1)
        assert (places.gather(1, order) == expected.indices[:, :n]).all()
    # Two beams with equal scores and logits: the first beam first, then the smaller token.
    totals, parents, ids, ended = beam_search_module._continuations(
        torch.zeros(1, 2), torch.zeros(2, 5), torch.tensor([3]), 2, only_ends=False
    )
    assert (totals == 0).all()
    assert list(zip(parents[0].tolist(), ids[0].tolist(), strict=True)) == [
        (0, 0),
        (0, 1),
        (0, 3),
        (1, 0),
        (1, 1),
        (1, 3),
    ]
    assert ended[0].tolist() == [False, False, True] * 2


def test_bfloat16(tmp_path):
    generator = load(checkpoints.gemma3(tmp_path), "bfloat16")
    for prompts, candidates in zip(PROMPTS, search(generator, n_beams=2), strict=True):
        for text, row in zip(candidates.texts, candidates.logprobs, strict=True):
            expected = uncached(generation.answer_logprobs, generator, prompts, [text] * N_DOCS)
            np.testing.assert_allclose(row, [values.sum() for values in expected], atol=0.5)
    prompts = [text for row in PROMPTS for text in row]
    texts = uncached(rag.rag_token_generate, generator, [[text] for text in prompts], [[0.0]] * 9, 4)
    assert texts == uncached(generation.generate, generator, prompts, 4)
    token_logprobs, _ = rag.answer_token_logprobs(generator, PROMPTS, ANSWERS)
    assert str(token_logprobs.dtype) == "torch.float32"


def test_a_forced_first_token_is_kept(tmp_path):
    """As BART-large has it: every answer begins with <s>."""
    generator = load(checkpoints.bart(tmp_path))
    free = uncached(generation.generate, generator, [FAUST, PERU], 6)
    generator.model.generation_config.forced_bos_token_id = checkpoints.START
    for n_beams in (1, 3):
        texts = uncached(rag.rag_token_generate, generator, [[FAUST], [PERU]], [[0.0]] * 2, 6, n_beams)
        assert all(texts)
        if n_beams == 1:
            assert texts == uncached(generation.generate, generator, [FAUST, PERU], 6) != free
    require_exact(generator)


# What is kept


def count_calls(monkeypatch, name):
    module = {"_sequence_candidates": candidates_module, "_rag_token_generate": beam_search_module}[name]
    calls, compute = [], getattr(module, name)
    substitute(monkeypatch, module, name, lambda *arguments: calls.append(arguments) or compute(*arguments))
    return calls


def test_candidates_are_kept(bart, monkeypatch, cache_folder):
    calls = count_calls(monkeypatch, "_sequence_candidates")
    first = rag.sequence_candidates(bart, PROMPTS, 4)
    again = rag.sequence_candidates(bart, PROMPTS, 4)
    assert len(calls) == 1
    for ours, theirs in zip(first, again, strict=True):
        assert ours.texts == theirs.texts
        np.testing.assert_array_equal(ours.logprobs, theirs.logprobs)
        np.testing.assert_array_equal(ours.in_beam, theirs.in_beam)
        assert ours.in_beam.dtype == bool and isinstance(ours.logprobs, np.ndarray)
    split = [[FAUST, PERU], [SHORT]], [[FAUST], [PERU, SHORT]]
    variants = [
        (bart, PROMPTS, 5),
        (bart, PROMPTS, 4, 2),
        (bart, PROMPTS[::-1], 4),
        (bart, split[0], 4),
        (bart, split[1], 4),
        (dataclasses.replace(bart, sha256="0" * 64), PROMPTS, 4),
    ]
    for number, variant in enumerate(variants, start=2):
        rag.sequence_candidates(*variant)
        assert len(calls) == number, f"variant {number} was read from the cache"
    n_files = len(list(cache_folder.rglob("*.json")))
    uncached(rag.sequence_candidates, bart, PROMPTS, 4)
    assert len(calls) == number + 1 and len(list(cache_folder.rglob("*.json"))) == n_files == number


def test_answers_are_kept(bart, monkeypatch):
    calls = count_calls(monkeypatch, "_rag_token_generate")
    prior = rag_prior()
    first = rag.rag_token_generate(bart, PROMPTS, prior, 4)
    assert rag.rag_token_generate(bart, PROMPTS, prior, 4) == first and len(calls) == 1
    variants = [
        (bart, PROMPTS, prior + 0.001, 4),
        (bart, PROMPTS, prior, 5),
        (bart, PROMPTS, prior, 4, 2),
        (bart, PROMPTS[::-1], prior, 4),
        (dataclasses.replace(bart, sha256="0" * 64), PROMPTS, prior, 4),
    ]
    for number, variant in enumerate(variants, start=2):
        rag.rag_token_generate(*variant)
        assert len(calls) == number, f"variant {number} was read from the cache"


# Prompts read by compiled layers


@pytest.fixture
def one_layer(n_compiled, tmp_path):
    """A Gemma of one layer and the same with compiled layers."""
    folder = checkpoints.gemma3(tmp_path / "gemma3", ("sliding_attention",))
    plain, compiled = load(folder), load(folder)
    assert generation.compile_layers(compiled)
    return plain, compiled


def test_compiled_layers_read_prompts_as_plain_ones(one_layer):
    plain, compiled = one_layer
    for ours, theirs in zip(search(compiled), search(plain), strict=True):
        assert ours.texts == theirs.texts and (ours.in_beam == theirs.in_beam).all()
        np.testing.assert_allclose(ours.logprobs, theirs.logprobs, atol=1e-3)
    log_prior = rag_prior()
    ours, theirs = (uncached(rag.rag_token_generate, model, PROMPTS, log_prior, 5) for model in (compiled, plain))
    assert ours == theirs
    assert compiled.model.config._attn_implementation == "sdpa" and not prefix_module._keeping_attention()


def test_keys_in_the_wrong_order_would_be_noticed(one_layer, monkeypatch):
    plain, compiled = one_layer
    read = prefix_module._prefill_compiled

    def flipped(model, *inputs):
        cache, hidden = read(model, *inputs)
        cache.layers[0].keys = cache.layers[0].keys.flip(2)
        return cache, hidden

    substitute(monkeypatch, prefix_module, "_prefill_compiled", flipped)
    values = [np.concatenate([row.logprobs.ravel()[:1] for row in search(model)]) for model in (compiled, plain)]
    assert not np.allclose(*values, atol=1e-3)


def test_another_attention_is_not_replaced(one_layer, monkeypatch):
    """Models that cap their attention scores need the eager one: sdpa would leave the cap out."""
    _, compiled = one_layer
    compiled.model.set_attn_implementation("eager")
    substitute(monkeypatch, prefix_module, "_prefill_compiled", lambda *inputs: pytest.fail("read by sdpa"))
    assert search(compiled)
