"""Further training on plain text: -log p of every token given those before it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nbutils import cache, generation
from nbutils.errors import InputError
from nbutils.models import Generator, batches_by_length
from nbutils.training.checks import require_settings
from nbutils.training.evaluation import DevSet
from nbutils.training.identity import run_key
from nbutils.training.launch import carry_out
from nbutils.training.loop import Learners, Run
from nbutils.training.settings import TrainingSettings
from nbutils.training.system import System


def train_on_text(
    generator: Generator,
    windows: Sequence[Sequence[int]],
    settings: TrainingSettings,
    seed: int = 0,
    name: str | None = None,
    n_processes: int = 1,
    dev_windows: Sequence[Sequence[int]] = (),
) -> System:
    """A copy of the generator, called `name`, trained on windows of token ids, and the history of its training.

    They are the `token_ids` of what `generation.token_windows` gives; every token but the first counts once, as in
    `generation.token_states`. History: `loss` (nats per token) and `grad_norm` (before clipping); with
    `settings.evaluate_every`, `dev_step` and `dev_bits_per_token` of the dev windows, as in `fine_tune`. `n_processes`
    > 1 trains on as many GPUs. Raises InputError for a sequence-to-sequence model, no windows, one of fewer than two
    tokens or more than the model has positions, settings that cannot be, and when the loss stops being a number.
    """
    if generator.seq2seq:
        raise InputError(f"{generator.name} has an encoder: this trains decoder-only models")
    for kind, given in (("windows", windows), ("dev windows", dev_windows)):
        if given and min(map(len, given)) < 2:
            raise InputError(f"{kind}: one has fewer than two tokens, of which none would count")
        if given:
            generation.require_length(generator, [len(ids) - 1 for ids in given])
    if not windows:
        raise InputError("no windows of text to train on: give at least one")
    require_settings(settings, generator, n_processes, len(dev_windows))
    rows, dev_rows = ([list(ids) for ids in given] for given in (windows, dev_windows))
    objective = LanguageModelingObjective(rows, settings.batch_tokens)
    algorithm, content, evaluate = [LanguageModelingObjective], [repr(rows)], None
    if settings.evaluate_every:
        firsts, rest = [ids[:1] for ids in dev_rows], [ids[1:] for ids in dev_rows]
        evaluate = DevSet(firsts, rest, settings.batch_tokens).bits_per_token
        algorithm, content = [*algorithm, DevSet], [*content, repr(dev_rows)]
    key = run_key(algorithm, generator, [], settings, seed, *content)
    with cache.locked_folder("training", key) as folder:
        run = Run(folder, generator, {}, settings, seed, len(rows), objective, evaluate=evaluate)
        tuned = carry_out(run, n_processes)
    return replace(tuned, generator=replace(tuned.generator, name=name or f"{generator.name} trained on text"))


@dataclass(frozen=True)
class LanguageModelingObjective:
    """-log p(token | text before), mean over the tokens of the batch."""

    windows: list[list[int]]
    batch_tokens: int

    def step(self, learners: Learners, rows: list[int]) -> dict[str, float]:
        n_tokens, loss = sum(len(self.windows[row]) - 1 for row in rows), 0.0
        for positions in batches_by_length([len(self.windows[row]) for row in rows], self.batch_tokens):
            batch = [self.windows[rows[position]] for position in positions]
            with learners.autocast:
                logprobs = generation.batch_logprobs(
                    learners.generator, [ids[:1] for ids in batch], [ids[1:] for ids in batch]
                )
            share = -logprobs.sum() / n_tokens
            share.backward()
            loss += share.item()
        return {"loss": loss}
