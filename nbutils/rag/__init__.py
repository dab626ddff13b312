"""Retrieval-augmented generation: the papers' formulas, RAG-Sequence over candidates, RAG-Token by beam search."""

from nbutils.rag.beam_search import rag_token_generate, rag_token_generate_at
from nbutils.rag.candidates import (
    Candidates,
    best_answer,
    marginal_logprobs,
    scatter_prior,
    sequence_candidates,
)
from nbutils.rag.likelihoods import answer_logprobs_by_passage, answer_token_logprobs, token_logprobs_by_passage
from nbutils.rag.losses import (
    DIRECTIONS,
    REDUCTIONS,
    contrastive_loss,
    doc_logprobs,
    doc_posterior_logprobs,
    lsr_logprobs,
    lsr_loss,
    rag_sequence_logprob,
    rag_token_logprobs,
)
