"""RAG (Lewis et al. 2020): the two marginal likelihoods in log space, and decoding with each; RA-DIT's LSR loss."""

import copy
import functools
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbutils import generation
from nbutils.cache import cached_json
from nbutils.errors import InputError
from nbutils.files import sha256_source, sha256_text
from nbutils.models import Generator
from nbutils.progress import progress_bar
from nbutils.retrieval import batches_by_length

LOGITS = 2**26  # numbers in one matrix of logits: 256 MB in float32
MIXED_LOGITS = 2**21  # and of those that are mixed over the passages at once: they should stay in a processor's cache
READING_TOKENS = 4096  # prompt tokens that compiled layers read at once
SCORING_TOKENS = 32768  # prompt and answer tokens of which keys and values are copied at once

DIRECTIONS = ("p_R||p_LSR", "p_LSR||p_R")  # of RA-DIT's KL divergence; the first is the paper's
REDUCTIONS = ("mean", "sum", "elements")  # over questions, or as torch's kl_div has it: over questions and passages
KEEPING = "sdpa_that_keeps"  # the attention by which compiled layers hand over their keys and values

# Formulas. B questions, K passages, T answer tokens; natural logarithms throughout.


def document_logprior(scores, temperature: float = 1.0):
    """log p(z|x) over the K retrieved passages: (B, K) -> (B, K), Lewis et al. 2020 sec. 2.2.

    `scores` are inner products d(z).q(x), or any other logits (BM25's); a passage with score -inf is left out. Inner
    products of unit vectors need a small temperature. Raises InputError where no passage of a question is left.
    """
    if not temperature > 0:
        raise InputError(f"temperature = {temperature}: it divides the scores and must be positive")
    left_out = (scores == -float("inf")).all(-1)
    if left_out.any():
        raise InputError(
            f"question number {int(left_out.long().argmax())} has no passage with a score: keep at least 1"
        )
    return (scores.float() / temperature).log_softmax(-1)


def sequence_logprob(log_prior, token_logprobs, mask):
    """log p_RAG-Sequence(y|x) = log sum_z p(z|x) prod_i p(y_i|x,z,y_<i), Lewis et al. 2020 sec. 2.1: (B,).

    log_prior (B, K); token_logprobs (B, K, T) of log p(y_i|x,z,y_<i); mask (B, T), True at answer tokens.
    """
    return (log_prior + token_logprobs.where(mask[:, None], 0.0).sum(-1)).logsumexp(-1)


def token_logprob(log_prior, token_logprobs, mask):
    """Every factor of RAG-Token, log sum_z p(z|x) p(y_i|x,z,y_<i), Lewis et al. 2020 sec. 2.1: (B, T), 0 off the mask.

    Their sum over i is log p_RAG-Token(y|x). Arguments as in `sequence_logprob`.
    """
    return (log_prior[..., None] + token_logprobs.where(mask[:, None], 0.0)).logsumexp(1).where(mask, 0.0)


def document_posterior(log_prior, token_logprobs):
    """log p(z|x,y_1:i), proportional to p(z|x) p(y_i|x,z,y_<i), Lewis et al. 2020 fig. 2: (B, K, T), normalised over K.

    log_prior (B, K), token_logprobs (B, K, T). Each token is weighed against the prior, not against its predecessors.
    """
    return (log_prior[..., None] + token_logprobs).log_softmax(1)


def lsr_logprob(lm_logprobs, temperature: float = 0.01):
    """log p_LSR(c|x,y) over the K passages, softmax of p_LM(y|c,x) / temperature, Lin et al. 2023 sec. 2.4: (B, K).

    lm_logprobs (B, K) holds log p_LM(y|c,x) of whole answers. The paper exponentiates the *probability*: two passages
    under which the answer is all but impossible count the same, however far apart their log-probabilities are.
    """
    if not temperature > 0:
        raise InputError(f"LSR temperature = {temperature}: it divides probabilities and must be positive")
    return (lm_logprobs.exp() / temperature).log_softmax(-1)


def lsr_loss(
    log_prior, lm_logprobs, temperature: float = 0.01, direction: str = DIRECTIONS[0], reduction: str = REDUCTIONS[0]
):
    """RA-DIT's loss of the retriever, KL(p_R(c|x) || p_LSR(c|x,y)), Lin et al. 2023 sec. 2.4: a scalar.

    log_prior (B, K) is log p_R, whose gradient trains the retriever; lm_logprobs (B, K) as in `lsr_logprob`.
    `direction` "p_LSR||p_R" and `reduction` "elements" (1/K of "mean") are what other implementations compute.
    """
    if direction not in DIRECTIONS or reduction not in REDUCTIONS:
        known = f"one of {', '.join(DIRECTIONS)} and one of {', '.join(REDUCTIONS)}"
        raise InputError(f"direction {direction!r} with reduction {reduction!r} is unknown: use {known}")
    pair = (log_prior, lsr_logprob(lm_logprobs, temperature))
    first, second = pair if direction == DIRECTIONS[0] else pair[::-1]
    divergences = (first.exp() * (first - second)).sum(-1)  # (B,)
    if reduction == "sum":
        return divergences.sum()
    return divergences.mean() / (log_prior.shape[-1] if reduction == "elements" else 1)


def passage_logprobs(
    generator: Generator, prompts: list[list[str]], answers: list[str], per_token: bool = False
) -> np.ndarray:
    """log p_LM(y|c,x) of each question's answer under each of its prompts, one a passage: (B, K), for `lsr_loss`.

    The answer's own tokens count, not its ending, which a model without solved examples does not foresee. `per_token`
    divides by their number: the probability of a text of fifty tokens is 0 under every passage. Equally many prompts a
    question; results are kept by content, see `generation.answer_logprobs`.
    """
    n_docs = _require_prompts(prompts, equally_many=True)
    flat, repeated = [prompt for row in prompts for prompt in row], [y for y in answers for _ in range(n_docs)]
    token_logprobs = generation.answer_logprobs(generator, flat, repeated)
    if generator.seq2seq:
        counts = [len(row) - 1 for row in token_logprobs]
    else:
        bare = generator.tokenizer([f" {answer}" for answer in answers], add_special_tokens=False)["input_ids"]
        counts = [len(ids) for ids in bare for _ in range(n_docs)]
    totals = [row[:n].sum() / (n if per_token else 1) for row, n in zip(token_logprobs, counts, strict=True)]
    return np.array(totals).reshape(len(prompts), n_docs)


def answer_token_logprobs(generator: Generator, prompts: list[list[str]], answers: list[str]):
    """log p(y_i|x,z,y_<i) of one batch with gradients, (B, K, T), and the mask (B, T) of the answers' tokens.

    `prompts`: for each question one prompt per passage, equally many for all. 0 where the mask is False. The answer
    is tokenised and ended as in `generation.answer_logprobs`; its tokens are the same under every passage.
    """
    import torch

    n_docs = _require_prompts(prompts, equally_many=True)
    if len(prompts) != len(answers):
        raise InputError(f"{len(prompts)} questions and {len(answers)} answers: give one answer to each question")
    flat_prompts = [prompt for row in prompts for prompt in row]
    flat_answers = [answer for answer in answers for _ in range(n_docs)]
    prompt_ids, answer_ids = generation.tokenise_pairs(generator, flat_prompts, flat_answers)
    flat = generation.batch_logprobs(generator, prompt_ids, answer_ids)  # (sum over b, k of T_b)
    lengths = torch.tensor([len(ids) for ids in answer_ids[::n_docs]], device=flat.device)
    mask = torch.arange(int(lengths.max()), device=flat.device) < lengths[:, None]
    token_logprobs = flat.new_zeros(len(prompts), n_docs, mask.shape[1])
    return token_logprobs.masked_scatter(mask[:, None].expand_as(token_logprobs), flat), mask


# RAG-Sequence


@dataclass(frozen=True)
class Candidates:
    """The answers found for one question, in the order in which the passages' beams bring them."""

    texts: list[str]  # C; the empty answer is among them only where some passage's beam holds nothing else
    logprobs: np.ndarray  # (C, K) log p(y|x,z), exact, the ending included
    in_beam: np.ndarray  # (C, K) bool: y was in the beam of z


def sequence_candidates(
    generator: Generator,
    prompts: list[list[str]],
    max_new_tokens: int,
    n_beams: int = 1,
    use_cache: bool = True,
    thorough: bool = True,
) -> list[Candidates]:
    """Candidates of each question: a beam search per passage, their union, and every answer under every passage.

    `prompts`: for each question one prompt per passage, best passage first. Each prompt is read once: its keys and
    values serve the beam and the scores of all candidates. `thorough=False` leaves out the scores that Fast decoding
    does not need (-inf where y was not in the beam of z). Results are kept by content, see `generation.generate`.
    """
    _require_prompts(prompts)
    _require_search(max_new_tokens, n_beams)

    def compute() -> list:
        found = _sequence_candidates(generator, prompts, max_new_tokens, n_beams, thorough)
        return [[row.texts, row.logprobs.tolist(), row.in_beam.tolist()] for row in found]

    if use_cache:
        key = _key(generator, f"sequence {max_new_tokens} {n_beams} {thorough}", prompts)
        rows = cached_json("rag", key, compute)
    else:
        rows = compute()
    return [Candidates(texts, np.array(logprobs), np.array(in_beam)) for texts, logprobs, in_beam in rows]


def marginal(candidates: Candidates, log_prior: np.ndarray, fast: bool = False) -> np.ndarray:
    """log p(y|x) of each candidate, (C,): thorough, sum_z p(z|x) p(y|x,z) (Lewis et al. 2020 sec. 2.5).

    This sum is also RA-DIT's and REPLUG's parallel in-context ensemble (Lin et al. 2023 sec. 2.1).

    Fast decoding takes p(y|x,z) as 0 where y was not in the beam of z. log_prior is (K',); with K' < K only the first
    K' passages count, and only what their beams hold: others get -inf, so that the scores are those of a search with
    K' passages. A passage with log prior -inf counts as not retrieved. The empty answer gets -inf as long as there is
    another.
    """
    log_prior = np.asarray(log_prior, dtype=np.float64)
    n_docs = len(log_prior)
    if not 1 <= n_docs <= candidates.logprobs.shape[1]:
        raise InputError(f"{n_docs} priors for candidates of {candidates.logprobs.shape[1]} passages: give 1 for each")
    in_beam = candidates.in_beam[:, :n_docs] & np.isfinite(log_prior)
    found = in_beam.any(1)
    if not found.any():
        raise InputError("all passages have prior 0: keep at least 1")
    named = np.array([text != "" for text in candidates.texts])
    if (found & named).any():
        found &= named
    joint = log_prior + candidates.logprobs[:, :n_docs]
    scores = np.logaddexp.reduce(np.where(in_beam, joint, -np.inf) if fast else joint, axis=1)
    return np.where(found, scores, -np.inf)


def best(candidates: Candidates, log_prior: np.ndarray, fast: bool = False) -> str:
    """The answer of RAG-Sequence: the candidate with the largest `marginal`, the first of equals."""
    return candidates.texts[int(marginal(candidates, log_prior, fast).argmax())]


def option_logprobs(
    generator: Generator, prompts: list[list[str]], options: list[list[str]], use_cache: bool = True
) -> list[np.ndarray]:
    """log p(y|x,z) of every option of a question under each of its prompts, the ending included: (C, K) arrays.

    Constrained choice: the answer is the option with the largest sum over passages, `numpy.logaddexp` of these and
    log p(z|x). Each prompt is read once. Results are kept by content, see `generation.generate`.
    """
    _require_prompts(prompts)
    if len(options) != len(prompts) or not all(text.strip() for row in options for text in row or [""]):
        raise InputError(f"{len(options)} lists of options for {len(prompts)} questions: give one each, none blank")

    def compute() -> list:
        return [row.tolist() for row in _option_logprobs(generator, prompts, options)]

    if not use_cache:
        return [np.array(row) for row in compute()]
    texts = [part for row in options for part in (str(len(row)), *row)]
    key = _key(generator, "options", [*prompts, texts])
    return [np.array(row) for row in cached_json("rag", key, compute)]


def _option_logprobs(generator: Generator, prompts: list[list[str]], options: list[list[str]]) -> list[np.ndarray]:
    prompt_ids = _tokenise(generator, prompts, 1)
    _compile_for(generator, prompt_ids)
    results: list[np.ndarray] = [np.empty(0)] * len(prompts)
    with _inference(), progress_bar(len(prompts), "Scoring options") as progress:
        for block in _blocks(generator, prompt_ids, 1, 1):
            n_docs = len(prompt_ids[block[0]])
            read, features = _read(generator, [ids for row in block for ids in prompt_ids[row]])
            rows, answers = [], []
            for i, row in enumerate(block):
                for ids in _answer_ids(generator, max(prompts[row], key=len), options[row]):
                    rows += range(i * n_docs, (i + 1) * n_docs)
                    answers += [ids] * n_docs
            flat = _score(generator, read, features, rows, answers).cpu().double().numpy()
            for row in block:
                size = len(options[row]) * n_docs
                results[row], flat = flat[:size].reshape(-1, n_docs), flat[size:]
            progress.update(len(block))
    return results


def prior_over(pool: Sequence[str], ids: Sequence[str], log_prior: np.ndarray) -> np.ndarray:
    """log p(z|x) over the passages of `pool`: that of `ids` in their places, -inf (not retrieved) elsewhere.

    So that the candidates of a pool, read once, serve every retriever whose passages are in it.
    """
    spread = np.full(len(pool), -np.inf)
    spread[[list(pool).index(id_) for id_ in ids]] = log_prior
    return spread


def _sequence_candidates(
    generator: Generator, prompts: list[list[str]], max_new_tokens: int, n_beams: int, thorough: bool
) -> list[Candidates]:
    import torch

    prompt_ids = _tokenise(generator, prompts, max_new_tokens)
    _compile_for(generator, prompt_ids)
    results: list[Candidates | None] = [None] * len(prompts)
    with _inference(), progress_bar(len(prompts), "RAG-Sequence") as progress:
        for block in _blocks(generator, prompt_ids, max_new_tokens, n_beams):
            n_docs = len(prompt_ids[block[0]])
            read, features = _read(generator, [ids for row in block for ids in prompt_ids[row]])
            single = torch.zeros(len(features), 1, device=features.device)  # every passage on its own
            beams = _search(generator, _fork(read), features, single, max_new_tokens, n_beams, n_beams)
            unions = [_union(beams[i * n_docs : (i + 1) * n_docs]) for i in range(len(block))]
            rows, answers, held = [], [], []
            for i, (row, texts) in enumerate(zip(block, unions, strict=True)):
                held.append(np.array([[text in beams[i * n_docs + k] for k in range(n_docs)] for text in texts]))
                for ids, in_beam in zip(
                    _answer_ids(generator, max(prompts[row], key=len), texts), held[-1], strict=True
                ):
                    needed = np.flatnonzero(in_beam | thorough)
                    rows += (i * n_docs + needed).tolist()
                    answers += [ids] * len(needed)
            flat = _score(generator, read, features, rows, answers).cpu().double().numpy()
            for row, texts, in_beam in zip(block, unions, held, strict=True):
                logprobs = np.full(in_beam.shape, -np.inf)
                n_scores = int((in_beam | thorough).sum())
                logprobs[in_beam | thorough], flat = flat[:n_scores], flat[n_scores:]
                results[row] = Candidates(texts, logprobs, in_beam)
            progress.update(len(block))
    return results


def _union(beams: list[list[str]]) -> list[str]:
    return list(dict.fromkeys(text for beam in beams for text in beam))


def _answer_ids(generator: Generator, prompt: str, texts: list[str]) -> list[list[int]]:
    """Standard tokens of the answers, with their ending; of the empty answer the ending alone."""
    _, answer_ids = generation.tokenise_pairs(generator, [prompt] * len(texts), texts)
    if not generator.seq2seq:
        ending = generator.tokenizer(generation.ENDING, add_special_tokens=False)["input_ids"]
        answer_ids = [ids if text else ending for ids, text in zip(answer_ids, texts, strict=True)]
    return answer_ids


# RAG-Token


def decode_token(
    generator: Generator,
    prompts: list[list[str]],
    log_prior: np.ndarray,
    max_new_tokens: int,
    n_beams: int = 1,
    use_cache: bool = True,
) -> list[str]:
    """The answer of RAG-Token to each question: beam search over log sum_z p(z|x) p(y_i|x,z,y_<i), greedy by default.

    `prompts`: for each question one prompt per passage; log_prior (B, K). Passages with log prior -inf are not read.
    Results are kept by content, see `generation.generate`.
    """
    _require_prompts(prompts)
    _require_search(max_new_tokens, n_beams)
    log_prior = [np.asarray(row, dtype=np.float64) for row in log_prior]
    if [len(row) for row in log_prior] != [len(row) for row in prompts]:
        raise InputError("the log priors do not fit the prompts: give one to each prompt of each question")
    for number, row in enumerate(log_prior):
        if np.isnan(row).any() or not np.isfinite(row).any():
            raise InputError(f"the log priors of question number {number} are {row}: keep at least 1 passage")
    if not use_cache:
        return _decode_token(generator, prompts, log_prior, max_new_tokens, n_beams)[0]
    priors = " ".join(repr(float(value)) for row in log_prior for value in row)
    key = _key(generator, f"token {max_new_tokens} {n_beams} {priors}", prompts)
    return cached_json("rag", key, lambda: _decode_token(generator, prompts, log_prior, max_new_tokens, n_beams)[0])


def decode_token_at(
    generator: Generator,
    prompts: list[list[str]],
    log_prior: np.ndarray,
    n_docs: Sequence[int],
    max_new_tokens: int,
    n_beams: int = 1,
    use_cache: bool = True,
) -> dict[int, list[str]]:
    """The answers of RAG-Token with the first k passages, for each k of `n_docs`: {k: as `decode_token`}.

    `prompts` B x K and log_prior (B, K), all finite, which is renormalised over the first k. Each prompt is read once.
    """
    width = _require_prompts(prompts, equally_many=True)
    _require_search(max_new_tokens, n_beams)
    log_prior = np.asarray(log_prior, dtype=np.float64)
    if log_prior.shape != (len(prompts), width) or not np.isfinite(log_prior).all():
        raise InputError(
            f"log priors {log_prior.shape} for {len(prompts)} x {width} prompts: give a finite one to each"
        )
    if not n_docs or not all(1 <= k <= width for k in n_docs):
        raise InputError(f"n_docs = {list(n_docs)}: give numbers from 1 to {width}")
    rows = list(log_prior)

    def compute() -> list:
        return _decode_token(generator, prompts, rows, max_new_tokens, n_beams, n_docs)

    if not use_cache:
        return dict(zip(n_docs, compute(), strict=True))
    priors = " ".join(repr(float(value)) for value in log_prior.ravel())
    key = _key(generator, f"token at {list(n_docs)} {max_new_tokens} {n_beams} {priors}", prompts)
    return dict(zip(n_docs, cached_json("rag", key, compute), strict=True))


def _decode_token(
    generator: Generator,
    prompts: list[list[str]],
    log_prior: list[np.ndarray],
    max_new_tokens: int,
    n_beams: int,
    n_docs: Sequence[int] | None = None,
) -> list[list[str]]:
    """For each of `n_docs` (None: all passages) the texts of all questions."""
    import torch

    kept = [np.flatnonzero(np.isfinite(row)) for row in log_prior]
    prompts = [[row[k] for k in docs] for row, docs in zip(prompts, kept, strict=True)]
    prompt_ids = _tokenise(generator, prompts, max_new_tokens)
    _compile_for(generator, prompt_ids)
    texts = [[""] * len(prompts) for _ in n_docs or (None,)]
    with _inference(), progress_bar(len(prompts), "RAG-Token") as progress:
        for block in _blocks(generator, prompt_ids, max_new_tokens, n_beams):
            read, features = _read(generator, [ids for row in block for ids in prompt_ids[row]])
            prior = np.stack([log_prior[row][kept[row]] for row in block])
            prior = torch.tensor(prior, dtype=torch.float32, device=features.device)
            width = prior.shape[1]
            for answers, k in zip(texts, n_docs or (width,), strict=True):
                rows = torch.arange(len(features), device=features.device).view(-1, width)[:, :k].flatten()
                first = prior[:, :k].log_softmax(-1) if k < width else prior
                read_first = _fork(_select(read, rows))
                beams = _search(generator, read_first, features[rows], first, max_new_tokens, n_beams, 1)
                for row, beam in zip(block, beams, strict=True):
                    answers[row] = beam[0]
            progress.update(len(block))
    return texts


# Beam search over the marginal distribution of the next token


def _search(
    generator: Generator, read: "_Read", features, log_prior, max_new_tokens: int, n_beams: int, n_best: int
) -> list[list[str]]:
    """The `n_best` most likely texts of each of G groups of K prompts, best first; distinct, "" only where alone.

    log_prior (G, K); row g * K + k of `read` and of `features` is prompt k of group g. A score is a sum of log
    probabilities, the ending included, without length normalisation. As in transformers, an ended beam counts if it
    is among the best `n_beams` continuations. What has not ended after `max_new_tokens` is cut there and ended.
    """
    import torch

    device, (n_groups, n_docs) = features.device, log_prior.shape
    ends = torch.tensor(_end_tokens(generator), device=device)
    found: list[dict[str, float]] = [{} for _ in range(n_groups)]
    groups = torch.arange(n_groups, device=device)  # those still searched, each with W beams
    scores = torch.zeros(n_groups, 1, device=device)  # (G, W)
    tokens = torch.empty(n_groups, 1, 0, dtype=torch.long, device=device)  # (G, W, length)
    limit = max_new_tokens
    if generator.seq2seq:
        settings = generator.model.generation_config
        limit -= settings.forced_eos_token_id is not None  # transformers counts a forced ending
        if settings.forced_bos_token_id is not None and limit > 0:
            tokens = torch.full((n_groups, 1, 1), settings.forced_bos_token_id, device=device)
            features = _advance(generator, read, tokens[:, 0].repeat_interleave(n_docs, 0))[:, -1]
    while True:
        last = tokens.shape[2] == limit
        if last and n_beams == 1:  # cut: there is nothing to compare with
            for group, text in zip(groups.tolist(), _first_lines(generator, tokens[:, 0].tolist()), strict=True):
                found[group][text] = 0.0
            break
        width = scores.shape[1]
        prior = log_prior[groups].repeat_interleave(width, 0)
        logprobs = _next_logprobs(generator, features, prior, comparable=n_beams > 1)  # (G * W, V)
        totals, parents, ids, ended = _continuations(scores, logprobs, ends, n_beams, only_ends=last)
        i, j = ended[:, :n_beams].nonzero().T
        lines = _first_lines(generator, torch.cat([tokens[i, parents[i, j]], ids[i, j, None]], 1).tolist())
        for group, text, total in zip(groups[i].tolist(), lines, totals[i, j].tolist(), strict=True):
            found[group][text] = max(found[group].get(text, -torch.inf), total)
        if last:
            break
        # The best that have not ended go on, in the groups where they may still lead to something better.
        n_going = min(n_beams, int((~ended[0]).sum()))
        places = ended.long().sort(dim=-1, stable=True).indices[:, :n_going]
        if n_beams == 1:
            going = ~ended[:, 0]
        else:
            bounds = totals.gather(1, places)[:, 0].tolist()
            settled = [_is_settled(found[g], bound, n_best) for g, bound in zip(groups.tolist(), bounds, strict=True)]
            going = ~torch.tensor(settled, device=device)
        left = going.nonzero()[:, 0]
        if not len(left):
            break
        places = places[left]
        scores, parents, ids = (table[left].gather(1, places) for table in (totals, parents, ids))
        tokens = tokens[left[:, None], parents]  # (G, W, length)
        tokens = torch.cat([tokens, ids[..., None]], 2)
        beams = (left[:, None] * width + parents).flatten()
        rows = (beams[:, None] * n_docs + torch.arange(n_docs, device=device)).flatten()
        read = _select(read, rows, same_prompts=len(left) == len(groups) and n_going == width)
        groups = groups[left]
        features = _advance(generator, read, ids.flatten().repeat_interleave(n_docs)[:, None])[:, -1]
    ranked = [sorted(filter(None, texts), key=lambda text, texts=texts: -texts[text]) for texts in found]
    return [texts[:n_best] or [""] for texts in ranked]


def _is_settled(texts: dict[str, float], bound: float, n_best: int) -> bool:
    """True when `n_best` answers have at least the score of the best beam: it can only fall."""
    return sum(text != "" and score >= bound for text, score in texts.items()) >= n_best


def _continuations(scores, logprobs, ends, n_beams: int, only_ends: bool):
    """The likeliest continuations of each group, best first: totals, parent beams, tokens and "has ended", (G, N) each.

    scores (G, W); logprobs (G * W, V), which is overwritten. Of every beam as many as may be needed: `n_beams` that
    go on and `n_beams` that end. Ties go to the better beam, then to the smaller token number.
    """
    import torch

    n_groups = len(scores)
    end_values, places = _largest(logprobs[:, ends], min(n_beams, len(ends)))
    logprobs.index_fill_(1, ends, -torch.inf)
    n_going = 0 if only_ends else min(n_beams, logprobs.shape[1] - len(ends))
    values, ids = _largest(logprobs, n_going)
    # By beam and token number first, so that a stable sort by score leaves ties in that order.
    ids, by_id = torch.cat([ids, ends[places]], 1).sort(-1)
    values = torch.cat([values, end_values], 1).gather(1, by_id)
    totals, ranking = (scores.view(-1, 1) + values).view(n_groups, -1).sort(dim=-1, descending=True, stable=True)
    ended = (by_id >= n_going).view(n_groups, -1).gather(1, ranking)
    return totals, ranking // ids.shape[1], ids.view(n_groups, -1).gather(1, ranking), ended


def _largest(values, n: int):
    """The `n` largest of each row and their places, ties to the smaller place (which topk does not promise)."""
    if n == 1:
        largest = values.max(-1, keepdim=True)
        return largest.values, largest.indices
    top, places = values.topk(min(n + 1, values.shape[1]))
    if 0 < n < values.shape[1]:  # otherwise nothing is left out
        for row in (top[:, n - 1] == top[:, n]).nonzero()[:, 0].tolist():
            tied = (values[row] >= top[row, n - 1]).nonzero()[:, 0]
            places[row, :n] = tied[values[row, tied].sort(descending=True, stable=True).indices[:n]]
    return top[:, :n], places[:, :n]


def _next_logprobs(generator: Generator, features, log_prior, comparable: bool):
    """log sum_z p(z|x) p(y|x,z,...) of every next token, (rows of log_prior, V) float32.

    Of a single passage the logits will do where rows need not be `comparable`: the order of the tokens is the same.
    """
    logits = _logits(generator, features)
    n_docs, width = log_prior.shape[1], logits.shape[1]
    if n_docs == 1 and not comparable:
        return logits.float().clone() if generator.seq2seq else logits.float()
    logits = logits.view(-1, n_docs, width)
    mixed = log_prior.new_empty(len(logits), width)
    step = max(1, MIXED_LOGITS // (n_docs * width))
    for start in range(0, len(mixed), step):
        part = slice(start, start + step)
        mixed[part] = generation.fused(generator, _mix, logits[part], log_prior[part])
    return mixed


def _mix(logits, log_prior):
    """log sum_z p(z) p(y|z) in float32: logits (G, K, V) and log priors (G, K) -> (G, V)."""
    return (logits.float().log_softmax(-1) + log_prior[..., None]).logsumexp(1)


def _normaliser(logits):
    return logits.float().logsumexp(-1)


def _first_lines(generator: Generator, sequences: list[list[int]]) -> list[str]:
    """The texts of the answers, as `generation.generate` returns them."""
    texts = generator.tokenizer.batch_decode(sequences, skip_special_tokens=True) if sequences else []
    return [text.strip("\n").split("\n")[0].strip() for text in texts]


def _end_tokens(generator: Generator) -> list[int]:
    newlines = [] if generator.seq2seq else generation.newline_tokens(generator.tokenizer)
    return sorted({generator.tokenizer.eos_token_id, *newlines})


# Prompts that are read once


@dataclass(frozen=True)
class _Read:
    """R prompts that a model has read, and what it remembers of them."""

    cache: Any  # keys and values, of the tokens after the prompt too; the model extends it
    mask: Any  # (R, S) of the prompts: left-padded for decoder-only models, right-padded for an encoder
    encoder_states: Any  # (R, S, D), None for decoder-only models


def _read(generator: Generator, prompt_ids: list[list[int]]):
    """A `_Read` of the prompts, and features (R, .) of the first answer token."""
    import torch

    model, pad_token_id = generator.model, generator.tokenizer.pad_token_id
    inputs, mask = generation.pad(prompt_ids, pad_token_id, model.device, left=not generator.seq2seq)
    if not generator.seq2seq:
        # Models that cap their attention scores need the eager attention.
        if generation.is_compiled(generator) and model.config._attn_implementation == "sdpa":
            cache, features = _read_compiled(model, prompt_ids, pad_token_id)
            return _Read(cache, mask, None), features
        positions = _positions(mask)
        output = model.get_decoder()(input_ids=inputs, attention_mask=mask, position_ids=positions, use_cache=True)
        return _Read(output.past_key_values, mask, None), output.last_hidden_state[:, -1]
    from transformers import DynamicCache, EncoderDecoderCache

    states = model.get_encoder()(input_ids=inputs, attention_mask=mask).last_hidden_state
    read = _Read(EncoderDecoderCache(DynamicCache(), DynamicCache()), mask, states)
    start = torch.full((len(prompt_ids), 1), model.config.decoder_start_token_id, device=model.device)
    return read, _advance(generator, read, start)[:, -1]


def _positions(mask):
    """Of the tokens of left-padded prompts: (R, S)."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def _read_compiled(model, prompt_ids: list[list[int]], pad_token_id: int):
    """Cache of the prompts, left-padded to the longest, and the hidden states (R, D) of their last tokens.

    A layer that fills a cache itself is compiled anew for each place in it. So the layers run without one, and keys and
    values are taken on their way into the attention, in the order of the layers. Prompts of similar length are read
    together: the passages of a question are not equally long, and padding costs as much as text.
    """
    import torch
    from transformers import DynamicCache

    usual, kept = model.config._attn_implementation, _keeping_attention()
    width, order, parts, last = max(map(len, prompt_ids)), [], [], []
    model.set_attn_implementation(KEEPING)
    try:
        for batch in batches_by_length([len(ids) for ids in prompt_ids], READING_TOKENS):
            inputs, mask = generation.pad(
                [prompt_ids[row] for row in batch],
                pad_token_id,
                model.device,
                generation.COMPILED_BATCH_STEP,
                left=True,
            )
            with torch.compiler.set_stance("default"):
                output = model.get_decoder()(
                    input_ids=inputs, attention_mask=mask, position_ids=_positions(mask), use_cache=False
                )
            order += batch
            parts.append([[_to_width(tensor, width) for tensor in layer] for layer in kept])
            last.append(output.last_hidden_state[:, -1])
            kept.clear()
    finally:
        model.set_attn_implementation(usual)
        kept.clear()
    back = torch.tensor(order, device=model.device).argsort()
    cache = DynamicCache(config=model.config)
    for layer, of_batches in enumerate(zip(*parts, strict=True)):
        keys, values = (torch.cat(tensors)[back] for tensors in zip(*of_batches, strict=True))
        cache.update(keys, values, layer)
    return cache, torch.cat(last)[back]


def _to_width(tensor, width: int):
    """Keys or values (R, H, S, D) with S cut or padded on the left: (R, H, width, D)."""
    import torch

    return torch.nn.functional.pad(tensor, (0, 0, width - tensor.shape[2], 0))


@functools.cache
def _keeping_attention() -> list:
    """The list to which the attention called KEEPING adds the keys and values that it is given."""
    import torch
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    kept: list = []

    @torch.compiler.disable
    def keep(keys, values) -> None:
        kept.append((keys, values))

    def attention(module, query, key, value, attention_mask, **options):
        keep(key, value)
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)

    AttentionInterface.register(KEEPING, attention)
    AttentionMaskInterface.register(KEEPING, sdpa_mask)
    return kept


def _advance(generator: Generator, read: _Read, tokens, visible=None):
    """Features (R, t, .) of what follows each of the tokens (R, t), which are added to the cache of `read`.

    They are what `_logits` takes: hidden states of a decoder-only model, of which few rows may be needed and each row
    of logits is large; the logits of a sequence-to-sequence model, which may scale or shift them on the way.
    `visible` (R, t, t) bool, first tokens after a prompt only: which of the tokens each one looks at; they all follow
    the prompt directly. None: each token looks at all before it.
    """
    import torch

    model = generator.model
    if generator.seq2seq:
        return model(
            encoder_outputs=(read.encoder_states,),
            attention_mask=read.mask,
            decoder_input_ids=tokens,
            past_key_values=read.cache,
            use_cache=True,
        ).logits
    before = read.cache.get_seq_length() - read.mask.shape[1]  # tokens since the prompt
    if visible is None:
        mask = torch.cat([read.mask, read.mask.new_ones(len(tokens), before + tokens.shape[1])], 1)
        offsets = before + torch.arange(tokens.shape[1], device=tokens.device)
    else:
        prompt = read.mask.bool()[:, None].expand(-1, tokens.shape[1], -1)
        mask = torch.cat([prompt, visible], 2)[:, None]  # (R, 1, t, S + t)
        offsets = visible.sum(-1) - 1
    return model.get_decoder()(
        input_ids=tokens,
        attention_mask=mask,
        position_ids=read.mask.sum(1, keepdim=True) + offsets,
        past_key_values=read.cache,
        use_cache=True,
    ).last_hidden_state


def _logits(generator: Generator, features):
    """Logits (N, V) of features (N, .). Of a matrix, not of (R, t, .): in bfloat16 that copies the head."""
    import torch

    if generator.seq2seq:
        return features
    logits = generator.model.get_output_embeddings()(features)
    cap = getattr(generator.model.config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def _fork(read: _Read) -> _Read:
    """The same prompts with a cache of their own; tensors are shared, since a dynamic cache never writes into them."""
    return _Read(_fork_cache(read.cache), read.mask, read.encoder_states)


def _fork_cache(cache):
    from transformers import EncoderDecoderCache

    if isinstance(cache, EncoderDecoderCache):
        return EncoderDecoderCache(_fork_cache(cache.self_attention_cache), _fork_cache(cache.cross_attention_cache))
    fork = copy.copy(cache)
    fork.layers = [copy.copy(layer) for layer in cache.layers]
    return fork


def _select(read: _Read, rows, same_prompts: bool = False) -> _Read:
    """Those rows of `read`, in that order and as often as named; `read` stays as it is.

    `same_prompts` says that only tokens after the prompt differ, for which an encoder's part need not be copied.
    """
    import torch

    if len(rows) == len(read.mask) and torch.equal(rows, torch.arange(len(rows), device=rows.device)):
        return read
    fork = _fork(read)
    if same_prompts and read.encoder_states is not None:
        fork.cache.self_attention_cache.batch_select_indices(rows)
        return fork
    fork.cache.batch_select_indices(rows)
    states = None if read.encoder_states is None else read.encoder_states[rows]
    return _Read(fork.cache, read.mask[rows], states)


def _score(generator: Generator, read: _Read, features, rows: list[int], answers: list[list[int]]):
    """log p of whole answers, (P,) float32: of the tokens `answers[i]` after prompt number `rows[i]` of `read`.

    `features` are those of the first answer token; only the further tokens go through the model. Where that can be
    done, all answers of a prompt go through it in one row, and what they begin with in common once.
    """
    import torch

    device, width = features.device, read.mask.shape[1]
    all_rows = torch.tensor(rows, device=device)
    first = torch.tensor([ids[0] for ids in answers], device=device)
    totals = _token_logprobs(generator, features, all_rows, first)
    longer = [i for i, ids in enumerate(answers) if len(ids) > 1]
    together = _can_share_rows(generator, width + max(map(len, answers)))
    groups: dict[int, list[int]] = {}  # numbers of the answers in one row
    for i in longer:
        groups.setdefault(rows[i] if together else i, []).append(i)
    members = list(groups.values())
    trees = [_tree([answers[i][:-1] for i in group]) for group in members]
    # A sequence-to-sequence model gives all logits at once: count each as a share of what may be alive.
    share = SCORING_TOKENS * _vocabulary(generator) // LOGITS if generator.seq2seq else 0
    lengths = [max(width + len(tree), share * len(tree)) for tree in trees]
    # Rows that hold several answers differ in length: small batches have less padding.
    for batch in batches_by_length(lengths, SCORING_TOKENS // 8 if together else SCORING_TOKENS):
        chosen = _select(read, all_rows[[members[number][0] for number in batch]])
        tokens = [[start[-1] for start in trees[number]] for number in batch]
        inputs, mask = generation.pad(tokens, generator.tokenizer.pad_token_id, device)
        # Right-padded: what follows an answer is not seen from it.
        visible = _ancestors([trees[number] for number in batch], inputs.shape[1]).to(device) if together else None
        outputs = _advance(generator, _fork(chosen), inputs, visible)[mask.bool()]
        places, pairs, before = [], [], 0
        for number in batch:
            for i in members[number]:
                places += [before + trees[number][tuple(answers[i][:t])] for t in range(1, len(answers[i]))]
                pairs += [i] * (len(answers[i]) - 1)
            before += len(trees[number])
        targets = [token for number in batch for i in members[number] for token in answers[i][1:]]
        places, pairs, targets = (torch.tensor(numbers, device=device) for numbers in (places, pairs, targets))
        totals.index_add_(0, pairs, _token_logprobs(generator, outputs, places, targets))
    return totals


def _can_share_rows(generator: Generator, width: int) -> bool:
    """True where a row may hold several answers: positions and attention can be set, and every layer sees it all."""
    config = generator.model.config
    window = getattr(config, "sliding_window", None)
    return not generator.seq2seq and config._attn_implementation == "sdpa" and (window is None or width < window)


def _tree(answers: list[list[int]]) -> dict[tuple[int, ...], int]:
    """Every beginning of the answers, each once, with its number; a beginning's own beginnings stand before it."""
    beginnings = dict.fromkeys(tuple(ids[:t]) for ids in answers for t in range(1, len(ids) + 1))
    return {beginning: number for number, beginning in enumerate(beginnings)}


def _ancestors(trees: list[dict[tuple[int, ...], int]], width: int):
    """Which tokens of its row each token looks at, (R, W, W) bool: those that it goes on from, and itself."""
    import torch

    visible = torch.eye(width, dtype=torch.bool).repeat(len(trees), 1, 1)
    for row, tree in enumerate(trees):
        for beginning, number in tree.items():
            visible[row, number, [tree[beginning[:t]] for t in range(1, len(beginning))]] = True
    return visible


def _token_logprobs(generator: Generator, features, rows, tokens):
    """log p of tokens (P,) after the features number `rows` (P,) of (N, .), with few logits alive at a time: (P,)."""
    import torch

    logprobs = torch.empty(len(rows), device=features.device)
    step = max(1, LOGITS // _vocabulary(generator))
    for start in range(0, len(features), step):
        logits = _logits(generator, features[start : start + step])
        inside = (rows >= start) & (rows < start + step)
        chosen = rows[inside] - start
        normaliser = generation.fused(generator, _normaliser, logits)
        logprobs[inside] = logits[chosen, tokens[inside]].float() - normaliser[chosen]
    return logprobs


def _blocks(
    generator: Generator, prompt_ids: list[list[list[int]]], max_new_tokens: int, n_beams: int
) -> Iterator[list[int]]:
    """Numbers of questions to be read together: equally many passages, prompts of similar length, bounded memory."""
    least = generation.GENERATION_TOKENS * _vocabulary(generator) // LOGITS  # short prompts: the logits are the bound
    by_count: dict[int, list[int]] = {}
    for number, row in enumerate(prompt_ids):
        by_count.setdefault(len(row), []).append(number)
    for n_docs, numbers in by_count.items():
        widths = [max(max(map(len, prompt_ids[number])) + max_new_tokens, least) for number in numbers]
        for batch in batches_by_length([n_docs * n_beams * w for w in widths], generation.GENERATION_TOKENS):
            yield [numbers[i] for i in batch]


def _vocabulary(generator: Generator) -> int:
    return generator.model.get_output_embeddings().weight.shape[0]


def _tokenise(generator: Generator, prompts: list[list[str]], max_new_tokens: int) -> list[list[list[int]]]:
    """Token ids of every prompt of every question; raises InputError for what does not fit the model."""
    flat = generator.tokenizer([prompt for row in prompts for prompt in row])["input_ids"]
    if not all(flat):
        raise InputError(f"prompt number {flat.index([])} is empty: there is nothing to continue")
    longest = max(map(len, flat))
    # An encoder and a decoder count separately.
    longest = max(longest, max_new_tokens) if generator.seq2seq else longest + max_new_tokens
    limit = getattr(generator.model.config, "max_position_embeddings", None)
    if limit is not None and longest > limit:
        raise InputError(f"a prompt with its answer takes {longest} tokens, {generator.name} has {limit}: shorten it")
    rest = iter(flat)
    return [[next(rest) for _ in row] for row in prompts]


def _compile_for(generator: Generator, prompt_ids: list[list[list[int]]]) -> None:
    if sum(len(ids) for row in prompt_ids for ids in row) >= generation.COMPILE_FROM_TOKENS:
        generation.compile_layers(generator)


@contextmanager
def _inference() -> Iterator[None]:
    import torch

    # Growing caches would recompile compiled layers at every step.
    with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
        yield


def _key(generator: Generator, settings: str, prompts: list[list[str]]) -> str:
    counts = " ".join(str(len(row)) for row in prompts)
    identity = generation.identity(generator)
    return sha256_text(identity, _code_sha256(), settings, counts, *(text for row in prompts for text in row))


@functools.cache
def _code_sha256() -> str:
    return sha256_source(sys.modules[__name__])


def _require_prompts(prompts: list[list[str]], equally_many: bool = False) -> int:
    """The number of prompts of the first question."""
    counts = [len(row) for row in prompts]
    if not counts or min(counts) == 0:
        raise InputError("a question without a prompt: give every question one prompt per passage, at least 1")
    if equally_many and len(set(counts)) > 1:
        raise InputError(f"{min(counts)} to {max(counts)} prompts a question: give each one equally many")
    return counts[0]


def _require_search(max_new_tokens: int, n_beams: int) -> None:
    if max_new_tokens < 1 or n_beams < 1:
        raise InputError(f"max_new_tokens = {max_new_tokens}, n_beams = {n_beams}: both must be at least 1")
