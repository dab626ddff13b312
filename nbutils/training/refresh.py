"""Passages encoded by Ray actors from a snapshot of their encoder, while training goes on (Siriwardhana et al. 2021).

On one machine Ray starts by itself; with RAY_ADDRESS set the same code uses that cluster.
"""

import os
from dataclasses import replace
from itertools import pairwise

import numpy as np

from nbutils import cache, models
from nbutils.models import Encoder


def start_actors(encoder: Encoder, texts: list[str], n_actors: int, n_threads: int | None = None) -> list:
    """Ray actors that each hold an equal share of the texts and a copy of the encoder.

    `n_threads` is how many threads each one computes with (None: torch's own number).
    """
    import ray
    import torch

    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    # CPUs are not counted: training has no reservation with Ray either. Without a share of one Ray would hide the GPUs.
    gpus = min(1.0, torch.cuda.device_count() / n_actors) if encoder.model.device.type == "cuda" else 0
    actor = ray.remote(num_cpus=0, num_gpus=gpus)(_Reencoder)
    bounds = np.linspace(0, len(texts), n_actors + 1).round().astype(int)
    shares = [texts[start:end] for start, end in pairwise(bounds) if start < end]
    return [actor.remote(encoder, share, n_threads) for share in shares]


def submit(actors: list, encoder: Encoder) -> list:
    """Have the actors encode their texts with the encoder's present weights; what `collect` takes. Returns at once."""
    import ray

    weights = ray.put({name: tensor.detach().cpu().clone() for name, tensor in encoder.model.state_dict().items()})
    return [actor.encode.remote(weights) for actor in actors]


def collect(submitted: list) -> np.ndarray:
    """The vectors of all texts, (n, D) float32, in order; waits until they are there.

    Raises RuntimeError where an actor has died or failed.
    """
    import ray

    try:
        return np.concatenate(ray.get(submitted))
    except ray.exceptions.RayError as error:
        raise RuntimeError(f"an actor that encodes passages failed: {str(error).strip().splitlines()[-1]}") from error


def stop_actors(actors: list) -> None:
    """End the actors' processes."""
    for actor in actors:
        import ray

        ray.kill(actor)


class _Reencoder:
    """One Ray actor."""

    def __init__(self, encoder: Encoder, texts: list[str], n_threads: int | None):
        import torch

        os.environ["TQDM_DISABLE"] = "1"
        if n_threads is not None:
            torch.set_num_threads(n_threads)
        self.encoder, self.texts = replace(encoder, model=encoder.model.requires_grad_(False).eval()), texts

    def encode(self, weights: dict) -> np.ndarray:
        self.encoder.model.load_state_dict(weights)
        with cache.off():
            return models.encode(self.encoder, self.texts)
