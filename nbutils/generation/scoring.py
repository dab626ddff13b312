"""log p(answer | prompt), the same calls for decoder-only and sequence-to-sequence models."""

import numpy as np

from nbutils import cache
from nbutils.errors import InputError
from nbutils.files import sha256_text
from nbutils.generation.compiled import COMPILE_FROM_TOKENS, COMPILED_BATCH_STEP, compile_layers
from nbutils.generation.output_layer import (
    chosen_logprobs,
    label_logprobs,
    most_logits,
    vocabulary_size,
)
from nbutils.generation.turns import answer_tokens, prompt_tokens
from nbutils.models import Generator, ask_in_turns, batches_by_length
from nbutils.progress import progress_bar

BATCH_TOKENS = 2048  # padded tokens a batch when scoring


def answer_logprobs(generator: Generator, prompts: list[str], answers: list[str]) -> list[np.ndarray]:
    """log p(y_t | prompt, y_<t) in nats for each token of each answer: a list of (T_i,) arrays.

    The answer ends as `generation.turns` says (a blank line for base models, the end of the turn for instruct models,
    end of sequence for sequence-to-sequence ones), so that it is not favored for being the beginning of a longer one.
    Logits are computed at answer positions only. Results are kept by content, see `generate`.
    Raises InputError for an empty answer or a prompt that does not fit.
    """
    _require_pairs(prompts, answers)
    key = cache.key(_answer_logprobs, fingerprint(generator), *prompts, "\0", *answers)
    rows = cache.json_list(
        "logprobs", key, lambda: [row.tolist() for row in _answer_logprobs(generator, prompts, answers)]
    )
    return [np.array(row) for row in rows]


def _answer_logprobs(generator: Generator, prompts: list[str], answers: list[str]) -> list[np.ndarray]:
    import torch

    prompt_ids, answer_ids = tokenize_pairs(generator, prompts, answers)
    lengths = [len(p) + len(a) for p, a in zip(prompt_ids, answer_ids, strict=True)]
    if sum(lengths) >= COMPILE_FROM_TOKENS:
        compile_layers(generator)
    results: list[np.ndarray] = [np.empty(0)] * len(prompts)
    with torch.inference_mode(), progress_bar(len(prompts), "Scoring answers") as progress:
        for rows in batches_by_length(lengths, BATCH_TOKENS):
            batch = [prompt_ids[row] for row in rows], [answer_ids[row] for row in rows]
            flat = batch_logprobs(generator, *batch)
            ends = np.cumsum([len(answer_ids[row]) for row in rows])
            for row, values in zip(rows, np.split(flat.float().cpu().numpy(), ends[:-1]), strict=True):
                results[row] = values
            progress.update(len(rows))
    return results


def batch_logprobs(generator: Generator, prompt_ids: list[list[int]], answer_ids: list[list[int]]):
    """log p of every answer token of a batch, concatenated in order, (sum of T_i,), as a tensor with gradients.

    Decoder-only: the hidden states of the answer positions are gathered into one matrix before the output layer,
    which for a vocabulary of 262,144 costs more than the transformer itself. Long answers take no more memory there
    than short ones, and more time when there are gradients: see `output_layer`.
    """
    if generator.seq2seq:
        return _seq2seq_logprobs(generator, prompt_ids, answer_ids)
    import torch

    model, device = generator.model, generator.model.device
    labels = torch.tensor([token for ids in answer_ids for token in ids], device=device)
    # The last answer token predicts nothing that is scored: leave it out.
    sequences = [p + a[:-1] for p, a in zip(prompt_ids, answer_ids, strict=True)]
    inputs, _ = pad(sequences, generator.tokenizer.pad_token_id, device, COMPILED_BATCH_STEP)
    # Padding stands on the right, where a causal model does not look: without a mask attention skips half its work.
    hidden = model.get_decoder()(input_ids=inputs, use_cache=False).last_hidden_state
    rows = [row for row, ids in enumerate(answer_ids) for _ in ids]
    columns = [len(p) - 1 + t for p, a in zip(prompt_ids, answer_ids, strict=True) for t in range(len(a))]
    return label_logprobs(generator, hidden[rows, columns], labels)  # (sum T_i, D) -> (sum T_i,)


def _seq2seq_logprobs(generator: Generator, prompt_ids: list[list[int]], answer_ids: list[list[int]]):
    """The same for a sequence-to-sequence model: where the answers are long, a few whole pairs at a time.

    Its logits come from its own forward pass, which scales or shifts them in a way of its own (T5, BART).
    """
    import torch

    size = max(1, most_logits() // (vocabulary_size(generator) * max(map(len, answer_ids))))
    if len(answer_ids) <= size:
        return _whole_seq2seq_logprobs(generator, prompt_ids, answer_ids)
    parts = [slice(start, start + size) for start in range(0, len(answer_ids), size)]
    return torch.cat(
        [recomputed(_whole_seq2seq_logprobs, generator, prompt_ids[part], answer_ids[part]) for part in parts]
    )


def recomputed(function, *arguments):
    """function(*arguments), which is called once more for its gradients instead of keeping what they need."""
    import torch
    from torch.utils.checkpoint import checkpoint

    return checkpoint(function, *arguments, use_reentrant=False) if torch.is_grad_enabled() else function(*arguments)


def _whole_seq2seq_logprobs(generator: Generator, prompt_ids: list[list[int]], answer_ids: list[list[int]]):
    import torch

    model, device = generator.model, generator.model.device
    labels = torch.tensor([token for ids in answer_ids for token in ids], device=device)
    inputs, mask = pad(prompt_ids, generator.tokenizer.pad_token_id, device)
    targets, targets_mask = pad(answer_ids, generator.tokenizer.pad_token_id, device)
    shifted = torch.full_like(targets, model.config.decoder_start_token_id)
    shifted[:, 1:] = targets[:, :-1]
    logits = model(input_ids=inputs, attention_mask=mask, decoder_input_ids=shifted).logits  # (B, T, V)
    return chosen_logprobs(generator, logits[targets_mask.bool()], labels)


def tokenize_pairs(
    generator: Generator, prompts: list[str], answers: list[str]
) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of prompts and of answers, each answer with its ending token."""
    prompt_ids, answer_ids = prompt_tokens(generator, prompts), answer_tokens(generator, answers)
    if not all(prompt_ids):
        raise InputError(f"prompt number {prompt_ids.index([])} is empty: there is nothing to continue")
    require_length(generator, [len(p) + len(a) for p, a in zip(prompt_ids, answer_ids, strict=True)])
    return prompt_ids, answer_ids


def pad(sequences: list[list[int]], pad_token_id: int, device, step: int = 1, left: bool = False):
    """Token ids (B, T) and attention mask (B, T), padded to the longest, rounded up to a multiple of `step`."""
    import torch

    width = -(-max(map(len, sequences)) // step) * step
    ids = torch.full((len(sequences), width), pad_token_id)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        columns = slice(width - len(sequence), width) if left else slice(len(sequence))
        ids[row, columns] = torch.tensor(sequence)
        mask[row, columns] = 1
    return ids.to(device), mask.to(device)


def fingerprint(generator: Generator) -> str:
    """What the numbers depend on besides the texts: the checkpoint's files, precision, device and libraries."""
    import torch
    import transformers

    model = generator.model
    quantized = getattr(model, "is_quantized", False)
    libraries = f"torch {torch.__version__} transformers {transformers.__version__}"
    files = f"{generator.sha256} {generator.settings_sha256}"
    if generator.chat:  # by what its template writes: that may be today's date
        files += f" chat {sha256_text(ask_in_turns(generator.tokenizer, [], ''))}"
    return f"{files} {model.dtype} quantized={quantized} {model.device.type} {libraries}"


def require_length(generator: Generator, lengths: list[int], max_new_tokens: int = 0) -> None:
    """InputError where a text of so many tokens, with those to be generated, has more than the model has positions."""
    limit = getattr(generator.model.config, "max_position_embeddings", None)
    # An encoder and a decoder count separately.
    longest = max(*lengths, max_new_tokens) if generator.seq2seq else max(lengths) + max_new_tokens
    if limit is not None and longest > limit:
        raise InputError(f"a prompt with its answer takes {longest} tokens, {generator.name} has {limit}: shorten it")


def _require_pairs(prompts: list[str], answers: list[str]) -> None:
    if not prompts or len(prompts) != len(answers):
        raise InputError(f"{len(prompts)} prompts and {len(answers)} answers: give one answer to each prompt")
    for number, answer in enumerate(answers):
        if not answer.strip():
            raise InputError(f"answer number {number} is empty: there is nothing to score")
