"""Speed as ratios against a named baseline in the same run: `make benchmarks` prints them.

Ours and the baseline take turns, and each ratio is between medians, since a shared machine is never quiet.
"""

import statistics
import time

import numpy as np
import pytest
from substitution import uncached

from nbutils import data, generation, models, retrieval

ROUNDS = 5


@pytest.fixture(scope="module")
def factbook():
    return data.load_dataset("factbook", n_countries=60)


def in_turns(*functions, rounds=ROUNDS):
    """Median seconds of each function, called in turns after one warm-up call each."""
    for function in functions:
        function()
    seconds = [[] for _ in functions]
    for _ in range(rounds):
        for function, times in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


def report(benchmark, text, **ratios):
    benchmark.extra_info.update({name: round(value, 2) for name, value in ratios.items()})
    print(f"\n{text}: " + ", ".join(f"{name} {value:.2f}" for name, value in ratios.items()))


def gemm(shapes, dtype, device):
    """A function that computes the matrix products of one layer for a batch of 4,096 tokens, ten times; its FLOPs."""
    import torch

    weights = [torch.randn(shape, dtype=dtype, device=device) for shape in shapes]
    inputs = {width: torch.randn(4096, width, dtype=dtype, device=device) for _, width in shapes}

    def products():
        with torch.inference_mode():
            for weight in 10 * weights:
                torch.nn.functional.linear(inputs[weight.shape[1]], weight)

    return products, 10 * sum(2 * 4096 * weight.numel() for weight in weights)


def test_encoding_against_sentence_transformers(benchmark, factbook):
    """Passages a second against `SentenceTransformer.encode` with its defaults; the vectors agree to cosine 0.999.

    2.5 times as many is the aim, and is asked for where bfloat16 has matrix units of its own (2.8 to 3.2 measured).
    Elsewhere it was not reached (2.0 with AVX-512): asked for is half of the rate of the matrix products.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    texts = [retrieval.passage_text(passage) for passage in list(factbook.corpus.values())[:400]]
    encoder = models.load_encoder("minilm")
    baseline = SentenceTransformer(str(models.checkpoint_folder("minilm")), device=models.pick_device())

    def ours():
        return uncached(models.encode, encoder, texts)

    def theirs():
        return baseline.encode(texts, show_progress_bar=False)

    cosine = float((ours() * theirs()).sum(axis=1).min())
    config, width = encoder.model.config, encoder.model.config.hidden_size
    shapes = [(width, width)] * 4 + [(config.intermediate_size, width), (width, config.intermediate_size)]
    products, gemm_flops = gemm(shapes, encoder.model.dtype, encoder.model.device)
    seconds, baseline_seconds, gemm_seconds = in_turns(ours, theirs, products)
    n_tokens = sum(map(len, encoder.tokenizer(texts, truncation=True, max_length=encoder.max_length)["input_ids"]))
    flops = 2 * n_tokens * config.num_hidden_layers * sum(out * into for out, into in shapes)
    share = flops / seconds / (gemm_flops / gemm_seconds)
    benchmark.pedantic(ours, rounds=1)
    report(
        benchmark,
        "encoding 400 passages",
        passages_per_s=len(texts) / seconds,
        times_sentence_transformers=baseline_seconds / seconds,
        share_of_gemm_rate=share,
        min_cosine=cosine,
    )
    assert cosine >= 0.999
    if torch.cpu.get_capabilities().get("amx_tile", False):
        assert baseline_seconds / seconds >= 2.5
    assert share >= 0.5


@pytest.mark.parametrize("what", ["gold passages", "passages for LSR"])
def test_scoring_against_full_logits_and_the_gemm_rate(benchmark, factbook, what):
    """Some 256 (prompt, answer) pairs against a forward pass with logits at every position and against the GEMM rate.

    For LSR, an answer is scored under each of ten retrieved passages (RA-DIT's R-ft).
    """
    import torch
    from torch.nn.functional import linear

    questions = data.select(factbook.questions, kind="fact", n=256 if what == "gold passages" else 26)
    if what == "gold passages":
        found = [[question.gold_passages[0]] for question in questions]
    else:
        index = retrieval.build_bm25(factbook.corpus)
        found = retrieval.search(index, [question.text for question in questions], 10)[0].tolist()
    pairs = [(question, id_) for question, row in zip(questions, found, strict=True) for id_ in row]
    prompts = [generation.build_prompt(question.text, factbook.corpus[id_]) for question, id_ in pairs]
    answers = [question.answers[0] for question, _ in pairs]
    generator = models.load_generator("gemma-3-270m")
    prompt_ids, answer_ids = generation.tokenize_pairs(generator, prompts, answers)
    sequences = [p + a for p, a in zip(prompt_ids, answer_ids, strict=True)]

    def ours():
        return uncached(generation.answer_logprobs, generator, prompts, answers)

    def full_logits():
        with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
            for start in range(0, len(sequences), 8):
                ids, mask = generation.pad(sequences[start : start + 8], 0, generator.model.device)
                logits = generator.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
                logits.log_softmax(-1)

    config, dtype, device = generator.model.config, generator.model.dtype, generator.model.device
    products, gemm_flops = gemm(weight_shapes(config), dtype, device)
    square = torch.randn(2048, 2048, dtype=dtype, device=device)

    def square_gemm():
        with torch.inference_mode():
            for _ in range(50):
                linear(square, square)

    seconds, gemm_seconds, square_seconds = in_turns(ours, products, square_gemm, rounds=3)
    start = time.perf_counter()  # minutes: once is enough
    full_logits()
    baseline_seconds = time.perf_counter() - start
    flops = model_flops(config, sequences, answer_ids)
    achieved, peak, square_peak = flops / seconds, gemm_flops / gemm_seconds, 50 * 2 * 2048**3 / square_seconds
    benchmark.pedantic(ours, rounds=1)
    report(
        benchmark,
        f"scoring {len(pairs)} pairs, {what}, {sum(map(len, sequences))} tokens",
        tokens_per_s=sum(map(len, sequences)) / seconds,
        times_full_logits=baseline_seconds / seconds,
        gflops=achieved / 1e9,
        share_of_gemm_rate=achieved / peak,
        gemm_gflops=peak / 1e9,
        share_of_square_gemm_rate=achieved / square_peak,
    )
    assert baseline_seconds / seconds >= 3
    assert achieved / peak >= 0.5


def weight_shapes(config):
    """(out, in) of the matrices of one layer: query, key, value, output; gate, up, down."""
    width, head, inner = config.hidden_size, config.head_dim, config.intermediate_size
    queries, groups = config.num_attention_heads * head, config.num_key_value_heads * head
    attention = [(queries, width), (groups, width), (groups, width), (width, queries)]
    return [*attention, (inner, width), (inner, width), (width, inner)]


def model_flops(config, sequences, answer_ids):
    """Multiply-adds (x 2) that scoring needs: the layers at every real token, the output layer at answer tokens.

    Attention counts the lower triangle only. Padding does not count: it is our waste, not the model's work.
    """
    lengths = np.array([len(sequence) - 1 for sequence in sequences])
    layers = 2 * config.num_hidden_layers * sum(out * into for out, into in weight_shapes(config)) * lengths.sum()
    attention = 2 * config.num_hidden_layers * config.num_attention_heads * config.head_dim
    output = 2 * config.hidden_size * config.vocab_size * sum(map(len, answer_ids))
    return float(layers + attention * (lengths * (lengths + 1)).sum() + output)
