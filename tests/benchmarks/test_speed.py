"""Speed as ratios against a named baseline in the same run: `make benchmarks` prints them.

Ours and the baseline take turns, and each ratio is between medians, since a shared machine is never quiet.
"""

import statistics
import time

import numpy as np
import pytest

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


def test_encoding_against_sentence_transformers(benchmark, factbook):
    """Passages a second against `SentenceTransformer.encode` with its defaults; the vectors agree to cosine 0.999."""
    from sentence_transformers import SentenceTransformer

    texts = [retrieval.passage_text(passage) for passage in list(factbook.corpus.values())[:400]]
    encoder = models.load_encoder("minilm")
    baseline = SentenceTransformer(str(models.checkpoint_folder("minilm")), device=models.pick_device())

    def ours():
        return retrieval.encode(encoder, texts, use_cache=False)

    def theirs():
        return baseline.encode(texts, show_progress_bar=False)

    cosine = float((ours() * theirs()).sum(axis=1).min())
    seconds, baseline_seconds = in_turns(ours, theirs)
    benchmark.pedantic(ours, rounds=1)
    report(
        benchmark,
        "encoding 400 passages",
        passages_per_s=len(texts) / seconds,
        times_sentence_transformers=baseline_seconds / seconds,
        min_cosine=cosine,
    )
    assert cosine >= 0.999
    assert baseline_seconds / seconds >= 2.5


def test_scoring_against_full_logits_and_the_gemm_rate(benchmark, factbook):
    """256 (prompt, answer) pairs against a forward pass with logits at every position, and against the GEMM rate."""
    import torch
    from torch.nn.functional import linear

    questions = data.select(factbook.questions, kind="fact", n=256)
    prompts = [generation.build_prompt(q.text, factbook.corpus[q.gold_passages[0]]) for q in questions]
    answers = [question.answers[0] for question in questions]
    generator = models.load_generator("gemma-3-270m")
    prompt_ids, answer_ids = generation.tokenise_pairs(generator, prompts, answers)
    sequences = [p + a for p, a in zip(prompt_ids, answer_ids, strict=True)]

    def ours():
        return generation.answer_logprobs(generator, prompts, answers, use_cache=False)

    def full_logits():
        with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
            for start in range(0, len(sequences), 8):
                ids, mask = generation.pad(sequences[start : start + 8], 0, generator.model.device)
                logits = generator.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
                logits.log_softmax(-1)

    matrix = torch.randn(2048, 2048, dtype=generator.model.dtype, device=generator.model.device)

    def gemm():
        with torch.inference_mode():
            for _ in range(50):
                linear(matrix, matrix)

    seconds, gemm_seconds = in_turns(ours, gemm)
    (baseline_seconds,) = in_turns(full_logits, rounds=1)
    flops = model_flops(generator.model.config, sequences, answer_ids)
    achieved, peak = flops / seconds, 50 * 2 * 2048**3 / gemm_seconds
    benchmark.pedantic(ours, rounds=1)
    report(
        benchmark,
        f"scoring 256 pairs, {sum(map(len, sequences))} tokens",
        tokens_per_s=sum(map(len, sequences)) / seconds,
        times_full_logits=baseline_seconds / seconds,
        gflops=achieved / 1e9,
        share_of_gemm_rate=achieved / peak,
        gemm_gflops=peak / 1e9,
    )
    assert baseline_seconds / seconds >= 3
    assert achieved / peak >= 0.5


def model_flops(config, sequences, answer_ids):
    """Multiply-adds (x 2) that scoring needs: the layers at every real token, the output layer at answer tokens.

    Attention counts the lower triangle only. Padding does not count: it is our waste, not the model's work.
    """
    width, heads, groups, head = (
        config.hidden_size,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
    )
    layer = width * head * (2 * heads + 2 * groups) + 3 * width * config.intermediate_size
    lengths = np.array([len(sequence) - 1 for sequence in sequences])
    layers = 2 * config.num_hidden_layers * layer * lengths.sum()
    attention = 2 * config.num_hidden_layers * heads * head * (lengths * (lengths + 1)).sum()
    output = 2 * width * config.vocab_size * sum(map(len, answer_ids))
    return float(layers + attention + output)
