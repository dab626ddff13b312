"""Every global switch of the libraries below: device, precision, memory, compilation, noise."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager


def pick_device() -> str:
    """`cuda`, `mps` or `cpu`: the fastest that this machine has."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def pick_dtype(device: str):
    """bfloat16 where the hardware multiplies it (AVX512-BF16 or AMX, or a GPU that has it), float32 elsewhere."""
    import torch

    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device == "cpu" and multiplies_bfloat16(torch.cpu.get_capabilities()):
        return torch.bfloat16
    return torch.float32


def multiplies_bfloat16(capabilities) -> bool:
    """True for a CPU with bfloat16 instructions; without them bfloat16 is emulated and slower than float32."""
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "amx_tile", "bf16"))


def prepare(device: str) -> None:
    """Set the switches that hold for the whole process, as every loader does first; no matter how often.

    torch: how many variants of a compiled function it keeps. On a CPU: freed memory stays with the process. No number
    depends on either.
    """
    import torch

    # One compiled layer serves every model, attention and batch of a notebook: more variants than the default of 8.
    torch._dynamo.config.recompile_limit = 64
    if device == "cpu":
        _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let this process reuse the memory that tensors free (glibc; elsewhere nothing happens).

    glibc gives every large block back to the system and asks for it again, page by page, at the next operation: a
    fifth of the time of scoring and of generating on a CPU.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)


def release_freed_memory() -> None:
    """Give back to the system what this process has freed and kept (glibc; elsewhere nothing happens).

    For the end of a training: what it kept lies between other blocks, the next one asks for its own, and a process
    that trained seven times held 4 GB that nothing used.
    """
    gc.collect()  # models lie in circles
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return


def feed_head_in_one_piece(model) -> None:
    """Have the output layer of `model`, a generator's, get what enters it in one piece.

    Generation gives it the last position of each prompt, a slice of three dimensions. On a CPU, if the head needs no
    gradient, torch copies a head of 262,144 rows for every prompt then: minutes instead of seconds a batch.
    """
    model.get_output_embeddings().register_forward_pre_hook(_contiguous)


def _contiguous(head, inputs: tuple):
    return (inputs[0].contiguous(), *inputs[1:])


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no advice from transformers while it loads or converts: neither belongs in a notebook."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
