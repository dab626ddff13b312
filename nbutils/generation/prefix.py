"""Prompts that are read once: keys and values that many continuations share."""

import copy
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nbutils.generation.compiled import COMPILE_FROM_TOKENS, COMPILED_BATCH_STEP, compile_layers, is_compiled
from nbutils.generation.output_layer import logits_of
from nbutils.generation.scoring import pad
from nbutils.models import Generator, batches_by_length

READING_TOKENS = 4096  # prompt tokens that compiled layers read at once
KEEPING = "sdpa_that_keeps"  # the attention by which compiled layers hand over their keys and values


@dataclass(frozen=True)
class Prefix:
    """R prompts that a model has read, and what it remembers of them."""

    cache: Any  # keys and values, of the tokens after the prompt too; the model extends it
    mask: Any  # (R, S) of the prompts: left-padded for decoder-only models, right-padded for an encoder
    encoder_states: Any  # (R, S, D), None for decoder-only models


def prefill(generator: Generator, prompt_ids: list[list[int]]):
    """A `_Read` of the prompts, and features (R, .) of the first answer token."""
    import torch

    model, pad_token_id = generator.model, generator.tokenizer.pad_token_id
    inputs, mask = pad(prompt_ids, pad_token_id, model.device, left=not generator.seq2seq)
    if not generator.seq2seq:
        # Models that cap their attention scores need the eager attention.
        if is_compiled(generator) and model.config._attn_implementation == "sdpa":
            cache, features = _prefill_compiled(model, prompt_ids, pad_token_id)
            return Prefix(cache, mask, None), features
        positions = _positions(mask)
        output = model.get_decoder()(input_ids=inputs, attention_mask=mask, position_ids=positions, use_cache=True)
        return Prefix(output.past_key_values, mask, None), output.last_hidden_state[:, -1]
    from transformers import DynamicCache, EncoderDecoderCache

    states = model.get_encoder()(input_ids=inputs, attention_mask=mask).last_hidden_state
    prefix = Prefix(EncoderDecoderCache(DynamicCache(), DynamicCache()), mask, states)
    start = torch.full((len(prompt_ids), 1), model.config.decoder_start_token_id, device=model.device)
    return prefix, decode_step(generator, prefix, start)[:, -1]


def _positions(mask):
    """Of the tokens of left-padded prompts: (R, S)."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def _prefill_compiled(model, prompt_ids: list[list[int]], pad_token_id: int):
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
            inputs, mask = pad(
                [prompt_ids[row] for row in batch],
                pad_token_id,
                model.device,
                COMPILED_BATCH_STEP,
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


def decode_step(generator: Generator, prefix: Prefix, tokens, visible=None):
    """Features (R, t, .) of what follows each of the tokens (R, t), which are added to the cache of `prefix`.

    They are what `_logits` takes: hidden states of a decoder-only model, of which few rows may be needed and each row
    of logits is large; the logits of a sequence-to-sequence model, which may scale or shift them on the way.
    `visible` (R, t, t) bool, first tokens after a prompt only: which of the tokens each one looks at; they all follow
    the prompt directly. None: each token looks at all before it.
    """
    import torch

    model = generator.model
    if generator.seq2seq:
        return model(
            encoder_outputs=(prefix.encoder_states,),
            attention_mask=prefix.mask,
            decoder_input_ids=tokens,
            past_key_values=prefix.cache,
            use_cache=True,
        ).logits
    before = prefix.cache.get_seq_length() - prefix.mask.shape[1]  # tokens since the prompt
    if visible is None:
        mask = torch.cat([prefix.mask, prefix.mask.new_ones(len(tokens), before + tokens.shape[1])], 1)
        offsets = before + torch.arange(tokens.shape[1], device=tokens.device)
    else:
        prompt = prefix.mask.bool()[:, None].expand(-1, tokens.shape[1], -1)
        mask = torch.cat([prompt, visible], 2)[:, None]  # (R, 1, t, S + t)
        offsets = visible.sum(-1) - 1
    return model.get_decoder()(
        input_ids=tokens,
        attention_mask=mask,
        position_ids=prefix.mask.sum(1, keepdim=True) + offsets,
        past_key_values=prefix.cache,
        use_cache=True,
    ).last_hidden_state


def next_logits(generator: Generator, features):
    """Logits (N, V) of features (N, .). Of a matrix, not of (R, t, .): in bfloat16 that copies the head."""
    return features if generator.seq2seq else logits_of(generator.model, features)


def copy_cache(prefix: Prefix) -> Prefix:
    """The same prompts with a cache of their own; tensors are shared, since a dynamic cache never writes into them."""
    return Prefix(_copied_layers(prefix.cache), prefix.mask, prefix.encoder_states)


def _copied_layers(cache):
    from transformers import EncoderDecoderCache

    if isinstance(cache, EncoderDecoderCache):
        return EncoderDecoderCache(
            _copied_layers(cache.self_attention_cache), _copied_layers(cache.cross_attention_cache)
        )
    fork = copy.copy(cache)
    fork.layers = [copy.copy(layer) for layer in cache.layers]
    return fork


def gather(prefix: Prefix, rows, same_prompts: bool = False) -> Prefix:
    """Those rows of `prefix`, in that order and as often as named; `prefix` stays as it is.

    `same_prompts` says that only tokens after the prompt differ, for which an encoder's part need not be copied.
    """
    import torch

    if len(rows) == len(prefix.mask) and torch.equal(rows, torch.arange(len(rows), device=rows.device)):
        return prefix
    fork = copy_cache(prefix)
    if same_prompts and prefix.encoder_states is not None:
        fork.cache.self_attention_cache.batch_select_indices(rows)
        return fork
    fork.cache.batch_select_indices(rows)
    states = None if prefix.encoder_states is None else prefix.encoder_states[rows]
    return Prefix(fork.cache, prefix.mask[rows], states)


@contextmanager
def inference() -> Iterator[None]:
    import torch

    # Growing caches would recompile compiled layers at every step.
    with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
        yield


def compile_for(generator: Generator, prompt_ids: list[list[list[int]]]) -> None:
    if sum(len(ids) for row in prompt_ids for ids in row) >= COMPILE_FROM_TOKENS:
        compile_layers(generator)
