"""The output layer of a language model: log p of tokens, with few logits alive at a time.

A row of logits is the vocabulary: 1 MiB in float32 for 262,144 words. Learning from it takes some nine copies.
"""

import functools

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
    width = vocabulary_size(generator)
    if len(labels) * width <= most_logits():
        return _label_logprobs(generator, hidden, labels)
    n_rows = max(1, BLOCK_LOGITS // width)
    weights = [weight for weight in generator.model.get_output_embeddings().parameters() if weight.requires_grad]
    return _in_blocks().apply(functools.partial(_label_logprobs, generator), n_rows, labels, hidden, *weights)


@functools.cache
def _in_blocks():
    """The autograd function of `label_logprobs`: of (compute, rows a block, labels, hidden, weights that learn).

    torch.utils.checkpoint gives the same, but what it keeps of each block lies in memory between one block and the
    next: none gets the place of the last, and the process grows as if all logits were kept.
    """
    import torch

    class InBlocks(torch.autograd.Function):
        @staticmethod
        def forward(ctx, compute, n_rows, labels, hidden, *weights):
            kind = hidden.device.type
            precision = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
            ctx.compute, ctx.n_rows = compute, n_rows
            # Not kept: the weights that autocast keeps here would have no gradients.
            ctx.autocast = functools.partial(torch.autocast, kind, *precision, cache_enabled=False)
            ctx.save_for_backward(labels, hidden, *weights)
            logprobs = torch.empty(len(labels), device=hidden.device)
            with ctx.autocast():
                for into, *block in _blocks(n_rows, logprobs, hidden, labels):
                    into.copy_(compute(*block))
            return logprobs

        @staticmethod
        def backward(ctx, gradient):
            labels, hidden, *weights = ctx.saved_tensors
            of_hidden, of_weights = torch.empty_like(hidden), [torch.zeros_like(weight) for weight in weights]

            def add(into, of_block, rows, chosen):
                rows = rows.detach().requires_grad_()
                with torch.enable_grad(), ctx.autocast():
                    logprobs = ctx.compute(rows, chosen)
                of_rows, *of_block = torch.autograd.grad(logprobs, [rows, *weights], of_block)
                into.copy_(of_rows)
                for total, part in zip(of_weights, of_block, strict=True):
                    total += part

            for block in _blocks(ctx.n_rows, of_hidden, gradient, hidden, labels):
                add(*block)
            return None, None, None, of_hidden, *of_weights

    return InBlocks


def _blocks(n_rows: int, *tensors):
    return zip(*(tensor.split(n_rows) for tensor in tensors), strict=True)


def most_logits() -> int:
    """How many logits may be alive at once: fewer where they are to be learned from."""
    import torch

    return MOST_LOGITS_WITH_GRADIENTS if torch.is_grad_enabled() else MOST_LOGITS


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
