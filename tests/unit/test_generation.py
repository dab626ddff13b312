"""Prompts by exact string; scores against a plain forward pass; generation against transformers, token by token."""

import contextlib
import dataclasses
import math
import shutil

import checkpoints
import numpy as np
import pytest
from substitution import substitute, uncached

from nbutils import generation, models, paths
from nbutils.data import Passage, question_example
from nbutils.errors import InputError
from nbutils.generation import compiled as compiled_module
from nbutils.generation import decoding as decoding_module
from nbutils.generation import prompts as prompts_module
from nbutils.generation import scoring as scoring_module
from nbutils.generation import turns as turns_module

ARCHITECTURES = ["llama", "gemma3", "bart"]
PROMPTS = [
    "Question: Who wrote Faust?\nAnswer:",
    "Background: Peru. The capital of Peru is Lima; its currency is the sol.\n\nQuestion: What is spent?\nAnswer:",
    "Answer:",
    "Question: Which country has the largest area?\nAnswer: Russia\n\nQuestion: What is the capital of Chad?\nAnswer:",
]
ANSWERS = ["Goethe", "the sol", "Russia and, as far as its area goes, nothing else", "N'Djamena"]


pytestmark = pytest.mark.usefixtures("cache_folder")


def load(name):
    return checkpoints.load_on_cpu(models.load_generator, name)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def generator(request, tmp_path_factory):
    return load(getattr(checkpoints, request.param)(tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return load(checkpoints.llama(tmp_path_factory.mktemp("llama")))


@pytest.fixture
def sequences(monkeypatch):
    """Function generator -> list that fills with (inputs, output) of its model.generate."""

    def record(generator):
        calls, generate = [], generator.model.generate

        def recorded(input_ids, **options):
            output = generate(input_ids=input_ids, **options)
            calls.append((input_ids, output))
            return output

        monkeypatch.setattr(generator.model, "generate", recorded)
        return calls

    return record


# Prompts

PASSAGE = Passage("Chad", "The capital of Chad is N'Djamena.")
EXAMPLES = (
    question_example("e1", "What is the capital of Peru?", ("Lima", "City of Kings"), ("p1",)),
    question_example("e2", "What is the currency of Oman?", ("rial",), ("p2",)),
)
SHOTS = """\
Question: What is the capital of Peru?
Answer: Lima

Question: What is the currency of Oman?
Answer: rial

"""
ASKED = """\
Question: What is the capital of Chad?
Answer:"""
BACKGROUND = """\
Background: Chad. The capital of Chad is N'Djamena.

"""


def require_prompts():
    question = "What is the capital of Chad?"
    assert generation.build_prompt(question) == ASKED
    assert generation.build_prompt(question, PASSAGE) == BACKGROUND + ASKED
    assert generation.build_prompt(question, examples=EXAMPLES) == SHOTS + ASKED
    assert generation.build_prompt(question, PASSAGE, list(EXAMPLES)) == BACKGROUND + SHOTS + ASKED
    assert generation.build_prompt(None, PASSAGE) == BACKGROUND + "Statement:"


def test_prompts_by_exact_string():
    require_prompts()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("background.txt", ""),  # the passage is lost
        ("background.txt", "Background: {title}.\n\n"),  # its text is
        ("example.txt", "Question: {question}\nAnswer:\n\n"),
        ("question.txt", "Question: {question}\nAnswer: "),  # one space more: another last token
        ("question.txt", "Question: {question}\nAnswer:\n"),
        ("statement.txt", "Question:"),  # no mark of its own
    ],
)
def test_a_changed_prompt_file_would_be_noticed(monkeypatch, tmp_path, file, text):
    shutil.copytree(paths.PROMPTS, tmp_path / "prompts")
    (tmp_path / "prompts" / file).write_text(text)
    monkeypatch.setattr(prompts_module, "PROMPTS", tmp_path / "prompts")
    with pytest.raises(AssertionError):
        require_prompts()


def test_braces_in_texts_are_texts():
    prompt = generation.build_prompt("What is {x}?", Passage("{title}", "{0} and {{}}"))
    assert prompt == "Background: {title}. {0} and {{}}\n\nQuestion: What is {x}?\nAnswer:"


# Scoring


def plain_logprobs(generator, prompt, answer):
    """log p of each answer token by one full forward pass over one unpadded sequence, as a tensor."""
    import torch

    tokenizer = generator.tokenizer
    inputs = tokenizer(prompt, return_tensors="pt")["input_ids"]
    if generator.seq2seq:
        labels = tokenizer(answer, return_tensors="pt")["input_ids"]
        logits = generator.model(input_ids=inputs, labels=labels).logits[0]
    else:
        labels = tokenizer(f" {answer}\n\n", add_special_tokens=False, return_tensors="pt")["input_ids"]
        logits = generator.model(input_ids=torch.cat([inputs, labels], dim=1)).logits[0, inputs.shape[1] - 1 : -1]
    return logits.log_softmax(-1).gather(-1, labels[0, :, None])[:, 0]


def test_scores_are_those_of_a_plain_forward_pass(generator):
    import torch

    with torch.inference_mode():
        expected = [plain_logprobs(generator, *pair).numpy() for pair in zip(PROMPTS, ANSWERS, strict=True)]
    assert len({len(values) for values in expected}) > 1
    together = uncached(generation.answer_logprobs, generator, PROMPTS, ANSWERS)
    for row, values in enumerate(expected):
        alone = uncached(generation.answer_logprobs, generator, [PROMPTS[row]], [ANSWERS[row]])[0]
        assert values.shape == together[row].shape == alone.shape
        np.testing.assert_allclose(together[row], values, atol=1e-4)
        np.testing.assert_allclose(alone, values, atol=1e-4)
    assert min(values.std() for values in expected) > 0.1  # not uniform: a shifted answer would score otherwise


def test_scores_do_not_depend_on_the_batches(generator, monkeypatch):
    together = uncached(generation.answer_logprobs, generator, PROMPTS, ANSWERS)
    substitute(monkeypatch, scoring_module, "BATCH_TOKENS", 1)
    apart = uncached(generation.answer_logprobs, generator, PROMPTS, ANSWERS)
    for ours, theirs in zip(together, apart, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_passage_counts(generator):
    with_passage, without = (
        uncached(generation.answer_logprobs, generator, [prompt], ["N'Djamena"])[0]
        for prompt in (BACKGROUND + ASKED, ASKED)
    )
    assert np.abs(with_passage - without).max() > 0.01


def test_the_answer_ends_with_the_token_that_ends_it(generator):
    tokenizer = generator.tokenizer
    _, (ids,) = generation.tokenize_pairs(generator, ["Answer:"], ["Paris"])
    if generator.seq2seq:
        assert ids[-1] == tokenizer.eos_token_id and tokenizer.decode(ids, skip_special_tokens=True) == "Paris"
    else:
        assert tokenizer.decode(ids) == " Paris\n\n"


def test_a_scored_answer_is_written_as_in_the_examples(llama):
    _, (ids,) = generation.tokenize_pairs(llama, ["Answer:"], [EXAMPLES[0].answers[0]])
    example = generation.build_prompt("", examples=EXAMPLES[:1]).removesuffix("Question: \nAnswer:")
    assert example.endswith("\nAnswer:" + llama.tokenizer.decode(ids))


def test_gradients_are_those_of_a_plain_forward_pass(generator):
    import torch

    weights = [weight for weight in generator.model.parameters() if weight.requires_grad]
    prompt_ids, answer_ids = generation.tokenize_pairs(generator, PROMPTS, ANSWERS)
    flat = generation.batch_logprobs(generator, prompt_ids, answer_ids)
    assert flat.shape == (sum(map(len, answer_ids)),)
    ours = torch.autograd.grad(flat.sum(), weights, allow_unused=True)
    plain = torch.cat([plain_logprobs(generator, *pair) for pair in zip(PROMPTS, ANSWERS, strict=True)])
    theirs = torch.autograd.grad(plain.sum(), weights, allow_unused=True)
    pairs = [(our, their) for our, their in zip(ours, theirs, strict=True) if their is not None]
    assert len(pairs) > 10 and any(their.abs().max() > 1 for _, their in pairs)
    for our, their in pairs:
        torch.testing.assert_close(our, their, rtol=1e-3, atol=1e-3)


def test_padding_on_the_right_needs_no_mask(llama):
    """Batched with a longer one, a short pair gets the values that it gets alone: a causal model never sees padding."""
    alone = uncached(generation.answer_logprobs, llama, PROMPTS[:1], ANSWERS[:1])
    longer = [PROMPTS[0], "Lima " * 100]
    batched = uncached(generation.answer_logprobs, llama, longer, ANSWERS[:2])
    np.testing.assert_allclose(batched[0], alone[0], atol=1e-5)


def test_what_cannot_be_scored_is_refused(generator):
    score = generation.answer_logprobs
    with pytest.raises(InputError, match="2 prompts and 1 answers: give one answer to each prompt"):
        score(generator, PROMPTS[:2], ANSWERS[:1])
    with pytest.raises(InputError, match="0 prompts and 0 answers"):
        score(generator, [], [])
    for empty in ("", " ", "\n"):
        with pytest.raises(InputError, match="answer number 1 is empty"):
            score(generator, PROMPTS[:2], ["Lima", empty])
    with pytest.raises(InputError, match=r"takes \d{3} tokens, .* has 256: shorten it") as caught:
        score(generator, ["Lima " * 300], ["Lima"])
    assert "\n" not in str(caught.value)


def test_pad():
    ids, mask = generation.pad([[5, 6, 7], [8]], 0, "cpu")
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]] and mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    ids, mask = generation.pad([[5, 6, 7], [8]], 9, "cpu", step=4, left=True)
    assert ids.tolist() == [[9, 5, 6, 7], [9, 9, 9, 8]] and mask.tolist() == [[0, 1, 1, 1], [0, 0, 0, 1]]
    assert generation.pad([[1] * 4], 0, "cpu", step=4)[0].shape == (1, 4)


# Compiled layers


def test_gelu_is_its_tanh_approximation():
    import torch

    x = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    expected = torch.nn.functional.gelu(x, approximate="tanh")
    assert (generation.gelu_tanh(x) - expected).abs().max() < 1e-6
    exact = torch.nn.functional.gelu(x)
    assert (generation.gelu_tanh(x) - exact).abs().max() > 1e-4  # it is not the exact GELU


def test_the_identity_is_used_in_compiled_code_only(monkeypatch):
    """Eager generation would otherwise depend on whether something was scored before it."""
    import torch

    x = torch.linspace(-12, 12, 4001, dtype=torch.bfloat16)
    torch_gelu = torch.nn.functional.gelu(x, approximate="tanh")
    assert torch.equal(compiled_module._gelu(x), torch_gelu)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not torch.equal(compiled_module._gelu(x), torch_gelu)


def test_compiled_layers_score_as_plain_ones(n_compiled, tmp_path):
    one_layer = ("sliding_attention",)
    gemma = load(checkpoints.gemma3(tmp_path / "gemma", one_layer))
    eager = uncached(generation.answer_logprobs, gemma, PROMPTS, ANSWERS)
    assert generation.compile_layers(gemma) and generation.compile_layers(gemma)
    compiled = uncached(generation.answer_logprobs, gemma, PROMPTS, ANSWERS)
    assert n_compiled() > 0
    for ours, theirs in zip(compiled, eager, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    # Generation runs the same layers uncompiled.
    plain = load(checkpoints.gemma3(tmp_path / "plain", one_layer))
    ours = uncached(generation.generate, gemma, PROMPTS, max_new_tokens=4)
    assert ours == uncached(generation.generate, plain, PROMPTS, max_new_tokens=4)


def test_nothing_is_compiled_without_a_compiler_or_for_sequence_to_sequence(monkeypatch, llama, tmp_path):
    assert not generation.compile_layers(load(checkpoints.bart(tmp_path / "bart")))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not generation.compile_layers(llama)
    assert all(layer._compiled_call_impl is None for layer in llama.model.model.layers)


# Generation


def transformers_greedy(generator, prompt, max_new_tokens):
    """What transformers generates greedily from one unpadded prompt, without our end tokens, up to a newline."""
    inputs = generator.tokenizer(prompt, return_tensors="pt")
    output = generator.model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        pad_token_id=generator.tokenizer.pad_token_id,
    )
    new_tokens = output if generator.seq2seq else output[:, inputs["input_ids"].shape[1] :]
    return generator.tokenizer.decode(new_tokens[0], skip_special_tokens=True).split("\n")[0].strip()


def test_greedy_is_transformers_own(generator):
    expected = [transformers_greedy(generator, prompt, 8) for prompt in PROMPTS]
    assert len(set(expected)) > 1 and all(expected)
    alone = [uncached(generation.generate, generator, [prompt], 8)[0] for prompt in PROMPTS]
    assert alone == expected
    assert uncached(generation.generate, generator, PROMPTS, 8) == expected  # padded to one length
    assert uncached(generation.generate, generator, PROMPTS[::-1], 8) == expected[::-1]


def test_padding_on_the_wrong_side_would_be_noticed(llama, monkeypatch):
    expected = uncached(generation.generate, llama, PROMPTS, 8)
    right = generation.pad
    substitute(monkeypatch, scoring_module, "pad", lambda *arguments, left: right(*arguments))
    assert uncached(generation.generate, llama, PROMPTS, 8) != expected


@pytest.fixture(scope="module")
def parrot(tmp_path_factory):
    """Continues ":" with " Paris", a newline and on; "=" with two newlines in one token; "+" with a stop and one."""
    texts = [": Paris\nXX", "= yen\n\nXX", "+ Lima.\nXX", "% sol</s>XX"]
    return load(checkpoints.parrot(tmp_path_factory.mktemp("parrot"), texts))


@pytest.mark.parametrize(
    ("prompt", "text", "n_tokens"), [(":", "Paris", 2), ("=", "yen", 2), ("+", "Lima.", 2), ("%", "sol", 2)]
)
def test_generation_stops_at_the_end_of_the_line(parrot, sequences, monkeypatch, prompt, text, n_tokens):
    calls = sequences(parrot)
    assert uncached(generation.generate, parrot, [prompt], 20) == [text]
    inputs, output = calls[0]
    new = output[0, inputs.shape[1] :].tolist()
    ending = generation.newline_tokens(parrot.tokenizer)
    assert new[-1] in [*ending, parrot.tokenizer.eos_token_id] and len(new) < 6
    if prompt != "%":  # without the newline tokens it would run on to the limit
        substitute(monkeypatch, turns_module, "newline_tokens", lambda tokenizer: [])
        uncached(generation.generate, parrot, [prompt], 20)
        assert calls[1][1].shape[1] - inputs.shape[1] == 20


def test_prompts_that_end_at_different_times(parrot):
    prompts = [":", "Question: What is spent in Japan? =", "+", "%"]
    assert uncached(generation.generate, parrot, prompts, 20) == ["Paris", "yen", "Lima.", "sol"]


def test_newline_tokens_are_all_that_contain_one(parrot):
    tokens = generation.newline_tokens(parrot.tokenizer)
    texts = {parrot.tokenizer.decode([token]) for token in tokens}
    assert {"\n", "\n\n", ".\n"} <= texts and all("\n" in text for text in texts)


def test_length_limit(llama, sequences):
    calls = sequences(llama)
    uncached(generation.generate, llama, PROMPTS[:1], max_new_tokens=3)
    inputs, output = calls[0]
    assert output.shape[1] - inputs.shape[1] == 3


def beam_search(generator, prompt, n_tokens, n_beams):
    """Token ids and log p of the best of `n_beams` beams that do not end before, from the definition."""
    import torch

    prompt_ids = generator.tokenizer(prompt)["input_ids"]
    ends = {generator.tokenizer.eos_token_id, *generation.newline_tokens(generator.tokenizer)}
    beams = [((), 0.0)]
    for _ in range(n_tokens):
        inputs = torch.tensor([[*prompt_ids, *tokens] for tokens, _ in beams])
        with torch.inference_mode():
            logprobs = generator.model(input_ids=inputs).logits[:, -1].log_softmax(-1).tolist()
        longer = [
            ((*tokens, token), score + logprob)
            for (tokens, score), row in zip(beams, logprobs, strict=True)
            for token, logprob in enumerate(row)
            if token not in ends
        ]
        beams = sorted(longer, key=lambda beam: -beam[1])[:n_beams]
    return beams[0]


BEAM_PROMPTS = ["Who wrote Faust?", "What is the capital of Chad?", "Which country", "Lima"]


@pytest.mark.parametrize("name", ["llama", "gemma3"])
@pytest.mark.parametrize("n_beams", [1, 3])
def test_beams_are_those_of_the_definition(tmp_path, sequences, name, n_beams):
    generator = load(getattr(checkpoints, name)(tmp_path))
    calls = sequences(generator)
    expected = [beam_search(generator, prompt, 5, n_beams) for prompt in BEAM_PROMPTS]
    uncached(generation.generate, generator, BEAM_PROMPTS, 5, n_beams)
    ((inputs, output),) = calls
    found = {tuple(row) for row in output[:, inputs.shape[1] :].tolist()}
    assert found == {tokens for tokens, _ in expected}
    if n_beams > 1:
        greedy = [beam_search(generator, prompt, 5, 1) for prompt in BEAM_PROMPTS]
        gains = [best - first for (_, best), (_, first) in zip(expected, greedy, strict=True)]
        assert np.mean(gains) > 0.1  # on average: a single search may drop the greedy beam


def test_beams_of_a_sequence_to_sequence_model(tmp_path, sequences):
    """Never less likely here than what is found greedily, more so for one of them, and the same in one batch."""
    import torch

    bart = load(checkpoints.bart(tmp_path, seed=1))
    calls = sequences(bart)
    totals = {}
    for n_beams in (1, 3):
        texts = [uncached(generation.generate, bart, [prompt], 5, n_beams)[0] for prompt in BEAM_PROMPTS]
        totals[n_beams] = []
        for inputs, output in calls:
            (answer,) = output[:, 1:].tolist()  # the first token starts the decoder
            assert len(answer) == 5  # or beams would be compared by means
            with torch.inference_mode():
                totals[n_beams].append(generation.batch_logprobs(bart, inputs.tolist(), [answer])[:4].sum().item())
        calls.clear()
        assert uncached(generation.generate, bart, BEAM_PROMPTS, 5, n_beams) == texts
        calls.clear()
    gains = np.subtract(totals[3], totals[1])  # without the last token, which is the end of the sequence by force
    assert gains.min() > -1e-4 and gains.max() > 0.1


def test_what_cannot_be_generated_is_refused(generator):
    with pytest.raises(InputError, match="the list of prompts is empty"):
        generation.generate(generator, [])
    with pytest.raises(InputError, match=r"takes \d{3} tokens, .* has 256: shorten it") as caught:
        generation.generate(generator, ["Lima " * 300])
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"takes .* tokens"):
        generation.generate(generator, ["Lima"], max_new_tokens=300)


# What is kept


def count_calls(monkeypatch, name):
    module = {"continue_prompts": decoding_module, "_answer_logprobs": scoring_module}[name]
    calls, compute = [], getattr(module, name)

    def counted(*arguments):
        calls.append(arguments)
        return compute(*arguments)

    substitute(monkeypatch, module, name, counted)
    return calls


@contextlib.contextmanager
def in_bfloat16(generator):
    generator.model.bfloat16()
    try:
        yield
    finally:
        generator.model.float()


def test_scores_are_kept(llama, monkeypatch, tmp_path):
    calls = count_calls(monkeypatch, "_answer_logprobs")
    first = generation.answer_logprobs(llama, PROMPTS, ANSWERS)
    again = generation.answer_logprobs(llama, PROMPTS, ANSWERS)
    assert len(calls) == 1
    for ours, theirs in zip(first, again, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    direct = uncached(generation.answer_logprobs, llama, PROMPTS, ANSWERS)
    for ours, theirs in zip(first, direct, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    variants = [
        (llama, PROMPTS[::-1], ANSWERS),
        (llama, PROMPTS, ANSWERS[::-1]),
        (llama, [*PROMPTS[:-1], PROMPTS[-1] + " "], ANSWERS),
        (llama, PROMPTS[:-1], ANSWERS[:-1]),
        (dataclasses.replace(llama, sha256="0" * 64), PROMPTS, ANSWERS),
    ]
    for number, variant in enumerate(variants, start=len(calls) + 1):
        generation.answer_logprobs(*variant)
        assert len(calls) == number, f"variant {number} was read from the cache"
    before = len(calls)
    with in_bfloat16(llama):
        generation.answer_logprobs(llama, PROMPTS, ANSWERS)
    generation.answer_logprobs(dataclasses.replace(llama, name="renamed"), PROMPTS, ANSWERS)  # the name does not count
    assert len(calls) == before + 1


def test_generations_are_kept(llama, monkeypatch):
    calls = count_calls(monkeypatch, "continue_prompts")
    first = generation.generate(llama, PROMPTS, 4)
    assert generation.generate(llama, PROMPTS, 4) == first and len(calls) == 1
    variants = [
        (llama, PROMPTS, 5, 1),
        (llama, PROMPTS, 4, 2),
        (llama, PROMPTS[::-1], 4, 1),
        (llama, PROMPTS[1:], 4, 1),
        (llama, [*PROMPTS[:-1], PROMPTS[-1] + " "], 4, 1),
        (dataclasses.replace(llama, sha256="0" * 64), PROMPTS, 4, 1),
    ]
    for number, variant in enumerate(variants, start=2):
        generation.generate(*variant)
        assert len(calls) == number, f"variant {number} was read from the cache"


def test_scores_and_generations_do_not_share_files(llama, cache_folder):
    generation.generate(llama, PROMPTS[:1], 4)
    generation.answer_logprobs(llama, PROMPTS[:1], ANSWERS[:1])
    assert sorted(path.name for path in cache_folder.iterdir()) == ["generations", "logprobs"]


def test_an_interrupted_run_is_not_kept(llama, monkeypatch, cache_folder):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        substitute(patch, scoring_module, "batch_logprobs", interrupted)
        with pytest.raises(KeyboardInterrupt):
            generation.answer_logprobs(llama, PROMPTS, ANSWERS)
    assert not cache_folder.exists() or not list(cache_folder.rglob("*.json"))
    values = generation.answer_logprobs(llama, PROMPTS, ANSWERS)
    assert all(math.isfinite(value) for row in values for value in row)
