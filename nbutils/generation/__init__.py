"""TODO"""

from nbutils.generation.compiled import (
    COMPILE_FROM_TOKENS,
    COMPILED_BATCH_STEP,
    call_compiled,
    compile_layers,
    gelu_tanh,
    is_compiled,
)
from nbutils.generation.continuations import (
    COPY_TOKENS,
    LOGITS,
    question_batches,
    score_continuations,
    tokenize_prompts,
    vocabulary_size,
)
from nbutils.generation.decoding import GENERATION_TOKENS, generate, newline_tokens
from nbutils.generation.instructions import (
    GOLD_CONTEXT,
    NO_CONTEXT,
    Instance,
    instruction_batches,
    instruction_examples,
)
from nbutils.generation.prefix import (
    KEEPING,
    READING_TOKENS,
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
    concatenated_prompt,
    instruction_prompt,
    instruction_templates,
    passage_prompts,
)
from nbutils.generation.scoring import (
    ANSWER_END,
    BATCH_TOKENS,
    answer_logprobs,
    batch_logprobs,
    fingerprint,
    max_positions,
    pad,
    tokenize_pairs,
)
