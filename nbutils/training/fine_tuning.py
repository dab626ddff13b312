"""Fine-tuning on -log p(answer | prompt)."""

import functools
from dataclasses import replace

from nbutils import generation
from nbutils.errors import InputError
from nbutils.models import Generator, batches_by_length
from nbutils.training.checkpoints import run_folder
from nbutils.training.checks import require_answers, require_settings
from nbutils.training.launch import carry_out
from nbutils.training.loop import Run
from nbutils.training.settings import History, TrainingSettings


def fine_tune(
    generator: Generator,
    prompts: list[str],
    answers: list[str],
    settings: TrainingSettings,
    seed: int = 0,
    name: str | None = None,
    n_processes: int = 1,
) -> tuple[Generator, History]:
    """A copy of the generator, called `name`, trained on -log p(answer | prompt), and the curves of its training.

    Curves: `loss` (nats an answer, its ending token included) and `grad_norm` (before clipping). `n_processes` > 1
    trains on as many GPUs (without GPUs: processes). Raises InputError for empty or too long examples, for settings
    that cannot be, and when the loss stops being a number.
    """
    if not prompts or len(prompts) != len(answers):
        raise InputError(f"{len(prompts)} prompts and {len(answers)} answers: give one answer to each prompt")
    require_answers(answers)
    require_settings(settings, generator, n_processes)
    prompt_ids, answer_ids = generation.tokenize_pairs(generator, prompts, answers)
    gradients = functools.partial(_answer_gradients, prompt_ids, answer_ids, settings.batch_tokens)
    folder = run_folder("fine-tuning", generator, settings, seed, *prompts, "\0", *answers)
    job = Run(folder, generator, {}, settings, seed, len(prompts), gradients)
    tuned, _, curves = carry_out(job, n_processes)
    return replace(tuned, name=name or f"{generator.name} fine-tuned"), curves


def _answer_gradients(prompt_ids, answer_ids, batch_tokens, generator, encoders, rows, autocast) -> dict[str, float]:
    loss = 0.0
    for batch in batches_by_length([len(prompt_ids[row]) + len(answer_ids[row]) for row in rows], batch_tokens):
        members = [rows[position] for position in batch]
        pairs = [prompt_ids[row] for row in members], [answer_ids[row] for row in members]
        with autocast:
            logprobs = generation.batch_logprobs(generator, *pairs)
        share = -logprobs.sum() / len(rows)
        share.backward()
        loss += share.item()
    return {"loss": loss}
