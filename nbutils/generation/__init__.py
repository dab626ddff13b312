"""Prompts, and what a language model makes of them: log p(answer), greedy answers, shared prefixes read once."""

from nbutils.generation.compiled import call_compiled, compile_layers, gelu_tanh
from nbutils.generation.continuations import question_batches, score_continuations, tokenize_prompts
from nbutils.generation.decoding import continue_prompts, generate
from nbutils.generation.ngrams import ngram_probabilities
from nbutils.generation.output_layer import vocabulary_size
from nbutils.generation.prefix import (
    Prefix,
    compile_for,
    copy_cache,
    decode_step,
    gather,
    inference,
    next_logits,
    prefill,
)
from nbutils.generation.prompts import (
    build_prompt,
    instruction_prompt,
    instruction_templates,
    passage_prompts,
)
from nbutils.generation.scoring import answer_logprobs, batch_logprobs, fingerprint, pad, require_length, tokenize_pairs
from nbutils.generation.token_states import (
    KEYS,
    TokenStates,
    Window,
    captured_states,
    state_modules,
    token_states,
    token_windows,
)
from nbutils.generation.turns import (
    ANSWER_END,
    answer_tokens,
    ending_tokens,
    newline_tokens,
    prompt_tokens,
    stop_tokens,
)
