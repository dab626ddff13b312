"""The papers' formulas: RAG's two marginal likelihoods (Lewis et al. 2020), RA-DIT's LSR loss, DPR's contrastive one.

B questions, K passages, T answer tokens; natural logarithms throughout.
"""

from nbutils.errors import InputError

DIRECTIONS = ("p_R||p_LSR", "p_LSR||p_R")  # of RA-DIT's KL divergence; the first is the paper's
REDUCTIONS = ("mean", "sum", "elements")  # over questions, or as torch's kl_div has it: over questions and passages


def doc_logprobs(scores, temperature: float = 1.0):
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


def rag_sequence_logprob(log_prior, token_logprobs, mask):
    """log p_RAG-Sequence(y|x) = log sum_z p(z|x) prod_i p(y_i|x,z,y_<i), Lewis et al. 2020 sec. 2.1: (B,).

    log_prior (B, K); token_logprobs (B, K, T) of log p(y_i|x,z,y_<i); mask (B, T), True at answer tokens.
    """
    return (log_prior + token_logprobs.where(mask[:, None], 0.0).sum(-1)).logsumexp(-1)


def rag_token_logprobs(log_prior, token_logprobs, mask):
    """Every factor of RAG-Token, log sum_z p(z|x) p(y_i|x,z,y_<i), Lewis et al. 2020 sec. 2.1: (B, T), 0 off the mask.

    Their sum over i is log p_RAG-Token(y|x). Arguments as in `rag_sequence_logprob`.
    """
    return (log_prior[..., None] + token_logprobs.where(mask[:, None], 0.0)).logsumexp(1).where(mask, 0.0)


def doc_posterior_logprobs(log_prior, token_logprobs):
    """log p(z|x,y_1:i), proportional to p(z|x) p(y_i|x,z,y_<i), Lewis et al. 2020 fig. 2: (B, K, T), normalized over K.

    log_prior (B, K), token_logprobs (B, K, T). Each token is weighed against the prior, not against its predecessors.
    """
    return (log_prior[..., None] + token_logprobs).log_softmax(1)


def lsr_logprobs(lm_logprobs, temperature: float = 0.01):
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
    pair = (log_prior, lsr_logprobs(lm_logprobs, temperature))
    first, second = pair if direction == DIRECTIONS[0] else pair[::-1]
    divergences = (first.exp() * (first - second)).sum(-1)  # (B,)
    if reduction == "sum":
        return divergences.sum()
    return divergences.mean() / (log_prior.shape[-1] if reduction == "elements" else 1)


def contrastive_loss(scores, left_out):
    """-log exp(s_i+) / (exp(s_i+) + sum of exp(s_i-)), mean over questions, Karpukhin et al. 2020 sec. 3.2 eq. 2.

    scores (B, C), divided by the temperature already; the first B columns are the questions' own positives, in their
    order, and all columns but its own are a question's negatives. `left_out` (B, C) is True where a column is gold for
    the question too, and not its negative then: two questions of a batch may share their passage. Without a negative
    that is left the loss is 0. Raises InputError where a question's own positive is left out.
    """
    import torch

    if left_out.diagonal().any():
        raise InputError("a question's own positive is left out: leave out other columns only")
    return torch.nn.functional.cross_entropy(
        scores.masked_fill(left_out, -float("inf")), torch.arange(len(scores), device=scores.device)
    )
