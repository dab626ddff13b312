"""A run from its folder: trained now, in one process or several, or read back."""

import socket
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from nbutils.errors import InputError
from nbutils.files import sha256_text
from nbutils.models import Encoder, Generator, release_freed_memory
from nbutils.training.adapters import is_quantized, trainable_encoder, trainable_generator
from nbutils.training.checkpoints import load_tensors, read_state
from nbutils.training.loop import Run, run_device, train
from nbutils.training.settings import encoder_layers
from nbutils.training.system import System


def carry_out(run: Run, n_processes: int = 1) -> System:
    """What has learned, and the history, read back from the run's folder whether it learned now or earlier."""
    state = read_state(run.folder)
    if state is None or state["step"] < run.settings.n_steps:
        if n_processes == 1:
            from accelerate import Accelerator

            train(Accelerator(cpu=run_device(run).type == "cpu", mixed_precision="no"), run)
        else:
            _train_in_processes(n_processes, run)
        state = read_state(run.folder)
        release_freed_memory()
    learned = {tower: _learned_encoder(run, tower, state) for tower in run.encoders}
    return System(
        generator=None if run.generator is None else _learned_generator(run, state),
        question_encoder=learned.get("question"),
        passage_encoder=learned.get("passage"),
        history=state["history"],
    )


def _learned_generator(run: Run, state: dict[str, Any]) -> Generator:
    generator, trained = trainable_generator(run.generator, run.settings, run.seed)
    load_tensors(state["tensors"], "generator", trained)
    if run.settings.lora_rank is not None and not is_quantized(generator):  # 4-bit weights would lose what is merged in
        generator = replace(generator, model=trained.merge_and_unload())
    generator.model.requires_grad_(False)
    return replace(generator, sha256=sha256_text(generator.sha256, state["sha256"]))


def _learned_encoder(run: Run, tower: str, state: dict[str, Any]) -> Encoder:
    encoder = run.encoders[tower]
    copied = trainable_encoder(encoder, encoder_layers(run.settings, tower))
    load_tensors(state["tensors"], tower, copied.model)
    copied.model.requires_grad_(False)
    return replace(copied, sha256=sha256_text(encoder.sha256, tower, state["sha256"]))


def _train_in_processes(n_processes: int, run: Run) -> None:
    """Train in `n_processes` fresh processes, one a GPU.

    Not by accelerate's own launchers: notebook_launcher forks, and a process that has a model on a GPU cannot be
    forked; debug_launcher is for CPUs alone. PrepareForLaunch is what both start in each process.
    """
    from accelerate.utils import PrepareForLaunch, patch_environment
    from torch.multiprocessing import ProcessRaisedException, start_processes

    device = run_device(run).type
    launch = PrepareForLaunch(_train_one_of_several, "MULTI_CPU" if device == "cpu" else "MULTI_GPU")
    run.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".models.", dir=run.folder) as scratch:
        arguments = (device, *_without_models(run, Path(scratch)))
        try:
            with patch_environment(world_size=n_processes, master_addr="127.0.0.1", master_port=_free_port()):
                start_processes(launch, arguments, n_processes, start_method="spawn")
        except ProcessRaisedException as error:
            last_line = str(error).strip().splitlines()[-1]
            if InputError.__name__ in last_line:
                raise InputError(last_line.partition(": ")[2]) from error
            raise


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _without_models(run: Run, folder: Path) -> tuple[dict[str, tuple], Run]:
    """The models' architectures, folders and precisions, by part, and the run without them."""
    saved = {}
    for part, owner in {"generator": run.generator, **run.encoders}.items():
        saved[part] = (type(owner.model), folder / part, owner.model.dtype)
        owner.model.save_pretrained(folder / part)
    encoders = {tower: replace(encoder, model=None) for tower, encoder in run.encoders.items()}
    return saved, replace(run, generator=replace(run.generator, model=None), encoders=encoders)


def _train_one_of_several(device: str, saved: dict[str, tuple], run: Run) -> None:
    """One of several training processes."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no")
    loaded = {
        part: architecture.from_pretrained(folder, dtype=dtype, use_safetensors=True).to(accelerator.device).eval()
        for part, (architecture, folder, dtype) in saved.items()
    }
    generator = replace(run.generator, model=loaded["generator"])
    encoders = {tower: replace(encoder, model=loaded[tower]) for tower, encoder in run.encoders.items()}
    train(accelerator, replace(run, generator=generator, encoders=encoders))
    accelerator.end_training()
