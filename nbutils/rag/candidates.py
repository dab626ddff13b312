"""RAG-Sequence: the answers that the passages propose, weighed by sum_z p(z|x) p(y|x,z)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nbutils import cache, generation
from nbutils.errors import InputError
from nbutils.generation import (
    compile_for,
    copy_cache,
    inference,
    prefill,
    question_batches,
    score_continuations,
    tokenize_prompts,
)
from nbutils.models import Generator
from nbutils.progress import progress_bar
from nbutils.rag.beam_search import beam_search
from nbutils.rag.likelihoods import prompts_key, require_prompts, require_search


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
    thorough: bool = True,
) -> list[Candidates]:
    """Candidates of each question: a beam search per passage, their union, and every answer under every passage.

    `prompts`: for each question one prompt per passage, best passage first. Each prompt is read once: its keys and
    values serve the beam and the scores of all candidates. `thorough=False` leaves out the scores that Fast decoding
    does not need (-inf where y was not in the beam of z). Results are kept by content, see `generation.generate`.
    """
    require_prompts(prompts)
    require_search(max_new_tokens, n_beams)

    def compute() -> list:
        found = _sequence_candidates(generator, prompts, max_new_tokens, n_beams, thorough)
        return [[row.texts, row.logprobs.tolist(), row.in_beam.tolist()] for row in found]

    key = prompts_key(_sequence_candidates, generator, f"{max_new_tokens} {n_beams} {thorough}", prompts)
    rows = cache.json_list("rag", key, compute)
    return [Candidates(texts, np.array(logprobs), np.array(in_beam)) for texts, logprobs, in_beam in rows]


def marginal_logprobs(candidates: Candidates, log_prior: np.ndarray, fast: bool = False) -> np.ndarray:
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


def best_answer(candidates: Candidates, log_prior: np.ndarray, fast: bool = False) -> str:
    """The answer of RAG-Sequence: the candidate with the largest `marginal_logprobs`, the first of equals."""
    return candidates.texts[int(marginal_logprobs(candidates, log_prior, fast).argmax())]


def scatter_prior(pool: Sequence[str], ids: Sequence[str], log_prior: np.ndarray) -> np.ndarray:
    """log p(z|x) over the passages of `pool`: that of `ids` in their places, -inf (not retrieved) elsewhere.

    Of an id that stands there several times, as "" does where a search found nothing, the sum.
    So that the candidates of a pool, read once, serve every retriever whose passages are in it.
    """
    spread = np.full(len(pool), -np.inf)
    np.logaddexp.at(spread, [list(pool).index(id_) for id_ in ids], log_prior)
    return spread


def _sequence_candidates(
    generator: Generator, prompts: list[list[str]], max_new_tokens: int, n_beams: int, thorough: bool
) -> list[Candidates]:
    import torch

    prompt_ids = tokenize_prompts(generator, prompts, max_new_tokens)
    compile_for(generator, prompt_ids)
    results: list[Candidates | None] = [None] * len(prompts)
    with inference(), progress_bar(len(prompts), "RAG-Sequence") as progress:
        for block in question_batches(generator, prompt_ids, max_new_tokens, n_beams):
            n_docs = len(prompt_ids[block[0]])
            prefix, features = prefill(generator, [ids for row in block for ids in prompt_ids[row]])
            single = torch.zeros(len(features), 1, device=features.device)  # every passage on its own
            beams = beam_search(generator, copy_cache(prefix), features, single, max_new_tokens, n_beams, n_beams)
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
            flat = score_continuations(generator, prefix, features, rows, answers).cpu().double().numpy()
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
    _, answer_ids = generation.tokenize_pairs(generator, [prompt] * len(texts), texts)
    if not generator.seq2seq:
        ending = generation.ending_tokens(generator)
        answer_ids = [ids if text else ending for ids, text in zip(answer_ids, texts, strict=True)]
    return answer_ids
