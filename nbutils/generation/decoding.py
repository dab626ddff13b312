"""Continuations of prompts: greedy or the best of several beams."""

from collections.abc import Sequence

from nbutils import cache
from nbutils.errors import InputError
from nbutils.generation.scoring import fingerprint, pad, require_length
from nbutils.generation.turns import prompt_tokens, stop_tokens
from nbutils.models import Generator, batches_by_length
from nbutils.progress import progress_bar

GENERATION_TOKENS = 16384  # and when generating: a step reads all weights, so it should serve many prompts


def generate(generator: Generator, prompts: list[str], max_new_tokens: int = 16, n_beams: int = 1) -> list[str]:
    """The continuation of each prompt up to the first newline, stripped; greedy, or the best of `n_beams` beams.

    Results are kept by content: the generator's sha256, the prompts and the settings. A model that is being trained
    has no sha256 of its own yet: generate `with cache.off()`.
    """
    if not prompts:
        raise InputError("nothing to generate: the list of prompts is empty")
    key = cache.key(continue_prompts, fingerprint(generator), f"{max_new_tokens} {n_beams}", *prompts)
    return cache.json_list("generations", key, lambda: continue_prompts(generator, prompts, max_new_tokens, n_beams))


def continue_prompts(
    generator: Generator, prompts: list[str], max_new_tokens: int, n_beams: int = 1, processors: Sequence = ()
) -> list[str]:
    """What `generate` returns, not kept; transformers' `processors` of logits change each step's scores."""
    import torch
    from transformers import LogitsProcessorList

    model, tokenizer = generator.model, generator.tokenizer
    prompt_ids = prompt_tokens(generator, prompts)
    ends = stop_tokens(generator)
    texts = [""] * len(prompts)
    lengths = [len(ids) + max_new_tokens for ids in prompt_ids]
    require_length(generator, [len(ids) for ids in prompt_ids], max_new_tokens)
    with (
        torch.inference_mode(),
        torch.compiler.set_stance("force_eager"),  # growing caches would recompile at every step
        progress_bar(len(prompts), "Generating") as progress,
    ):
        for rows in batches_by_length(lengths, GENERATION_TOKENS // n_beams):
            # Left, so that new tokens follow the prompt; an encoder counts positions from the left, padding included.
            batch = [prompt_ids[row] for row in rows]
            inputs, mask = pad(batch, tokenizer.pad_token_id, model.device, left=not generator.seq2seq)
            output = model.generate(
                input_ids=inputs,
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                num_beams=n_beams,
                do_sample=False,
                eos_token_id=ends,
                pad_token_id=tokenizer.pad_token_id,
                logits_processor=LogitsProcessorList(processors),
            )
            new_tokens = output if generator.seq2seq else output[:, inputs.shape[1] :]
            for row, text in zip(rows, tokenizer.batch_decode(new_tokens, skip_special_tokens=True), strict=True):
                texts[row] = text.strip("\n").split("\n")[0].strip()
            progress.update(len(rows))
    return texts
