"""log p(y | x, z): answers under each of their passages, as training and R-ft need them."""

from collections.abc import Callable

import numpy as np

from nbutils import cache, generation
from nbutils.errors import InputError
from nbutils.models import Generator


def answer_logprobs_by_passage(
    generator: Generator, prompts: list[list[str]], answers: list[str], per_token: bool = False
) -> np.ndarray:
    """log p_LM(y|c,x) of each question's answer under each of its prompts, one a passage: (B, K), for `lsr_loss`.

    The answer's own tokens count, not its ending, which a model without solved examples does not foresee. `per_token`
    divides by their number: the probability of a text of fifty tokens is 0 under every passage. Equally many prompts a
    question; results are kept by content, see `generation.answer_logprobs`.
    """
    n_docs = require_prompts(prompts, equally_many=True)
    flat, repeated = [prompt for row in prompts for prompt in row], [y for y in answers for _ in range(n_docs)]
    token_logprobs = generation.answer_logprobs(generator, flat, repeated)
    bare = generation.answer_tokens(generator, answers, ended=False)
    counts = [len(ids) for ids in bare for _ in range(n_docs)]
    totals = [row[:n].sum() / (n if per_token else 1) for row, n in zip(token_logprobs, counts, strict=True)]
    return np.array(totals).reshape(len(prompts), n_docs)


def token_logprobs_by_passage(
    generator: Generator, prompts: list[list[str]], answers: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """log p(y_i|x,z,y_<i) of each question's answer under each of its prompts: (B, K, T), and the mask (B, T).

    As `answer_token_logprobs` computes them within a training step, ending included, for all questions and kept by
    content: the pool of `training.train_rag_retriever`. 0 where the mask is False.
    """
    n_docs = require_prompts(prompts, equally_many=True)
    flat, repeated = [prompt for row in prompts for prompt in row], [y for y in answers for _ in range(n_docs)]
    rows = generation.answer_logprobs(generator, flat, repeated)
    lengths = np.array([len(row) for row in rows[::n_docs]])
    mask = np.arange(lengths.max()) < lengths[:, None]
    token_logprobs = np.zeros((len(prompts), n_docs, mask.shape[1]))
    token_logprobs[np.broadcast_to(mask[:, None], token_logprobs.shape)] = np.concatenate(rows)
    return token_logprobs, mask


def answer_token_logprobs(generator: Generator, prompts: list[list[str]], answers: list[str]):
    """log p(y_i|x,z,y_<i) of one batch with gradients, (B, K, T), and the mask (B, T) of the answers' tokens.

    `prompts`: for each question one prompt per passage, equally many for all. 0 where the mask is False. The answer
    is tokenized and ended as in `generation.answer_logprobs`; its tokens are the same under every passage.
    """
    import torch

    n_docs = require_prompts(prompts, equally_many=True)
    if len(prompts) != len(answers):
        raise InputError(f"{len(prompts)} questions and {len(answers)} answers: give one answer to each question")
    flat_prompts = [prompt for row in prompts for prompt in row]
    flat_answers = [answer for answer in answers for _ in range(n_docs)]
    prompt_ids, answer_ids = generation.tokenize_pairs(generator, flat_prompts, flat_answers)
    flat = generation.batch_logprobs(generator, prompt_ids, answer_ids)  # (sum over b, k of T_b)
    lengths = torch.tensor([len(ids) for ids in answer_ids[::n_docs]], device=flat.device)
    mask = torch.arange(int(lengths.max()), device=flat.device) < lengths[:, None]
    token_logprobs = flat.new_zeros(len(prompts), n_docs, mask.shape[1])
    return token_logprobs.masked_scatter(mask[:, None].expand_as(token_logprobs), flat), mask


def prompts_key(function: Callable, generator: Generator, settings: str, prompts: list[list[str]]) -> str:
    """The key of what `function` makes of these prompts."""
    counts = " ".join(str(len(row)) for row in prompts)
    texts = (text for row in prompts for text in row)
    return cache.key(function, generation.fingerprint(generator), settings, counts, *texts)


def require_prompts(prompts: list[list[str]], equally_many: bool = False) -> int:
    """The number of prompts of the first question."""
    counts = [len(row) for row in prompts]
    if not counts or min(counts) == 0:
        raise InputError("a question without a prompt: give every question one prompt per passage, at least 1")
    if equally_many and len(set(counts)) > 1:
        raise InputError(f"{min(counts)} to {max(counts)} prompts a question: give each one equally many")
    return counts[0]


def require_search(max_new_tokens: int, n_beams: int) -> None:
    if max_new_tokens < 1 or n_beams < 1:
        raise InputError(f"max_new_tokens = {max_new_tokens}, n_beams = {n_beams}: both must be at least 1")
