"""The training loop, the same for every objective: batch, gradients, clipping, optimizer step, checkpoint."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nbutils import generation
from nbutils.errors import InputError
from nbutils.models import Encoder, Generator
from nbutils.progress import progress_bar
from nbutils.training.adapters import trainable_encoder, trainable_generator, trained_parameters
from nbutils.training.checkpoints import load_tensors, read_state, write_state
from nbutils.training.settings import (
    History,
    TrainingSettings,
    batch_rows,
    encoder_layers,
    is_evaluated,
    rate_factor,
)
from nbutils.training.top_layers import TopLayers, split_encoder
from nbutils.training.undisturbed import undisturbed

COMPILE_FROM_WORK = 10**10  # parameters x examples: compiling costs up to a minute once, and halves the time of a step


@dataclass(frozen=True)
class Learners:
    """What an objective computes with: copies of the models, which learn."""

    generator: Generator | None
    encoders: dict[str, Encoder]  # by tower; an encoder that stays as it is belongs to the objective
    top_layers: dict[str, TopLayers]  # by tower, where these alone learn
    autocast: AbstractContextManager  # for the generator's forward passes


@dataclass(frozen=True)
class Run:
    """One training; several processes get it with the models left out."""

    folder: Path  # of the checkpoints, and in the end of what was learned
    generator: Generator | None  # as it is before training; None: no generator takes part
    encoders: dict[str, Encoder]  # those that learn, by tower, as they are before training
    settings: TrainingSettings
    seed: int
    n_examples: int
    objective: Any  # its step(learners, rows) adds to the parameters' gradients and returns values of the history
    # (learners, step) -> values of the history; before a step, where the index follows the passage encoder
    on_step_begin: Callable[[Learners, int], dict[str, float]] | None = None
    # values of the dev examples, by their names in the history; every `settings.evaluate_every` steps
    evaluate: Callable[[Learners], dict[str, float]] | None = None


def train(accelerator, run: Run) -> None:
    """Train from the folder's checkpoint or from the start; the main process leaves the result in the folder."""
    import torch

    settings, device, is_main = run.settings, run_device(run), accelerator.is_main_process
    learners, modules = _build_learners(run)
    optimizer = _build_optimizer(modules, settings)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    first_step, history = _resume(run.folder, modules, optimizer)
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        progress_bar(settings.n_steps if is_main else 0, "Training") as progress,
    ):
        progress.update(first_step)
        if is_main and first_step == 0:
            _evaluate(run, learners, modules, 0, history)
        for step in range(first_step, settings.n_steps):
            _seed_dropout(run.seed, step, accelerator.process_index)
            rows = batch_rows(run.n_examples, settings, run.seed, step)
            rows = rows[accelerator.process_index :: accelerator.num_processes]
            at_begin = run.on_step_begin(learners, step) if run.on_step_begin is not None else {}

            optimizer.zero_grad()
            values = run.objective.step(learners, rows) | at_begin
            if accelerator.num_processes > 1:
                values = _mean_over_processes(accelerator, parameters, values)
            values["grad_norm"] = accelerator.clip_grad_norm_(parameters, settings.max_grad_norm).item()
            _require_finite(values, step, settings.n_steps)

            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * rate_factor(settings, step)
            optimizer.step()

            for name, value in values.items():
                history.setdefault(name, []).append(value)
            n_done = step + 1
            if is_main:  # before the checkpoint: what is kept of `n_done` steps holds their evaluation too
                _evaluate(run, learners, modules, n_done, history)
            if is_main and n_done % settings.checkpoint_every == 0 and n_done < settings.n_steps:
                write_state(run.folder, modules, optimizer, n_done, history)
            progress.update(1)
    if is_main:
        write_state(run.folder, modules, None, settings.n_steps, history)
    accelerator.wait_for_everyone()


def run_device(run: Run):
    return (run.generator or next(iter(run.encoders.values()))).model.device


def _build_learners(run: Run) -> tuple[Learners, dict[str, Any]]:
    """What learns, and the modules that hold its parameters, by the names that checkpoints give them."""
    generator, autocast, modules = None, nullcontext(), {}
    if run.generator is not None:
        generator, modules["generator"] = trainable_generator(run.generator, run.settings, run.seed)
        for parameter in trained_parameters(modules["generator"]).values():
            parameter.data = parameter.data.float()  # in bfloat16 most updates would be rounded away
        autocast = _generator_autocast(run)
        work = modules["generator"].num_parameters() * run.settings.n_steps * run.settings.batch_size
        if work >= COMPILE_FROM_WORK:
            generation.compile_layers(generator)
    n_layers = {tower: encoder_layers(run.settings, tower) for tower in run.encoders}
    encoders = {tower: trainable_encoder(encoder, n_layers[tower]) for tower, encoder in run.encoders.items()}
    modules |= {tower: encoder.model for tower, encoder in encoders.items()}
    for module in modules.values():
        module.train(run.settings.dropout)
    top_layers = {tower: split_encoder(encoders[tower].model, n) for tower, n in n_layers.items() if n is not None}
    return Learners(generator, encoders, top_layers, autocast), modules


def _generator_autocast(run: Run) -> AbstractContextManager:
    """All weights of a bfloat16 generator are float32 while they learn: it computes in its own precision still."""
    import torch

    dtype = run.generator.model.dtype
    whole = run.settings.lora_rank is None and dtype != torch.float32
    return torch.autocast(run_device(run).type, dtype=dtype, enabled=whole)


def _build_optimizer(modules: dict[str, Any], settings: TrainingSettings):
    """AdamW with a group a module, of which `initial_lr` is the full learning rate."""
    import torch

    groups = [
        {
            "params": list(trained_parameters(module).values()),
            "initial_lr": settings.learning_rate if part == "generator" else settings.encoder_learning_rate,
        }
        for part, module in modules.items()
    ]
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)


def _resume(folder: Path, modules: dict[str, Any], optimizer) -> tuple[int, History]:
    """The first step that is still to be done and the history before it; modules and optimizer as they were then."""
    state = read_state(folder)
    if state is None:
        return 0, {}
    for part, module in modules.items():
        load_tensors(state["tensors"], part, module, optimizer)
    return state["step"], state["history"]


def _seed_dropout(seed: int, step: int, process: int) -> None:
    """A step's random numbers do not depend on those before it, so that a run that goes on draws the same."""
    import torch

    torch.manual_seed(int(np.random.SeedSequence([seed, step, process]).generate_state(1)[0]))


def _evaluate(run: Run, learners: Learners, modules: dict[str, Any], n_done: int, history: History) -> None:
    """Add the values after `n_done` steps to the history, and the number of steps beside them, where they are due."""
    if run.evaluate is None or not is_evaluated(run.settings, n_done):
        return
    with undisturbed([*modules.values()], run_device(run)):
        values = run.evaluate(learners)
    for name, value in {"dev_step": n_done, **values}.items():
        history.setdefault(name, []).append(value)


def _mean_over_processes(accelerator, parameters: list, values: dict[str, float]) -> dict[str, float]:
    """The values' means; the parameters' gradients become theirs."""
    import torch

    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad = accelerator.reduce(parameter.grad, "mean")
    means = accelerator.reduce(torch.tensor([*values.values()], device=accelerator.device), "mean")
    return dict(zip(values, means.tolist(), strict=True))


def _require_finite(values: dict[str, float], step: int, n_steps: int) -> None:
    if not math.isfinite(values["loss"] + values["grad_norm"]):
        raise InputError(
            f"step {step + 1} of {n_steps}: loss {values['loss']}, gradient norm "
            f"{values['grad_norm']}: lower the learning rate or look at the examples of this step"
        )
