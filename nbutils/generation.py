"""Prompts, log p(answer | prompt) and generation, the same calls for decoder-only and sequence-to-sequence models."""

import functools
import math
import shutil
import sys

import numpy as np

from nbutils.cache import cached_json
from nbutils.data import Passage, Question
from nbutils.errors import InputError
from nbutils.files import sha256_source, sha256_text
from nbutils.models import Generator
from nbutils.paths import PROMPTS
from nbutils.progress import progress_bar
from nbutils.retrieval import batches_by_length

ENDING = "\n\n"  # what stands after an answer in prompts/example.txt: one token in most vocabularies
SCORING_TOKENS = 2048  # padded tokens a batch when scoring
GENERATION_TOKENS = 16384  # and when generating: a step reads all weights, so it should serve many prompts
COMPILE_FROM_TOKENS = 16384  # compiling costs some 20 s once and 5 s in each later process
COMPILED_BATCH_STEP = 8  # compiled layers see lengths padded to a multiple of this


def build_prompt(
    question: str | None, passage: Passage | None = None, examples: tuple[Question, ...] | list = ()
) -> str:
    """The prompt for a question: passage first, then solved examples, then the question (REPLUG's order, RA-DIT's too).

    The texts are `nbutils/prompts/{background,example,question}.txt`. Examples show their first answer. Without a
    question (None) the prompt asks for a statement, by `prompts/statement.txt`.
    """
    background = "" if passage is None else _fill("background", {"title": passage.title, "text": passage.text})
    shots = [_fill("example", {"question": shot.text, "answer": shot.answers[0]}) for shot in examples]
    ending = _fill("statement", {}) if question is None else _fill("question", {"question": question})
    return background + "".join(shots) + ending


def _fill(name: str, fields: dict[str, str]) -> str:
    return (PROMPTS / f"{name}.txt").read_text(encoding="utf-8").format_map(fields)


def answer_logprobs(
    generator: Generator, prompts: list[str], answers: list[str], use_cache: bool = True
) -> list[np.ndarray]:
    """log p(y_t | prompt, y_<t) in nats for each token of each answer: a list of (T_i,) arrays.

    The answer ends as it does in a prompt's examples (a blank line for decoder-only models, end of sequence for
    sequence-to-sequence ones), so that an answer is not favoured for being the beginning of a longer one.
    Logits are computed at answer positions only. Results are kept by content, see `generate`.
    Raises InputError for an empty answer or a prompt that does not fit.
    """
    _require_pairs(prompts, answers)
    if not use_cache:
        return _answer_logprobs(generator, prompts, answers)
    key = sha256_text(identity(generator), f"logprobs {ENDING!r}", *prompts, "\0", *answers)
    rows = cached_json("logprobs", key, lambda: [row.tolist() for row in _answer_logprobs(generator, prompts, answers)])
    return [np.array(row) for row in rows]


def _answer_logprobs(generator: Generator, prompts: list[str], answers: list[str]) -> list[np.ndarray]:
    import torch

    prompt_ids, answer_ids = tokenise_pairs(generator, prompts, answers)
    lengths = [len(p) + len(a) for p, a in zip(prompt_ids, answer_ids, strict=True)]
    if sum(lengths) >= COMPILE_FROM_TOKENS:
        compile_layers(generator)
    results: list[np.ndarray] = [np.empty(0)] * len(prompts)
    with torch.inference_mode(), progress_bar(len(prompts), "Scoring answers") as progress:
        for rows in batches_by_length(lengths, SCORING_TOKENS):
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
    which for a vocabulary of 262,144 costs more than the transformer itself.
    """
    import torch

    model, device = generator.model, generator.model.device
    labels = torch.tensor([token for ids in answer_ids for token in ids], device=device)
    if generator.seq2seq:
        inputs, mask = pad(prompt_ids, generator.tokenizer.pad_token_id, device)
        targets, targets_mask = pad(answer_ids, generator.tokenizer.pad_token_id, device)
        shifted = torch.full_like(targets, model.config.decoder_start_token_id)
        shifted[:, 1:] = targets[:, :-1]
        logits = model(input_ids=inputs, attention_mask=mask, decoder_input_ids=shifted).logits  # (B, T, V)
        logits = logits[targets_mask.bool()]
    else:
        # The last answer token predicts nothing that is scored: leave it out.
        sequences = [p + a[:-1] for p, a in zip(prompt_ids, answer_ids, strict=True)]
        inputs, _ = pad(sequences, generator.tokenizer.pad_token_id, device, COMPILED_BATCH_STEP)
        # Padding stands on the right, where a causal model does not look: without a mask attention skips half its work.
        hidden = model.get_decoder()(input_ids=inputs, use_cache=False).last_hidden_state
        rows = [row for row, ids in enumerate(answer_ids) for _ in ids]
        columns = [len(p) - 1 + t for p, a in zip(prompt_ids, answer_ids, strict=True) for t in range(len(a))]
        logits = model.get_output_embeddings()(hidden[rows, columns])  # (sum T_i, D) -> (sum T_i, V)
        cap = getattr(model.config, "final_logit_softcapping", None)
        logits = logits if cap is None else cap * torch.tanh(logits / cap)
    return fused(generator, _label_logprobs, logits, labels)


def _label_logprobs(logits, labels):
    """log softmax of each row of logits (n, V) at its label (n,), in float32."""
    logits = logits.float()
    return logits.gather(-1, labels[:, None])[:, 0] - logits.logsumexp(-1)


def fused(generator: Generator, function, *arguments):
    """function(*arguments), compiled where the generator's layers are: a vocabulary of 262,144 takes long otherwise."""
    import torch

    if not is_compiled(generator):
        return function(*arguments)
    with torch.compiler.set_stance("default"):
        return _compiled(function)(*arguments)


@functools.cache
def _compiled(function):
    import torch

    return torch.compile(function, dynamic=True)


def tokenise_pairs(
    generator: Generator, prompts: list[str], answers: list[str]
) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of prompts and of answers, each answer with its ending token.

    Decoder-only: the answer is tokenised as it would be generated, after a space, and ends with a blank line.
    """
    tokenizer = generator.tokenizer
    prompt_ids = tokenizer(prompts)["input_ids"]
    if generator.seq2seq:
        answer_ids = tokenizer(text_target=answers)["input_ids"]
    else:
        answer_ids = tokenizer([f" {answer}{ENDING}" for answer in answers], add_special_tokens=False)["input_ids"]
    if not all(prompt_ids):
        raise InputError(f"prompt number {prompt_ids.index([])} is empty: there is nothing to continue")
    limit = _max_positions(generator)
    longest = max(len(p) + len(a) for p, a in zip(prompt_ids, answer_ids, strict=True))
    if limit is not None and longest > limit:
        raise InputError(f"a prompt with its answer has {longest} tokens, {generator.name} takes {limit}: shorten it")
    return prompt_ids, answer_ids


def generate(
    generator: Generator, prompts: list[str], max_new_tokens: int = 16, n_beams: int = 1, use_cache: bool = True
) -> list[str]:
    """The continuation of each prompt up to the first newline, stripped; greedy, or the best of `n_beams` beams.

    Results are kept by content: the generator's sha256, the prompts and the settings. A model that is being trained
    has no sha256 of its own yet: pass `use_cache=False`.
    """
    if not prompts:
        raise InputError("nothing to generate: the list of prompts is empty")
    if not use_cache:
        return _generate(generator, prompts, max_new_tokens, n_beams)
    key = sha256_text(identity(generator), f"{max_new_tokens} {n_beams}", *prompts)
    return cached_json("generations", key, lambda: _generate(generator, prompts, max_new_tokens, n_beams))


def _generate(generator: Generator, prompts: list[str], max_new_tokens: int, n_beams: int) -> list[str]:
    import torch

    model, tokenizer = generator.model, generator.tokenizer
    prompt_ids = tokenizer(prompts)["input_ids"]
    ends = [tokenizer.eos_token_id, *([] if generator.seq2seq else newline_tokens(tokenizer))]
    texts = [""] * len(prompts)
    lengths = [len(ids) + max_new_tokens for ids in prompt_ids]
    # An encoder and a decoder count separately.
    longest = max(max(map(len, prompt_ids)), max_new_tokens) if generator.seq2seq else max(lengths)
    limit = _max_positions(generator)
    if limit is not None and longest > limit:
        raise InputError(f"a prompt with its answer takes {longest} tokens, {generator.name} has {limit}: shorten it")
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
            )
            new_tokens = output if generator.seq2seq else output[:, inputs.shape[1] :]
            for row, text in zip(rows, tokenizer.batch_decode(new_tokens, skip_special_tokens=True), strict=True):
                texts[row] = text.strip("\n").split("\n")[0].strip()
            progress.update(len(rows))
    return texts


@functools.lru_cache(maxsize=2)  # a second or two for a large vocabulary
def newline_tokens(tokenizer) -> list[int]:
    """Every token that contains a newline: a model may end its line with one newline or with several in one token."""
    return [
        token for token, text in enumerate(tokenizer.batch_decode([[i] for i in range(len(tokenizer))])) if "\n" in text
    ]


def compile_layers(generator: Generator) -> bool:
    """Fuse the element-wise operations of a decoder-only model on a CPU; False where that cannot be done.

    On a processor with bfloat16 units, norms, activations and rotations take longer than the matrix products.
    One layer is compiled and reused by all, and the softmax over the vocabulary at answer positions with them. What
    runs under the stance `force_eager`, as generation does, is not changed by a digit.
    """
    layers = _layers(generator)
    if generator.model.device.type != "cpu" or not layers or not (shutil.which("g++") or shutil.which("clang++")):
        return False
    for layer in layers:
        if layer._compiled_call_impl is None:
            activation = getattr(getattr(layer, "mlp", None), "act_fn", None)
            if type(activation).__name__ == "GELUTanh":
                activation.forward = _gelu
            layer.compile(dynamic=True)
    return True


def _layers(generator: Generator):
    """The layers of a decoder-only model; none of others."""
    return () if generator.seq2seq else getattr(generator.model.get_decoder(), "layers", ())


def is_compiled(generator: Generator) -> bool:
    """True once `compile_layers` has done its work."""
    return any(layer._compiled_call_impl is not None for layer in _layers(generator))


def _gelu(x):
    import torch

    return gelu_tanh(x) if torch.compiler.is_compiling() else torch.nn.functional.gelu(x, approximate="tanh")


def gelu_tanh(x):
    """GELU in its tanh approximation, by the identity (1 + tanh u) / 2 = sigmoid(2u).

    Compiled for a CPU, the sigmoid takes a quarter of the time of the tanh (measured on AVX-512, 2,048 x 2,048, bf16).
    """
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
    return x * (2 * u).sigmoid()


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


def identity(generator: Generator) -> str:
    """What the numbers depend on besides the texts: weights, precision, device, libraries, and this module's code."""
    import torch
    import transformers

    model = generator.model
    quantized = getattr(model, "is_quantized", False)
    libraries = f"torch {torch.__version__} transformers {transformers.__version__}"
    return f"{generator.sha256} {model.dtype} quantized={quantized} {model.device.type} {libraries} {_code_sha256()}"


@functools.cache
def _code_sha256() -> str:
    return sha256_source(sys.modules[__name__])


def _max_positions(generator: Generator) -> int | None:
    return getattr(generator.model.config, "max_position_embeddings", None)


def _require_pairs(prompts: list[str], answers: list[str]) -> None:
    if not prompts or len(prompts) != len(answers):
        raise InputError(f"{len(prompts)} prompts and {len(answers)} answers: give one answer to each prompt")
    for number, answer in enumerate(answers):
        if not answer.strip():
            raise InputError(f"answer number {number} is empty: there is nothing to score")
