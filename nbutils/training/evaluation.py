"""Dev examples while a model learns: how well it does on them, without a trace in what it learns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nbutils import generation
from nbutils.errors import InputError
from nbutils.models import Generator, batches_by_length
from nbutils.training.checks import require_answers
from nbutils.training.loop import Learners


@dataclass(frozen=True)
class DevSet:
    """Dev examples of a fine-tuning, which stay the same from the first step to the last."""

    prompt_ids: list[list[int]]
    answer_ids: list[list[int]]
    batch_tokens: int

    def bits_per_token(self, learners: Learners) -> dict[str, float]:
        """{"dev_bits_per_token": sum of -log2 p over all answer tokens / their number}, ending tokens included."""
        nats = 0.0
        lengths = [len(p) + len(a) for p, a in zip(self.prompt_ids, self.answer_ids, strict=True)]
        for rows in batches_by_length(lengths, self.batch_tokens):
            batch = [self.prompt_ids[row] for row in rows], [self.answer_ids[row] for row in rows]
            with learners.autocast:
                nats -= generation.batch_logprobs(learners.generator, *batch).sum().item()
        return {"dev_bits_per_token": nats / math.log(2) / sum(map(len, self.answer_ids))}


def dev_set(generator: Generator, prompts: Sequence[str], answers: Sequence[str], batch_tokens: int) -> DevSet:
    """The examples as token ids. Raises InputError for what `fine_tune` refuses in its training examples."""
    if len(prompts) != len(answers):
        raise InputError(f"{len(prompts)} dev prompts and {len(answers)} dev answers: give one answer to each prompt")
    require_answers(answers, "dev answer")
    return DevSet(*generation.tokenize_pairs(generator, list(prompts), list(answers)), batch_tokens)
