"""A run from its folder: trained now, in one process or several, or read back."""

import socket
import tempfile
from dataclasses import replace
from pathlib import Path

from nbutils.errors import InputError
from nbutils.files import exclusive, sha256_text
from nbutils.models import Encoder, Generator
from nbutils.training.adapters import is_quantized, trainable_encoder, trainable_generator
from nbutils.training.checkpoints import load_tensors, read_state
from nbutils.training.loop import Run, run_device, train
from nbutils.training.settings import History


def carry_out(job: Run, n_processes: int) -> tuple[Generator | None, dict[str, Encoder], History]:
    """What training gives, read back from the run's folder whether it took place now or earlier."""
    with exclusive(job.folder / ".lock"):  # another notebook may be at the same run: wait for it
        state = read_state(job.folder)
        if state is None or state["step"] < job.settings.n_steps:
            if n_processes == 1:
                from accelerate import Accelerator

                train(Accelerator(cpu=run_device(job).type == "cpu", mixed_precision="no"), job)
            else:
                _train_in_processes(n_processes, job)
            state = read_state(job.folder)
    tuned, learned = None, {}
    if job.generator is not None:
        tuned, trained = trainable_generator(job.generator, job.settings, job.seed)
        load_tensors(state["tensors"], "generator", trained)
        if job.settings.lora_rank is not None and not is_quantized(tuned):  # 4-bit weights would lose what is merged in
            tuned = replace(tuned, model=trained.merge_and_unload())
        tuned.model.requires_grad_(False)
        tuned = replace(tuned, sha256=sha256_text(tuned.sha256, state["sha256"]))
    for tower, encoder in job.encoders.items():
        copied = trainable_encoder(encoder)
        load_tensors(state["tensors"], tower, copied.model)
        copied.model.requires_grad_(False)
        learned[tower] = replace(copied, sha256=sha256_text(encoder.sha256, tower, state["sha256"]))
    return tuned, learned, state["curves"]


def _train_in_processes(n_processes: int, job: Run) -> None:
    """Train in `n_processes` fresh processes, one a GPU.

    Not by accelerate's notebook_launcher: it forks, and a process that has a model on a GPU cannot be forked.
    """
    from accelerate.utils import PrepareForLaunch, patch_environment
    from torch.multiprocessing import ProcessRaisedException, start_processes

    device = job.generator.model.device.type
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix=".models.", dir=job.folder) as scratch:
        saved = {}
        for part, model in {"generator": job.generator, **job.encoders}.items():
            saved[part] = (type(model.model), Path(scratch) / part, model.model.dtype)
            model.model.save_pretrained(saved[part][1])
        bare = {tower: replace(encoder, model=None) for tower, encoder in job.encoders.items()}
        arguments = (device, saved, replace(job, generator=replace(job.generator, model=None), encoders=bare))
        launch = PrepareForLaunch(_process, "MULTI_CPU" if device == "cpu" else "MULTI_GPU")
        try:
            with patch_environment(world_size=n_processes, master_addr="127.0.0.1", master_port=port):
                start_processes(launch, arguments, n_processes, start_method="spawn")
        except ProcessRaisedException as error:
            last_line = str(error).strip().splitlines()[-1]
            if InputError.__name__ in last_line:
                raise InputError(last_line.partition(": ")[2]) from error
            raise


def _process(device: str, saved: dict, job: Run) -> None:
    """One of several training processes."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no")
    models = {
        part: architecture.from_pretrained(folder, dtype=dtype, use_safetensors=True).to(accelerator.device).eval()
        for part, (architecture, folder, dtype) in saved.items()
    }
    encoders = {tower: replace(encoder, model=models[tower]) for tower, encoder in job.encoders.items()}
    job = replace(job, generator=replace(job.generator, model=models["generator"]), encoders=encoders)
    train(accelerator, job)
    accelerator.end_training()
