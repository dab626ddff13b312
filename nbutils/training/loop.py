"""The loop: steps, checkpoints, rates, and the numbers that it writes down."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nbutils import generation
from nbutils.errors import InputError
from nbutils.models import Encoder, Generator
from nbutils.progress import progress_bar
from nbutils.training.adapters import trainable_encoder, trainable_generator, trained_parameters
from nbutils.training.checkpoints import load_tensors, read_state, write_state
from nbutils.training.settings import TrainingSettings, batch_rows, rate_factor

COMPILE_FROM_WORK = 10**10  # parameters x examples: compiling costs up to a minute once, and halves the time of a step


@dataclass(frozen=True)
class Run:
    """A run; several processes get it with the models left out."""

    folder: Path
    generator: Generator | None  # None: no generator takes part
    encoders: dict[str, Encoder]  # those that learn, by tower; none: nothing is learned about retrieval
    settings: TrainingSettings
    seed: int
    n_examples: int
    # (generator, encoders, rows, autocast) -> values of the curves; the gradients are added to the parameters
    gradients: Callable[..., dict[str, float]]
    # (encoders, step) -> values of the curves; before a step, where the index follows the passage encoder
    prepare: Callable[..., dict[str, float]] | None = None


def train(accelerator, job: Run) -> None:
    """Train from the folder's checkpoint or from the start; the main process leaves the result in the folder."""
    import torch

    settings, device, generator, autocast, parts = job.settings, run_device(job), None, None, {}
    if job.generator is not None:
        generator, parts["generator"] = trainable_generator(job.generator, job.settings, job.seed)
        for parameter in trained_parameters(parts["generator"]).values():
            parameter.data = parameter.data.float()  # in bfloat16 most updates would be rounded away
        dtype = job.generator.model.dtype
        whole = settings.lora_rank is None and dtype != torch.float32
        autocast = torch.autocast(device.type, dtype=dtype, enabled=whole)
        if parts["generator"].num_parameters() * settings.n_steps * settings.batch_size >= COMPILE_FROM_WORK:
            generation.compile_layers(generator)
    encoders = {tower: trainable_encoder(encoder) for tower, encoder in job.encoders.items()}
    parts |= {tower: encoder.model for tower, encoder in encoders.items()}
    for model in parts.values():
        model.train(settings.dropout)
    rates = [settings.learning_rate if part == "generator" else settings.encoder_learning_rate for part in parts]
    optimizer = torch.optim.AdamW(
        [{"params": list(trained_parameters(model).values())} for model in parts.values()],
        weight_decay=settings.weight_decay,
    )
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    first, curves = 0, {}
    state = read_state(job.folder)
    if state is not None:
        first, curves = state["step"], state["curves"]
        for part, model in parts.items():
            load_tensors(state["tensors"], part, model, optimizer)
    main, rank, world = accelerator.is_main_process, accelerator.process_index, accelerator.num_processes
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        progress_bar(settings.n_steps if main else 0, "Training") as progress,
    ):
        progress.update(first)
        for step in range(first, settings.n_steps):
            torch.manual_seed(int(np.random.SeedSequence([job.seed, step, rank]).generate_state(1)[0]))  # for dropout
            optimizer.zero_grad()
            rows = batch_rows(job.n_examples, settings, job.seed, step)[rank::world]
            prepared = {} if job.prepare is None else job.prepare(encoders, step)
            values = job.gradients(generator, encoders, rows, autocast) | prepared
            if world > 1:
                for parameter in parameters:
                    if parameter.grad is not None:
                        parameter.grad = accelerator.reduce(parameter.grad, "mean")
                means = accelerator.reduce(torch.tensor([*values.values()], device=device), "mean").tolist()
                values = dict(zip(values, means, strict=True))
            values["grad_norm"] = accelerator.clip_grad_norm_(parameters, settings.max_grad_norm).item()
            if not math.isfinite(values["loss"] + values["grad_norm"]):
                raise InputError(
                    f"step {step + 1} of {settings.n_steps}: loss {values['loss']}, gradient norm "
                    f"{values['grad_norm']}: lower the learning rate or look at the examples of this step"
                )
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * rate_factor(settings, step)
            optimizer.step()
            for name, value in values.items():
                curves.setdefault(name, []).append(value)
            if main and (step + 1) % settings.checkpoint_every == 0 and step + 1 < settings.n_steps:
                write_state(job.folder, parts, optimizer, step + 1, curves)
            progress.update(1)
    if main:
        write_state(job.folder, parts, None, settings.n_steps, curves)
    accelerator.wait_for_everyone()


def run_device(job: Run):
    return (job.generator or next(iter(job.encoders.values()))).model.device
