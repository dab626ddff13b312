"""Models that learn, looked at in between: afterwards they go on as if nobody had looked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def undisturbed(modules: Sequence, device) -> Iterator[None]:
    """While the block runs, the modules are in eval mode and nothing has gradients; random numbers are drawn apart.

    No layer is compiled for it: each keeps only so many compiled forms, and those are for the training.
    """
    import torch

    modes = {part: part.training for module in modules for part in module.modules()}
    try:
        for module in modules:
            module.eval()
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            torch.no_grad(),
            torch.compiler.set_stance("force_eager"),
        ):
            yield
    finally:
        for part, mode in modes.items():  # one by one: lower layers that do not learn stay in eval mode throughout
            part.training = mode
