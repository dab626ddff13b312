"""Learning from answers in blocks of logits against all logits at once: `make benchmarks` prints it.

Both sides take turns in the same run; each ratio is between medians, in seconds of the processor. Memory is the peak of
a process of its own.
"""

import multiprocessing
import re
import statistics
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from substitution import substitute

from nbutils import generation
from nbutils.generation import output_layer as output_layer_module
from nbutils.models import Generator, runtime

WORDS, WIDTH = 65_536, 256
SHORT, LONG = (24, 6), (8, 130)  # answers and their tokens; the latter are just above the bound
ROUNDS = 3
UNBOUNDED = 2**62
STATUS = Path("/proc/self/status")  # the highest memory of this process alone; getrusage counts its parent's too


def reader():
    """A Llama of one layer whose time goes into its output layer, and which does not learn that one, as with LoRA."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    runtime.prepare("cpu")
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, **sizes))
    model.get_output_embeddings().requires_grad_(False)
    model.get_input_embeddings().requires_grad_(False)
    return Generator("random", "", model, SimpleNamespace(pad_token_id=0), False, "")


def step(generator, shape, most):
    """Function that learns once from that many answers of that many tokens, with so many logits at once."""
    rng = np.random.default_rng(0)
    answers = rng.integers(WORDS, size=shape).tolist()
    prompts = rng.integers(WORDS, size=(shape[0], 20)).tolist()

    def learn():
        with pytest.MonkeyPatch.context() as patch:
            if most is not None:
                substitute(patch, output_layer_module, "MOST_LOGITS_WITH_GRADIENTS", most)
            generation.batch_logprobs(generator, prompts, answers).sum().backward()

    return learn


def in_turns(*functions):
    """Median seconds of the processor of each, called in turns after one warm-up call each."""
    times = [[] for _ in functions]
    for number in range(ROUNDS + 1):
        for function, found in zip(functions, times, strict=True):
            start = time.process_time()  # what else the machine does meanwhile does not count
            function()
            found += [time.process_time() - start] if number else []
    return [statistics.median(found) for found in times]


def peak_memory(most, queue):
    """Put the kilobytes that two steps on long answers take above those of the model."""
    learn = step(reader(), LONG, most)
    before = highest()
    learn()
    learn()
    queue.put(highest() - before)


def highest():
    return int(re.search(r"VmHWM:\s+(\d+)", STATUS.read_text())[1])


def in_own_process(most):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=peak_memory, args=(most, queue))
    process.start()
    found = queue.get(timeout=600)
    process.join()
    return found


def report(benchmark, text, **ratios):
    benchmark.pedantic(lambda: None, rounds=1)
    benchmark.extra_info.update({name: round(value, 2) for name, value in ratios.items()})
    print(f"\n{text}: " + ", ".join(f"{name} {value:.2f}" for name, value in ratios.items()))


def test_short_answers_are_no_slower(benchmark):
    """They are below the bound: at most a tenth slower than with no bound at all (1.0 is expected)."""
    generator = reader()
    ours, unbounded = in_turns(step(generator, SHORT, None), step(generator, SHORT, UNBOUNDED))
    report(benchmark, "learning from 24 answers of 6 tokens", times_unbounded=ours / unbounded)
    assert ours <= 1.1 * unbounded


def test_long_answers_take_less_than_twice_the_time(benchmark):
    """In blocks the output layer is asked three times instead of twice: at most 1.8 times as slow."""
    generator = reader()
    ours, unbounded = in_turns(step(generator, LONG, None), step(generator, LONG, UNBOUNDED))
    report(benchmark, "learning from 8 answers of 130 tokens", times_unbounded=ours / unbounded)
    assert ours <= 1.8 * unbounded


def test_long_answers_take_less_than_half_of_the_memory(benchmark):
    """Above the model, in two steps, just above the bound; further above it, less still."""
    if not STATUS.exists():
        pytest.skip("this system does not say how much memory a process had at most")
    memory = in_own_process(UNBOUNDED) / in_own_process(None)
    report(benchmark, "learning from 8 answers of 130 tokens", memory_unbounded_over_ours=memory)
    assert memory >= 2
