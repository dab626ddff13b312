"""Instruct models: prompts and answers as turns of a chat; base models as they were."""

import dataclasses
import json

import checkpoints
import numpy as np
import pytest
from substitution import uncached

from nbutils import generation, models, rag
from nbutils.data import Passage, question_example
from nbutils.errors import InputError
from nbutils.generation.prompts import split_examples
from nbutils.models.checkpoint_files import settings_sha256

PERU = Passage("Peru", "The capital of Peru is Lima; its currency is the sol.")
EXAMPLES = [
    question_example("0", "Who wrote Faust?", ["Goethe"], []),
    question_example("1", "What is spent in Japan?", ["yen"], []),
]
QUESTION = "What is the capital of Peru?"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
TOKENS = ["<|user|>", "<|assistant|>", "<|end|>"]

pytestmark = pytest.mark.usefixtures("cache_folder")


def load(folder):
    return checkpoints.load_on_cpu(models.load_generator, str(folder))


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    return load(checkpoints.chat_parrot(tmp_path_factory.mktemp("chat"), TEMPLATE, TOKENS))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return load(checkpoints.llama(tmp_path_factory.mktemp("base")))


# What a prompt holds


@pytest.mark.parametrize("passage", [None, PERU, Passage("FAQ", "Question: Who?\nAnswer: I")])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_examples_are_found_again(passage, n):
    prompt = generation.build_prompt(QUESTION, passage, EXAMPLES[:n])
    solved, rest = split_examples(prompt)
    assert solved == [
        ("Question: Who wrote Faust?\nAnswer:", "Goethe"), ("Question: What is spent in Japan?\nAnswer:", "yen"),
    ][:n]  # fmt: skip
    assert rest == generation.build_prompt(QUESTION, passage)


@pytest.mark.parametrize("prompt", ["", "Statement:", "Answer: yes\n\nQuestion:", "Q: a\nA: b\n\nQ: c\nA:"])
def test_prompts_without_examples_are_left(prompt):
    assert split_examples(prompt) == ([], prompt)


# Tokens


def test_a_prompt_is_a_turn_and_so_are_its_examples(chat):
    (ids,) = generation.prompt_tokens(chat, [generation.build_prompt(QUESTION, PERU, EXAMPLES)])
    assert chat.tokenizer.decode(ids) == (
        "<s><|user|>Question: Who wrote Faust?\nAnswer:<|end|><|assistant|>Goethe<|end|>"
        "<|user|>Question: What is spent in Japan?\nAnswer:<|end|><|assistant|>yen<|end|>"
        "<|user|>Background: Peru. The capital of Peru is Lima; its currency is the sol.\n\n"
        "Question: What is the capital of Peru?\nAnswer:<|end|><|assistant|>"
    )
    assert ids.count(checkpoints.START) == 1  # the template's, not a second one by the tokenizer
    end = chat.tokenizer.convert_tokens_to_ids("<|end|>")
    assert ids.count(end) == 5


def test_an_answer_is_a_turn(chat):
    end = chat.tokenizer.convert_tokens_to_ids("<|end|>")
    bare = chat.tokenizer("Lima", add_special_tokens=False)["input_ids"]
    assert generation.answer_tokens(chat, ["Lima"]) == [[*bare, end]]
    assert generation.answer_tokens(chat, ["Lima"], ended=False) == [bare]
    assert generation.ending_tokens(chat) == [end]
    assert {end, chat.tokenizer.eos_token_id} < {*generation.stop_tokens(chat)}


def test_a_base_model_reads_and_writes_as_before(base):
    tokenizer, prompt = base.tokenizer, generation.build_prompt(QUESTION, PERU, EXAMPLES)
    assert not base.chat
    assert generation.prompt_tokens(base, [prompt]) == tokenizer([prompt])["input_ids"]
    with_end = tokenizer([" Lima\n\n"], add_special_tokens=False)["input_ids"]
    assert generation.answer_tokens(base, ["Lima"]) == with_end
    assert (
        generation.answer_tokens(base, ["Lima"], False) == tokenizer([" Lima"], add_special_tokens=False)["input_ids"]
    )
    assert " chat " not in generation.fingerprint(base)


def test_a_template_without_a_special_ending_ends_with_the_text(tmp_path):
    template = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"
    generator = load(checkpoints.chat_parrot(tmp_path, template, TOKENS))
    assert generation.ending_tokens(generator) == [generator.tokenizer.eos_token_id]


def test_a_date_in_a_template_does_not_change(tmp_path):
    today = "{{ date_string if date_string is defined else strftime_now('%d %b %Y') }}"
    template = today + TEMPLATE
    generator = load(checkpoints.chat_parrot(tmp_path, template, TOKENS))
    (ids,) = generation.prompt_tokens(generator, ["Hi"])
    assert generator.tokenizer.decode(ids).startswith("26 Jul 2024")


# Answers


def test_generation_stops_at_the_end_of_the_turn(chat):
    prompts = [generation.build_prompt(QUESTION, PERU, EXAMPLES), "Hi"]
    assert uncached(generation.generate, chat, prompts, 20) == ["Lima", "Lima"]
    plain = dataclasses.replace(chat, chat=False)
    assert uncached(generation.generate, plain, ["Hi<|assistant|>"], 4) != ["Lima"]  # runs on behind the turn


def test_scores_are_those_of_a_plain_forward_pass(chat):
    import torch

    prompt = generation.build_prompt(QUESTION, PERU, EXAMPLES)
    (row,) = uncached(generation.answer_logprobs, chat, [prompt], ["Lima"])
    text = models.ask_in_turns(chat.tokenizer, *split_examples(prompt))
    before = chat.tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = chat.tokenizer(f"{text}Lima<|end|>", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logprobs = chat.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = [logprobs[i - 1, ids[i]].item() for i in range(len(before), len(ids))]
    np.testing.assert_allclose(row, expected, atol=1e-4)
    assert len(row) == len(expected) > 1


def test_candidates_and_likelihoods_are_of_turns_too(chat):
    prompts = [[generation.build_prompt(QUESTION, PERU, EXAMPLES), generation.build_prompt(QUESTION)]]
    (found,) = uncached(rag.sequence_candidates, chat, prompts, 8)
    assert found.texts == ["Lima"]
    rows = uncached(generation.answer_logprobs, chat, prompts[0], ["Lima"] * 2)
    np.testing.assert_allclose(found.logprobs[0], [row.sum() for row in rows], atol=1e-4)
    likelihoods = uncached(rag.answer_logprobs_by_passage, chat, prompts, ["Lima"])
    np.testing.assert_allclose(likelihoods[0], [row[:-1].sum() for row in rows], atol=1e-6)
    assert uncached(rag.rag_token_generate, chat, prompts, np.zeros((1, 2)), 8) == ["Lima"]


# The checkpoint


def test_what_is_kept_depends_on_the_turns(chat, tmp_path):
    fingerprint = generation.fingerprint(chat)
    assert fingerprint != generation.fingerprint(dataclasses.replace(chat, chat=False))
    folder = checkpoints.chat_parrot(tmp_path, TEMPLATE, TOKENS)
    dated = load(folder)
    dated.tokenizer.chat_template = "today" + TEMPLATE  # as if time had passed
    undated = dataclasses.replace(chat, settings_sha256=dated.settings_sha256)
    assert generation.fingerprint(dated) != generation.fingerprint(undated)
    before = settings_sha256(tmp_path)
    stored = tmp_path / "chat_template.jinja"
    stored.write_text(stored.read_text() + " ")
    assert settings_sha256(tmp_path) != before
    stored.unlink()
    assert not load(folder).chat


def test_a_template_that_takes_no_questions_is_refused(tmp_path):
    folder = checkpoints.chat_parrot(tmp_path, "{{ raise_exception('only tools') }}", TOKENS)
    with pytest.raises(InputError, match=r"its chat template takes no questions .*only tools") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_sequence_to_sequence_model_has_no_turns(tmp_path):
    folder = checkpoints.bart(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": TEMPLATE}))
    assert not load(folder).chat


def test_the_chat_template_is_downloaded_with_a_model(monkeypatch, tmp_path):
    import fnmatch

    import huggingface_hub

    asked = []

    def snapshot_download(repository, revision, allow_patterns):
        asked.extend(allow_patterns)
        return checkpoints.llama(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    load("owner/model")
    assert any(fnmatch.fnmatch("chat_template.jinja", pattern) for pattern in asked)
