"""kNN-LM's two long computations as ratios to baselines in the same run: `make benchmarks` prints them.

The search over the keys is compared with faiss's own over an array that fits into memory and is in float32 already.
What the model computes from is compared with its matrix products alone, over random numbers in the same shapes.
"""

import dataclasses
import statistics
import time

import checkpoints
import numpy as np
from substitution import uncached

from nbutils import generation, models, retrieval
from nbutils.generation.token_states import BATCH_TOKENS

N_KEYS, N_QUERIES, WIDTH, K = 400_000, 10_000, 64, 64
N_LAYERS, D_MODEL, D_FFN, VOCABULARY, N_TOKENS, N_TEXTS = 6, 512, 2048, 8192, 256, 32
ROUNDS = 3


def seconds_in_turns(*functions):
    """Median seconds of each function, called in turns; both have been called before."""
    seconds = [[] for _ in functions]
    for _ in range(ROUNDS):
        for function, times in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


def test_nearest_states_against_faiss_in_memory(benchmark):
    """At least 0.8 times as fast, though it reads 16-bit keys block by block and merges what each block has found."""
    import faiss

    rng = np.random.default_rng(0)
    keys = rng.standard_normal((N_KEYS, WIDTH), dtype=np.float32).astype(np.float16)
    queries = rng.standard_normal((N_QUERIES, WIDTH), dtype=np.float32)
    in_memory = keys.astype(np.float32)

    def ours():
        return retrieval.nearest(keys, queries, K)

    def theirs():
        return faiss.knn(queries, in_memory, K)

    found = benchmark.pedantic(ours, rounds=1)
    np.testing.assert_allclose(found[0], theirs()[0], rtol=1e-4, atol=1e-3)
    our_seconds, their_seconds = seconds_in_turns(ours, theirs)
    ratio = their_seconds / our_seconds
    benchmark.extra_info["ratio"] = round(ratio, 2)
    print(f"\n{N_QUERIES} queries over {N_KEYS} keys, k = {K}: {ratio:.2f} times as fast as faiss in memory", end=" ")
    print(f"({our_seconds:.1f} s against {their_seconds:.1f} s)")
    assert ratio >= 0.8


def test_token_states_against_their_matrix_products(benchmark, tmp_path):
    """Attention, norms, activations, the softmax over the vocabulary and the files take the rest."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    generator = checkpoints.load_on_cpu(models.load_generator, checkpoints.llama(tmp_path / "llama"))
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=D_MODEL,
        intermediate_size=D_FFN,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=8,
        max_position_embeddings=N_TOKENS,
    )
    torch.manual_seed(0)
    generator = dataclasses.replace(generator, model=LlamaForCausalLM(config).eval(), sha256="of random weights")
    rng = np.random.default_rng(0)
    sequences = rng.integers(3, VOCABULARY, (N_TEXTS, N_TOKENS + 1)).tolist()
    linear = [module for module in generator.model.modules() if isinstance(module, torch.nn.Linear)]
    shapes = [(module.in_features, module.out_features) for module in linear]
    matrices = [(torch.randn(BATCH_TOKENS, n_in), torch.randn(n_in, n_out)) for n_in, n_out in shapes]

    def ours():
        return uncached(generation.token_states, generator, sequences, ("ffn_input",), with_logprobs=True)

    def theirs():
        with torch.inference_mode():
            for _ in range(N_TEXTS * N_TOKENS // BATCH_TOKENS):
                for rows, weights in matrices:
                    torch.mm(rows, weights)

    theirs()
    states = benchmark.pedantic(ours, rounds=1)
    assert len(shapes) == 7 * N_LAYERS + 1 and len(states.tokens) == N_TEXTS * N_TOKENS
    our_seconds, their_seconds = seconds_in_turns(ours, theirs)
    share = their_seconds / our_seconds
    benchmark.extra_info["share"] = round(share, 2)
    print(
        f"\n{N_TEXTS * N_TOKENS / our_seconds:.0f} tokens per second, {share:.2f} of the matrix products alone", end=" "
    )
    print(f"({our_seconds:.1f} s against {their_seconds:.1f} s)")
    assert share >= 0.6
