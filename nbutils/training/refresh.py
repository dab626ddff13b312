"""Passages encoded by Ray actors from a snapshot of their encoder, while training goes on (Siriwardhana et al. 2021).

On one machine Ray starts by itself. With the address of a cluster the actors are spread over its hosts.
"""

import os
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from nbutils import cache, models
from nbutils.models import Encoder
from nbutils.training.cluster import answering_hosts, connect, living_hosts, place_actors

_LOOK_S = 5  # how often a wait for vectors looks whether all hosts are alive
# Training has no reservation with Ray either. But with none at all, Ray would not look where it puts an actor.
_N_CPUS = 0.001


@dataclass(frozen=True)
class Submitted:
    """What the actors owe."""

    vectors: list  # Ray's references, one an actor, in the order of the texts
    hosts: frozenset[str]  # that answered then


def start_actors(
    encoder: Encoder, texts: list[str], n_actors: int, n_threads: int | None = None, address: str | None = None
) -> list:
    """Ray actors that each hold an equal share of the texts and a copy of the encoder, spread over the hosts.

    `n_threads` is how many threads each one computes with (None: as many as Ray sets). `address` is that of a Ray
    cluster; see `cluster.connect`, which may raise InputError.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    connect(address)
    shares = split_texts(texts, n_actors)
    actors = []
    # Without a share of one Ray would hide the GPUs. A host that is gone meanwhile leaves its actor to another one.
    for share, (host, gpus) in zip(shares, place_actors(len(shares), encoder.model.device.type == "cuda"), strict=True):
        where = NodeAffinitySchedulingStrategy(host, soft=True)
        actor = ray.remote(num_cpus=_N_CPUS, num_gpus=gpus, scheduling_strategy=where)(_Reencoder)
        actors.append(actor.remote(encoder, share, n_threads))
    return actors


def split_texts(texts: list[str], n_shares: int) -> list[list[str]]:
    """Equal shares, in order; as many as there are texts where they are fewer.

    The shares are encoded one by one wherever that is done: which texts share a batch changes the last bits of vectors.
    """
    bounds = np.linspace(0, len(texts), n_shares + 1).round().astype(int)
    return [texts[start:end] for start, end in pairwise(bounds) if start < end]


def submit(actors: list, encoder: Encoder) -> Submitted:
    """Have the actors encode their texts with the encoder's present weights; what `collect` takes. Returns at once."""
    import ray

    weights = ray.put({name: tensor.detach().cpu().clone() for name, tensor in encoder.model.state_dict().items()})
    hosts = frozenset(host["NodeID"] for host in answering_hosts())
    return Submitted([actor.encode.remote(weights) for actor in actors], hosts)


def collect(submitted: Submitted) -> np.ndarray:
    """The vectors of all texts, (n, D) float32, in order; waits until they are there.

    Raises RuntimeError where an actor has died or failed, or where a host was lost before all were there: an actor that
    had yet to start may wait for a place that only this host had. A host that falls silent is lost when Ray says so,
    which by its defaults takes about a minute.
    """
    import ray

    while True:
        try:
            return np.concatenate(ray.get(submitted.vectors, timeout=_LOOK_S))
        except ray.exceptions.GetTimeoutError:
            if lost := submitted.hosts - living_hosts():
                raise RuntimeError(f"{len(lost)} of {len(submitted.hosts)} hosts that encode passages lost") from None
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise RuntimeError(f"an actor that encodes passages failed: {reason}") from error


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
