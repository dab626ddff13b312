"""Fine-tuning on -log p(answer | prompt)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nbutils import cache, generation
from nbutils.errors import InputError
from nbutils.models import Generator, batches_by_length
from nbutils.training.checks import require_answers, require_settings
from nbutils.training.evaluation import DevSet, dev_set
from nbutils.training.identity import run_key
from nbutils.training.launch import carry_out
from nbutils.training.loop import Learners, Run
from nbutils.training.settings import TrainingSettings
from nbutils.training.system import System


def fine_tune(
    generator: Generator,
    prompts: list[str],
    answers: list[str],
    settings: TrainingSettings,
    seed: int = 0,
    name: str | None = None,
    n_processes: int = 1,
    dev_prompts: Sequence[str] = (),
    dev_answers: Sequence[str] = (),
) -> System:
    """A copy of the generator, called `name`, trained on -log p(answer | prompt), and the history of its training.

    History: `loss` (nats an answer, its ending token included) and `grad_norm` (before clipping). `n_processes` > 1
    trains on as many GPUs (without GPUs: processes). With `settings.evaluate_every`, also `dev_step` (steps done: 0,
    every so many, the last) and beside each `dev_bits_per_token` of the dev examples: the sum of -log2 p over all
    tokens of their answers, ending tokens included, by the number of these tokens. Otherwise they are not looked at;
    the weights are the same with and without. Raises InputError for empty or too long examples, for settings that
    cannot be, for evaluation without dev examples, and when the loss stops being a number.
    """
    if not prompts or len(prompts) != len(answers):
        raise InputError(f"{len(prompts)} prompts and {len(answers)} answers: give one answer to each prompt")
    require_answers(answers)
    require_settings(settings, generator, n_processes, len(dev_prompts))
    objective = FineTuningObjective(*generation.tokenize_pairs(generator, prompts, answers), settings.batch_tokens)
    algorithm, content, evaluate = [FineTuningObjective], [*prompts, "\0", *answers], None
    if settings.evaluate_every:
        evaluate = dev_set(generator, dev_prompts, dev_answers, settings.batch_tokens).bits_per_token
        algorithm, content = [*algorithm, DevSet], [*content, "\0", *dev_prompts, "\0", *dev_answers]
    key = run_key(algorithm, generator, [], settings, seed, *content)
    with cache.locked_folder("training", key) as folder:
        run = Run(folder, generator, {}, settings, seed, len(prompts), objective, evaluate=evaluate)
        tuned = carry_out(run, n_processes)
    return replace(tuned, generator=replace(tuned.generator, name=name or f"{generator.name} fine-tuned"))


@dataclass(frozen=True)
class FineTuningObjective:
    """-log p(answer | prompt), mean over the batch."""

    prompt_ids: list[list[int]]
    answer_ids: list[list[int]]
    batch_tokens: int

    def step(self, learners: Learners, rows: list[int]) -> dict[str, float]:
        loss = 0.0
        lengths = [len(self.prompt_ids[row]) + len(self.answer_ids[row]) for row in rows]
        for positions in batches_by_length(lengths, self.batch_tokens):
            batch = [rows[position] for position in positions]
            prompt_ids, answer_ids = [self.prompt_ids[row] for row in batch], [self.answer_ids[row] for row in batch]
            with learners.autocast:
                logprobs = generation.batch_logprobs(learners.generator, prompt_ids, answer_ids)
            share = -logprobs.sum() / len(rows)
            share.backward()
            loss += share.item()
        return {"loss": loss}
