"""A step of R-ft with real MiniLM: top layers alone against all, bfloat16 against float32. `make benchmarks` prints it.

Both sides take turns in the same run; each ratio is between medians of their steps, in seconds of the processor.
"""

import statistics
import time

import numpy as np
import pytest
from substitution import substitute

from nbutils import cache, data, models, retrieval, training
from nbutils.models import runtime as runtime_module
from nbutils.training import TrainingSettings
from nbutils.training import settings as settings_module

N_QUERIES, N_CANDIDATES = 32, 6
ROUNDS, N_STEPS = 2, 4


@pytest.fixture(scope="module")
def rft():
    """Function settings -> seconds of each step of R-ft with both encoders; all steps see the same queries."""
    facts = data.load_dataset("factbook", n_countries=60)
    rng = np.random.default_rng(0)
    ids = rng.choice([*facts.corpus], (N_QUERIES, N_CANDIDATES), replace=False)
    queries = [example.query for example in facts.examples if example.task == "fact"][:N_QUERIES]
    corpus = {id_: facts.corpus[id_] for id_ in ids.ravel().tolist()}
    lm_logprobs = np.log(rng.uniform(0.01, 0.6, ids.shape))

    def seconds(settings):
        starts, batch = [], training.batch_rows

        def noted(*arguments):
            starts.append(time.process_time())  # what else the machine does meanwhile does not count
            return batch(*arguments)

        with pytest.MonkeyPatch.context() as patch, cache.off():
            patch.setenv("TQDM_DISABLE", "1")
            substitute(patch, runtime_module, "pick_device", lambda: "cpu")
            encoder = models.load_encoder("minilm")
            index = retrieval.build_dense(encoder, corpus)
            substitute(patch, settings_module, "batch_rows", noted)
            n = settings.batch_size
            training.train_lsr(
                encoder, index, corpus, queries[:n], ids[:n], lm_logprobs[:n], settings, 0.05, passage_encoder=encoder
            )
        return np.diff(starts).tolist()

    return seconds


def compare(benchmark, name, n_queries, plain, fast):
    """Ratio of the median steps; the first step, in which lower layers read the texts, counts for neither."""
    times = ([], [])
    for _ in range(ROUNDS):
        for function, found in zip((plain, fast), times, strict=True):
            found += function()[1:]
    before, after = map(statistics.median, times)
    benchmark.pedantic(lambda: None, rounds=1)
    benchmark.extra_info[name] = round(before / after, 2)
    print(f"\nR-ft, {n_queries} x {N_CANDIDATES}: {name} {before / after:.2f} ({before:.2f} s / {after:.2f} s a step)")
    return before / after


def test_two_top_layers_with_the_lower_activations_kept(benchmark, rft):
    """At least 2 x faster a step than all six layers."""
    whole = TrainingSettings(N_STEPS, N_QUERIES // 4)
    top = TrainingSettings(N_STEPS, N_QUERIES // 4, question_layers=2, passage_layers=2)
    ratio = compare(benchmark, "two layers over six", N_QUERIES // 4, lambda: rft(whole), lambda: rft(top))
    assert ratio >= 2


def test_encoders_in_bfloat16(benchmark, rft):
    """At least 2.5 x faster a step than in float32, on a processor that multiplies bfloat16."""
    import torch

    if not runtime_module.multiplies_bfloat16(torch.cpu.get_capabilities()):
        pytest.skip("this processor does not multiply bfloat16: encoders train in float32 on it")

    whole = TrainingSettings(N_STEPS, N_QUERIES)

    def plain():
        with pytest.MonkeyPatch.context() as patch:
            substitute(patch, runtime_module, "pick_dtype", lambda device: torch.float32)
            return rft(whole)

    assert compare(benchmark, "bfloat16 over float32", N_QUERIES, plain, lambda: rft(whole)) >= 2.5
