"""The output layer of a language model: log p of tokens, with few logits alive at a time.

A row of logits is the vocabulary: 1 MiB in float32 for 262,144 words. Learning from it takes some nine copies.
"""

from nbutils.generation.compiled import call_compiled
from nbutils.models import Generator

MOST_LOGITS = 2**28  # numbers in one matrix of logits without gradients: 1 GiB in float32
MOST_LOGITS_WITH_GRADIENTS = 2**26
BLOCK_LOGITS = 2**24  # what more than that is computed in: 64 MiB in float32, small beside the head that it is made of


def label_logprobs(generator: Generator, hidden, labels):
    """log p of labels (N,) after hidden states (N, D) of a decoder-only model: (N,) float32, with gradients.

    Few rows at once. Many go in blocks, of which only the hidden states are kept: the logits of a block are computed
    again when its gradients are. A block's values and gradients are those of its rows in the whole, but for rounding.
    """
    import torch

    width = vocabulary_size(generator)
    if len(labels) * width <= most_logits():
        return _label_logprobs(generator, hidden, labels)
    n_rows = max(1, BLOCK_LOGITS // width)
    blocks = zip(hidden.split(n_rows), labels.split(n_rows), strict=True)
    return torch.cat([recomputed(_label_logprobs, generator, *block) for block in blocks])


def most_logits() -> int:
    """How many logits may be alive at once: fewer where they are to be learned from."""
    import torch

    return MOST_LOGITS_WITH_GRADIENTS if torch.is_grad_enabled() else MOST_LOGITS


def recomputed(function, *arguments):
    """function(*arguments), which is called once more for its gradients instead of keeping what they need."""
    import torch
    from torch.utils.checkpoint import checkpoint

    return checkpoint(function, *arguments, use_reentrant=False) if torch.is_grad_enabled() else function(*arguments)


def _label_logprobs(generator: Generator, hidden, labels):
    return chosen_logprobs(generator, logits_of(generator.model, hidden), labels)


def logits_of(model, hidden):
    """Logits (N, V) of hidden states (N, D) by the output layer of a decoder-only model, and its soft cap if any."""
    import torch

    logits = model.get_output_embeddings()(hidden)
    cap = getattr(model.config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def chosen_logprobs(generator: Generator, logits, labels):
    """log softmax of each row of logits (N, V) at its label (N,), in float32; compiled where the layers are."""
    return call_compiled(generator, _chosen_logprobs, logits, labels)


def _chosen_logprobs(logits, labels):
    logits = logits.float()
    return logits.gather(-1, labels[:, None])[:, 0] - logits.logsumexp(-1)


def vocabulary_size(generator: Generator) -> int:
    """Rows of the output layer."""
    return generator.model.get_output_embeddings().weight.shape[0]
