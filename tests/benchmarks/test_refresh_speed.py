"""What an asynchronous refresh of the index costs training, and how fast it is: `make benchmarks` prints both.

Training computes with one thread and the actor with another, as where each has a core of its own.
"""

import statistics
import time

import pytest
from substitution import uncached

from nbutils import data, generation, models, retrieval, training

STEPS = 6
N_PASSAGES = 800


@pytest.fixture
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_refresh_beside_training(benchmark, one_thread):
    """A training step beside a refresh takes at most 1.1 of its time alone; the actor encodes as fast as one here."""
    import ray
    import torch

    corpus = data.load_dataset("factbook", n_countries=60).corpus
    texts = [retrieval.passage_text(passage) for passage in list(corpus.values())[:N_PASSAGES]]
    encoder, generator = models.load_encoder("minilm"), models.load_generator("gemma-3-270m")
    prompts = [generation.build_prompt("What is the capital?", passage) for passage in list(corpus.values())[:4]]
    pairs = generation.tokenize_pairs(generator, prompts, ["Paris"] * len(prompts))
    layer = generator.model.get_decoder().layers[-1].requires_grad_(True)

    def step():
        start = time.perf_counter()
        generation.batch_logprobs(generator, *pairs).sum().backward()
        layer.zero_grad()
        return time.perf_counter() - start

    actors = training.start_actors(encoder, texts, n_actors=1, n_threads=1)
    training.collect(training.submit(actors, encoder))  # warm
    uncached(models.encode, encoder, texts[:100])
    step()
    alone, beside, here, there = [], [], [], []
    for _ in range(2):
        start = time.perf_counter()
        uncached(models.encode, encoder, texts)
        here.append(time.perf_counter() - start)
        alone += [step() for _ in range(STEPS)]
        start = time.perf_counter()
        submitted = training.submit(actors, encoder)
        while not ray.wait(submitted.vectors, timeout=0)[0]:
            beside.append(step())
        training.collect(submitted)
        there.append(time.perf_counter() - start - beside[-1] / 2)  # it ended somewhere within the last step
    training.stop_actors(actors)
    ray.shutdown()
    assert len(beside) >= 4 and torch.get_num_threads() == 1
    benchmark.pedantic(step, rounds=1)
    slower = statistics.median(beside) / statistics.median(alone)
    rate = min(here) / min(there)
    print(f"\nrefresh of {len(texts)} passages: step beside / alone {slower:.2f}, rate there / here {rate:.2f}")
    benchmark.extra_info.update(step_beside_over_alone=round(slower, 2), rate_there_over_here=round(rate, 2))
    assert slower < 1.1 and rate > 0.8
