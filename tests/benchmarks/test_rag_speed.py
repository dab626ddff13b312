"""Speed of RAG-Sequence thorough decoding against transformers and against its pieces: `make benchmarks` prints it.

Random checkpoints of whole-word tokens, large enough that work is measured and not overhead. Ours and the baseline
take turns, and each ratio is between medians; the answers must be the same ones.
"""

import statistics
import time

import checkpoints
import numpy as np
import pytest
import word_checkpoints
from substitution import uncached

from nbutils import generation, models, rag

ROUNDS = 3
N_QUESTIONS, N_DOCS, N_WORDS = 4, 10, 2000
PROMPT_WORDS = 160  # all equally long: `RagSequenceForGeneration.generate` does not mask padding when it generates
MAX_NEW_TOKENS = 12
SIZES = {"n_words": N_WORDS, "width": 256, "n_layers": 4, "std": 0.03, "sharpness": 7.0, "seed": 1}


@pytest.fixture(scope="module")
def prompts():
    rng = np.random.default_rng(0)
    return [
        [word_checkpoints.prompt(rng.integers(0, N_WORDS, PROMPT_WORDS)) for _ in range(N_DOCS)]
        for _ in range(N_QUESTIONS)
    ]


@pytest.fixture(scope="module")
def log_prior():
    return np.log(np.random.default_rng(1).dirichlet(np.ones(N_DOCS), size=N_QUESTIONS))


def load(folder):
    return checkpoints.load_on_cpu(models.load_generator, folder)


def in_turns(*functions):
    """Median seconds of each function, called in turns; both have been called before."""
    seconds = [[] for _ in functions]
    for _ in range(ROUNDS):
        for function, times in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


def thorough(generator, prompts, log_prior, n_beams):
    found = uncached(rag.sequence_candidates, generator, prompts, MAX_NEW_TOKENS, n_beams)
    return [rag.best_answer(candidates, prior) for candidates, prior in zip(found, log_prior, strict=True)]


def compare(benchmark, name, ours, theirs):
    expected, answers = theirs(), ours()
    assert answers == expected and len(set(expected)) > 1
    seconds, baseline_seconds = in_turns(ours, theirs)
    benchmark.pedantic(ours, rounds=1)
    ratio = baseline_seconds / seconds
    benchmark.extra_info[name] = round(ratio, 2)
    words = statistics.mean(len(answer.split()) for answer in answers)
    print(
        f"\n{N_QUESTIONS} questions x {N_DOCS} passages, {words:.1f} words an answer: "
        f"{name} {ratio:.2f} ({baseline_seconds:.2f} s / {seconds:.2f} s)"
    )
    return ratio


@pytest.mark.parametrize("n_beams", [1, 4])
def test_thorough_decoding_against_transformers(benchmark, tmp_path, prompts, log_prior, n_beams):
    """BART against `RagSequenceForGeneration.generate`, which takes the passages one question at a time."""
    import torch
    import transformers

    generator = load(word_checkpoints.bart(tmp_path / "bart", **SIZES, ending=6.0, attention=2.0))
    encoder = transformers.DPRQuestionEncoder(transformers.DPRConfig(hidden_size=32, num_attention_heads=2))
    config = transformers.RagConfig.from_question_encoder_generator_configs(
        encoder.config, generator.model.config, n_docs=N_DOCS
    )
    model = transformers.RagSequenceForGeneration(
        config=config, question_encoder=encoder, generator=generator.model
    ).eval()
    ids, mask = generation.pad(
        [ids for row in prompts for ids in generator.tokenizer(row)["input_ids"]], word_checkpoints.PAD, "cpu"
    )
    doc_scores = torch.tensor(log_prior, dtype=torch.float32)

    def theirs():
        output = model.generate(
            context_input_ids=ids,
            context_attention_mask=mask,
            doc_scores=doc_scores,
            n_docs=N_DOCS,
            num_beams=n_beams,
            length_penalty=0.0,
            min_new_tokens=int(n_beams > 1),
            max_new_tokens=MAX_NEW_TOKENS,
        )
        return [text.strip() for text in generator.tokenizer.batch_decode(output, skip_special_tokens=True)]

    def ours():
        return thorough(generator, prompts, log_prior, n_beams)

    assert compare(benchmark, f"{n_beams} beams, times_transformers", ours, theirs) >= 3


@pytest.mark.parametrize("n_beams", [1, 4])
def test_thorough_decoding_against_a_loop_over_its_pieces(benchmark, tmp_path, prompts, log_prior, n_beams):
    """A Llama, for which transformers has no RAG: generate per question, then every candidate with all passages."""
    import torch

    generator = load(word_checkpoints.llama(tmp_path / "llama", **SIZES, ending=4.0))
    model, tokenizer = generator.model, generator.tokenizer
    ends = [tokenizer.eos_token_id, *generation.newline_tokens(tokenizer)]

    def theirs():
        answers = []
        with torch.inference_mode():
            for row, prior in zip(prompts, log_prior, strict=True):
                prompt_ids = tokenizer(row)["input_ids"]
                ids, mask = generation.pad(prompt_ids, tokenizer.pad_token_id, "cpu", left=True)
                output = model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    num_beams=n_beams,
                    num_return_sequences=n_beams,
                    length_penalty=0.0,
                    min_new_tokens=int(n_beams > 1),  # not the empty answer, which we do not count
                    max_new_tokens=MAX_NEW_TOKENS,
                    eos_token_id=ends,
                    pad_token_id=tokenizer.pad_token_id,
                )[:, ids.shape[1] :]
                texts = [text.strip() for text in tokenizer.batch_decode(output, skip_special_tokens=True)]
                scores = {}
                for text in filter(None, dict.fromkeys(texts)):
                    answer = tokenizer(f" {text}{generation.ANSWER_END}", add_special_tokens=False)["input_ids"]
                    ids, mask = generation.pad(
                        [p + answer for p in prompt_ids], tokenizer.pad_token_id, "cpu", left=True
                    )
                    positions = (mask.cumsum(-1) - 1).clamp(min=0)
                    logits = model(
                        input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=len(answer) + 1
                    ).logits[:, :-1]
                    logprobs = logits.log_softmax(-1).gather(-1, torch.tensor(answer).expand(N_DOCS, -1)[..., None])
                    scores[text] = (logprobs[..., 0].sum(-1) + torch.tensor(prior)).logsumexp(0).item()
                answers.append(max(scores, key=scores.get))
        return answers

    def ours():
        return thorough(generator, prompts, log_prior, n_beams)

    assert compare(benchmark, f"{n_beams} beams, times_loop", ours, theirs) >= 2
