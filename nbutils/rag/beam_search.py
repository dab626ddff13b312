"""RAG-Token: beam search over the marginal distribution of the next token."""

from collections.abc import Sequence

import numpy as np

from nbutils import cache, generation
from nbutils.errors import InputError
from nbutils.generation import (
    Prefix,
    compile_for,
    copy_cache,
    decode_step,
    gather,
    inference,
    next_logits,
    prefill,
    question_batches,
    tokenize_prompts,
)
from nbutils.models import Generator
from nbutils.progress import progress_bar
from nbutils.rag.likelihoods import prompts_key, require_prompts, require_search

MIXED_LOGITS = 2**21  # and of those that are mixed over the passages at once: they should stay in a processor's cache


def rag_token_generate(
    generator: Generator,
    prompts: list[list[str]],
    log_prior: np.ndarray,
    max_new_tokens: int,
    n_beams: int = 1,
) -> list[str]:
    """The answer of RAG-Token to each question: beam search over log sum_z p(z|x) p(y_i|x,z,y_<i), greedy by default.

    `prompts`: for each question one prompt per passage; log_prior (B, K). Passages with log prior -inf are not read.
    Results are kept by content, see `generation.generate`.
    """
    require_prompts(prompts)
    require_search(max_new_tokens, n_beams)
    log_prior = [np.asarray(row, dtype=np.float64) for row in log_prior]
    if [len(row) for row in log_prior] != [len(row) for row in prompts]:
        raise InputError("the log priors do not fit the prompts: give one to each prompt of each question")
    for number, row in enumerate(log_prior):
        if np.isnan(row).any() or not np.isfinite(row).any():
            raise InputError(f"the log priors of question number {number} are {row}: keep at least 1 passage")
    priors = " ".join(repr(float(value)) for row in log_prior for value in row)
    settings = f"{max_new_tokens} {n_beams} {priors}"
    key = prompts_key(_rag_token_generate, generator, settings, prompts)
    return cache.json_list(
        "rag", key, lambda: _rag_token_generate(generator, prompts, log_prior, max_new_tokens, n_beams)[0]
    )


def rag_token_generate_at(
    generator: Generator,
    prompts: list[list[str]],
    log_prior: np.ndarray,
    n_docs: Sequence[int],
    max_new_tokens: int,
    n_beams: int = 1,
) -> dict[int, list[str]]:
    """The answers of RAG-Token with the first k passages, for each k of `n_docs`: {k: as `rag_token_generate`}.

    `prompts` B x K and log_prior (B, K), all finite, which is renormalized over the first k. Each prompt is read once.
    """
    width = require_prompts(prompts, equally_many=True)
    require_search(max_new_tokens, n_beams)
    log_prior = np.asarray(log_prior, dtype=np.float64)
    if log_prior.shape != (len(prompts), width) or not np.isfinite(log_prior).all():
        raise InputError(
            f"log priors {log_prior.shape} for {len(prompts)} x {width} prompts: give a finite one to each"
        )
    if not n_docs or not all(1 <= k <= width for k in n_docs):
        raise InputError(f"n_docs = {list(n_docs)}: give numbers from 1 to {width}")
    rows = list(log_prior)

    def compute() -> list:
        return _rag_token_generate(generator, prompts, rows, max_new_tokens, n_beams, n_docs)

    priors = " ".join(repr(float(value)) for value in log_prior.ravel())
    settings = f"at {list(n_docs)} {max_new_tokens} {n_beams} {priors}"
    key = prompts_key(_rag_token_generate, generator, settings, prompts)
    return dict(zip(n_docs, cache.json_list("rag", key, compute), strict=True))


def _rag_token_generate(
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
    prompt_ids = tokenize_prompts(generator, prompts, max_new_tokens)
    compile_for(generator, prompt_ids)
    texts = [[""] * len(prompts) for _ in n_docs or (None,)]
    with inference(), progress_bar(len(prompts), "RAG-Token") as progress:
        for block in question_batches(generator, prompt_ids, max_new_tokens, n_beams):
            prefix, features = prefill(generator, [ids for row in block for ids in prompt_ids[row]])
            prior = np.stack([log_prior[row][kept[row]] for row in block])
            prior = torch.tensor(prior, dtype=torch.float32, device=features.device)
            width = prior.shape[1]
            for answers, k in zip(texts, n_docs or (width,), strict=True):
                rows = torch.arange(len(features), device=features.device).view(-1, width)[:, :k].flatten()
                first = prior[:, :k].log_softmax(-1) if k < width else prior
                first_prefix = copy_cache(gather(prefix, rows))
                beams = beam_search(generator, first_prefix, features[rows], first, max_new_tokens, n_beams, 1)
                for row, beam in zip(block, beams, strict=True):
                    answers[row] = beam[0]
            progress.update(len(block))
    return texts


def beam_search(
    generator: Generator, prefix: Prefix, features, log_prior, max_new_tokens: int, n_beams: int, n_best: int
) -> list[list[str]]:
    """The `n_best` most likely texts of each of G groups of K prompts, best first; distinct, "" only where alone.

    log_prior (G, K); row g * K + k of `prefix` and of `features` is prompt k of group g. A score is a sum of log
    probabilities, the ending included, without length normalization. As in transformers, an ended beam counts if it
    is among the best `n_beams` continuations. What has not ended after `max_new_tokens` is cut there and ended.
    """
    import torch

    device, (n_groups, n_docs) = features.device, log_prior.shape
    ends = torch.tensor(generation.stop_tokens(generator), device=device)
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
            features = decode_step(generator, prefix, tokens[:, 0].repeat_interleave(n_docs, 0))[:, -1]
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
        prefix = gather(prefix, rows, same_prompts=len(left) == len(groups) and n_going == width)
        groups = groups[left]
        features = decode_step(generator, prefix, ids.flatten().repeat_interleave(n_docs)[:, None])[:, -1]
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
    logits = next_logits(generator, features)
    n_docs, width = log_prior.shape[1], logits.shape[1]
    if n_docs == 1 and not comparable:
        return logits.float().clone() if generator.seq2seq else logits.float()
    logits = logits.view(-1, n_docs, width)
    mixed = log_prior.new_empty(len(logits), width)
    step = max(1, MIXED_LOGITS // (n_docs * width))
    for start in range(0, len(mixed), step):
        part = slice(start, start + step)
        mixed[part] = generation.call_compiled(generator, _mix, logits[part], log_prior[part])
    return mixed


def _mix(logits, log_prior):
    """log sum_z p(z) p(y|z) in float32: logits (G, K, V) and log priors (G, K) -> (G, V)."""
    return (logits.float().log_softmax(-1) + log_prior[..., None]).logsumexp(1)


def _first_lines(generator: Generator, sequences: list[list[int]]) -> list[str]:
    """The texts of the answers, as `generation.generate` returns them."""
    texts = generator.tokenizer.batch_decode(sequences, skip_special_tokens=True) if sequences else []
    return [text.strip("\n").split("\n")[0].strip() for text in texts]
