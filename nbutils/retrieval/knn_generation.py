"""Answers of kNN-LM: each next token from the mixture of the model's distribution and its neighbors'."""

import hashlib

import numpy as np

from nbutils import cache
from nbutils.errors import InputError
from nbutils.generation import (
    TokenStates,
    captured_states,
    continue_prompts,
    fingerprint,
    state_modules,
    token_states,
    tokenize_pairs,
    vocabulary_size,
)
from nbutils.models import Generator
from nbutils.retrieval.knn_lm import Interpolation, Neighbors, look_up, neighbor_weights, require_key
from nbutils.retrieval.nearest_states import nearest


def knn_generate(
    generator: Generator,
    prompts: list[str],
    datastore: TokenStates,
    chosen: Interpolation,
    key: str = "ffn_input",
    max_new_tokens: int = 16,
) -> list[str]:
    """The greedy continuation of each prompt by kNN-LM (Khandelwal et al. 2020, Eq. 3), cut as by `generate`.

    At each step the state of the last token is searched for in the datastore, which needs keys of the kind `key`; a
    share of 0 gives what `generate` gives. Results are kept by content, as there. Raises InputError for no prompts, a
    sequence-to-sequence model, a share that is not from 0 to 1, tokens that the model does not have, and where the
    datastore has no such key, fewer than `chosen.k`, or another width.
    """
    if not prompts:
        raise InputError("nothing to generate: the list of prompts is empty")
    if not 0 <= chosen.share <= 1:  # a NaN is refused too
        raise InputError(f"share {chosen.share:g}: give a number from 0 to 1")
    state_modules(generator, [key])  # before any long work
    keys, tokens = require_key(datastore, key), datastore.tokens
    n_vocabulary = vocabulary_size(generator)
    if len(tokens) and not 0 <= tokens.min() <= tokens.max() < n_vocabulary:
        raise InputError(f"tokens from {tokens.min()} to {tokens.max()}: the vocabulary has {n_vocabulary}")
    stored = [hashlib.sha256(np.ascontiguousarray(part).data).hexdigest() for part in (keys, tokens)]
    settings = f"{chosen} {key} {max_new_tokens}"
    kept = cache.key([_knn_generate, captured_states], fingerprint(generator), *stored, settings, *prompts)
    return cache.json_list(
        "generations", kept, lambda: _knn_generate(generator, prompts, keys, tokens, chosen, key, max_new_tokens)
    )


def answer_neighbors(
    generator: Generator,
    prompts: list[str],
    answers: list[str],
    datastore: TokenStates,
    k: int,
    key: str = "ffn_input",
) -> tuple[Neighbors, np.ndarray]:
    """The k nearest of a datastore to each token of given answers, and the number of tokens of each answer.

    Answers end as in `generation.answer_logprobs`. Raises InputError as that and `token_states` do.
    """
    prompt_ids, answer_ids = tokenize_pairs(generator, prompts, answers)
    sequences = [[*before, *ids] for before, ids in zip(prompt_ids, answer_ids, strict=True)]
    lengths = [len(ids) for ids in answer_ids]
    states = token_states(generator, sequences, (key,), with_logprobs=True, n_last=lengths)
    return look_up(datastore, states, k, key), states.lengths


def _knn_generate(
    generator: Generator,
    prompts: list[str],
    keys: np.ndarray,
    tokens: np.ndarray,
    chosen: Interpolation,
    key: str,
    max_new_tokens: int,
) -> list[str]:
    import torch

    modules = {key: state_modules(generator, [key])[key] or generator.model.get_output_embeddings()}
    with captured_states(modules) as captured:

        def mixed(input_ids, scores):
            queries = captured[key][:, -1].float().cpu().numpy()
            distances, rows = nearest(keys, queries, chosen.k)
            weights = torch.from_numpy(neighbor_weights(distances, chosen.temperature)).to(scores)
            followed = torch.from_numpy(tokens[rows]).long().to(scores.device)
            p = (1 - chosen.share) * scores.softmax(dim=-1)
            return p.scatter_add_(1, followed, chosen.share * weights).log()

        return continue_prompts(generator, prompts, max_new_tokens, processors=[mixed])
