"""-log p(y|x) over retrieved passages (Lewis et al. 2020): its gradients, a few whole questions at a time."""

from dataclasses import dataclass

import numpy as np

from nbutils import generation, rag
from nbutils.data import Example, Passage
from nbutils.models import Generator, batches_by_length
from nbutils.training.loop import Learners


@dataclass(frozen=True)
class RagLoss:
    """-log p(y|x) of RAG-Sequence or RAG-Token, mean over the batch."""

    corpus: dict[str, Passage]
    examples: list[Example]
    marginalization: str  # sequence | token
    temperature: float  # of p(z|x)
    batch_tokens: int


def add_rag_gradients(loss: RagLoss, learners: Learners, rows: list[int], ids: np.ndarray, scores) -> dict[str, float]:
    """Add the loss's gradients to those of the generator, and of whatever the `scores` (B, K) were computed with.

    `ids` (B, K) are the passages of the examples number `rows`. Returns the means over the batch of the loss, of
    max_z p(z|x) (`max_doc_prob`), of the entropy of p(z|x,y), and, where examples name gold passages, `hit_rate`.
    """
    import torch

    batch = [loss.examples[row] for row in rows]
    prompts = generation.passage_prompts(batch, ids, loss.corpus)
    # A question's passages meet in its loss, so a forward pass holds whole questions. All passages share the
    # encoders' graph: their gradients are summed at `leaf` and go through it once.
    leaf = scores.detach().clone().requires_grad_(scores.requires_grad)
    leaf.grad = torch.zeros_like(leaf)
    values = {"loss": 0.0, "max_doc_prob": 0.0, "posterior_entropy": 0.0}
    answers = [example.answers[0] for example in batch]
    lengths = _padded_lengths(learners.generator, prompts, answers)
    for members in batches_by_length(lengths, loss.batch_tokens):
        with learners.autocast:
            token_logprobs, mask = rag.answer_token_logprobs(
                learners.generator, [prompts[i] for i in members], [answers[i] for i in members]
            )
        log_prior = rag.doc_logprobs(leaf[members], loss.temperature)  # (B, K)
        share = -marginal_logprobs(loss.marginalization, log_prior, token_logprobs, mask).sum() / len(rows)
        share.backward()
        with torch.no_grad():
            answer_logprobs = token_logprobs.masked_fill(~mask[:, None], 0).sum(-1)  # (B, K) log p(y|x,z)
            posterior = (log_prior + answer_logprobs).softmax(-1)
            values["loss"] += share.item()
            values["max_doc_prob"] += log_prior.exp().amax(-1).sum().item() / len(rows)
            values["posterior_entropy"] += torch.special.entr(posterior).sum().item() / len(rows)
    if scores.requires_grad:
        scores.backward(leaf.grad)
    if any(example.gold_passages for example in loss.examples):
        values["hit_rate"] = _hit_rate(ids, batch)
    return values


def _padded_lengths(generator: Generator, prompts: list[list[str]], answers: list[str]) -> list[int]:
    """Tokens that a question takes in a forward pass: of its prompts; of its answers only where these are long.

    An answer of at most half of the longest prompt is not counted, so that a pass holds at most half as many again.
    """
    prompt_lengths = [max(map(len, generation.prompt_tokens(generator, row))) for row in prompts]
    answer_lengths = map(len, generation.answer_tokens(generator, answers))
    pairs = zip(prompts, prompt_lengths, answer_lengths, strict=True)
    return [len(row) * max(prompt, 2 * answer) for row, prompt, answer in pairs]


def marginal_logprobs(marginalization: str, log_prior, token_logprobs, mask):
    """log p(y|x), (B,)."""
    if marginalization == "sequence":
        return rag.rag_sequence_logprob(log_prior, token_logprobs, mask)
    return rag.rag_token_logprobs(log_prior, token_logprobs, mask).sum(-1)


def _hit_rate(ids: np.ndarray, batch: list[Example]) -> float:
    """Share of the examples with a gold passage among the retrieved ones."""
    hits = [not {*row}.isdisjoint(example.gold_passages) for row, example in zip(ids.tolist(), batch, strict=True)]
    return sum(hits) / len(hits)
