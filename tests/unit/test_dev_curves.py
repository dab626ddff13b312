"""Dev examples evaluated while a model learns: right values, at the right steps, without a trace in the training."""

import contextlib
import dataclasses
import math

import checkpoints
import numpy as np
import pytest
from substitution import substitute, uncached

from nbutils import generation, models, paths, training
from nbutils.errors import InputError
from nbutils.training import TrainingSettings
from nbutils.training import launch as launch_module
from nbutils.training import loop as loop_module
from nbutils.training import settings as settings_module
from nbutils.training import undisturbed as undisturbed_module
from nbutils.training.loop import Run, train
from nbutils.training.undisturbed import undisturbed

WORDS = {"Chad": "French", "Peru": "sol", "France": "Paris", "Japan": "yen", "Russia": "area", "Faust": "Goethe"}
PROMPTS, ANSWERS = [generation.build_prompt(f"{title}?") for title in WORDS], [*WORDS.values()]
DEV_PROMPTS = [generation.build_prompt(f"What is {title}?") for title in ("Lima", "Tokyo", "Moscow")]
DEV_ANSWERS = ["a city", "the largest city of Japan by far", "it"]  # of different lengths
DEV = {"dev_prompts": DEV_PROMPTS, "dev_answers": DEV_ANSWERS}
PLAIN = TrainingSettings(n_steps=8, batch_size=4, learning_rate=1e-2, lora_rank=4, checkpoint_every=3, decay=False)
EVALUATED = dataclasses.replace(PLAIN, evaluate_every=2)
FULL = {"lora_rank": None, "learning_rate": 1e-3, "dropout": True}


@pytest.fixture(autouse=True)
def cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return checkpoints.load_on_cpu(models.load_generator, checkpoints.llama(tmp_path_factory.mktemp("llama")))


@pytest.fixture(scope="module")
def bart(tmp_path_factory):
    return checkpoints.load_on_cpu(models.load_generator, checkpoints.bart(tmp_path_factory.mktemp("bart")))


def tune(generator, settings=EVALUATED, **options):
    return training.fine_tune(generator, PROMPTS, ANSWERS, settings, **(DEV | options))


def bits_per_token(generator):
    """Of the dev answers, from the scores that every other part of the package takes."""
    logprobs = np.concatenate(uncached(generation.answer_logprobs, generator, DEV_PROMPTS, DEV_ANSWERS))
    return -np.log2(np.exp(logprobs)).sum() / len(logprobs)


def equal(first, second):
    import torch

    first, second = first.generator.model.state_dict(), second.generator.model.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def without_dev(history):
    return {name: values for name, values in history.items() if not name.startswith("dev_")}


# Values and steps


def test_bits_per_token_at_the_start_in_between_and_in_the_end(llama):
    tuned = tune(llama)
    assert tuned.history["dev_step"] == [0, 2, 4, 6, 8]
    four_steps = tune(llama, dataclasses.replace(PLAIN, n_steps=4))  # constant rate: the same first steps
    expected = [bits_per_token(generator) for generator in (llama, four_steps.generator, tuned.generator)]
    assert tuned.history["dev_bits_per_token"][::2] == pytest.approx(expected, rel=1e-4)
    assert len({round(value, 3) for value in expected}) == 3


def test_a_generator_that_knows_nothing_needs_the_logarithm_of_its_vocabulary(tmp_path):
    import torch

    uniform = checkpoints.load_on_cpu(models.load_generator, checkpoints.llama(tmp_path / "llama"))
    head = uniform.model.get_output_embeddings().weight
    with torch.no_grad():
        head.zero_()
    found = tune(uniform, dataclasses.replace(EVALUATED, n_steps=1)).history["dev_bits_per_token"][0]
    assert found == pytest.approx(math.log2(len(head)), rel=1e-5)


@pytest.mark.parametrize(
    ("every", "n_steps", "steps"),
    [(3, 8, [0, 3, 6, 8]), (1, 3, [0, 1, 2, 3]), (8, 8, [0, 8]), (50, 4, [0, 4]), (0, 4, None)],
)
def test_the_first_and_the_last_step_are_always_evaluated(llama, every, n_steps, steps):
    history = tune(llama, dataclasses.replace(PLAIN, n_steps=n_steps, evaluate_every=every)).history
    assert history.get("dev_step") == steps
    assert len(history.get("dev_bits_per_token", ())) == len(steps or ())
    assert len(history["loss"]) == len(history["grad_norm"]) == n_steps


def test_dev_examples_are_cut_into_batches_without_a_difference(llama):
    curves = [
        tune(llama, dataclasses.replace(EVALUATED, n_steps=1, batch_tokens=n)).history["dev_bits_per_token"]
        for n in (1, 10**6)
    ]
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)


# Nothing else changes


@pytest.mark.parametrize(("name", "changes"), [("llama", {}), ("bart", {"dropout": True}), ("bart", FULL)])
def test_the_weights_are_those_of_a_training_without_evaluation(request, name, changes):
    generator = request.getfixturevalue(name)
    with_dev = tune(generator, dataclasses.replace(EVALUATED, evaluate_every=1, **changes))
    without = training.fine_tune(generator, PROMPTS, ANSWERS, dataclasses.replace(PLAIN, **changes))
    assert equal(with_dev, without) and with_dev.generator.sha256 == without.generator.sha256
    assert without_dev(with_dev.history) == without.history
    assert with_dev.history["dev_bits_per_token"][0] == pytest.approx(bits_per_token(generator), rel=1e-4)


def test_a_model_left_in_eval_mode_would_be_noticed(monkeypatch, bart):
    @contextlib.contextmanager
    def disturbing(modules, device):
        for module in modules:
            module.eval()
        yield

    settings = dataclasses.replace(PLAIN, **FULL)
    without = training.fine_tune(bart, PROMPTS, ANSWERS, settings)
    substitute(monkeypatch, undisturbed_module, "undisturbed", disturbing)
    assert not equal(tune(bart, dataclasses.replace(settings, evaluate_every=1)), without)


@pytest.mark.slow  # compiles twice: a minute or two where nothing is kept yet
def test_compiled_layers_learn_the_same(n_compiled, monkeypatch, tmp_path):
    folder = checkpoints.gemma3(tmp_path / "gemma3", ("sliding_attention",))
    base = checkpoints.load_on_cpu(models.load_generator, folder)
    assert generation.compile_layers(base)
    substitute(monkeypatch, loop_module, "COMPILE_FROM_WORK", 0)
    assert equal(tune(base), training.fine_tune(base, PROMPTS, ANSWERS, PLAIN))
    assert n_compiled() > 0


def test_modes_gradients_and_random_numbers_are_as_before():
    """Part by part: lower layers that do not learn are in eval mode while the rest has dropout."""
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(), torch.nn.Dropout())
    module[2].eval()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with pytest.raises(ZeroDivisionError), undisturbed([module], torch.device("cpu")):  # after an error too
        assert not any(part.training for part in module.modules())
        assert not module(torch.ones(1, 2)).requires_grad
        torch.rand(7)
        _ = 1 / 0
    assert [part.training for part in module.modules()] == [True, True, True, False]
    assert torch.equal(torch.rand(3), expected) and torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in module.parameters())


# The same again, interrupted, in several processes


@pytest.mark.parametrize("every", [2, 3])
@pytest.mark.parametrize("at", [0, 2, 5, 7])
def test_an_interrupted_run_has_the_history_of_one_that_was_not(monkeypatch, tmp_path, llama, at, every):
    settings = dataclasses.replace(EVALUATED, evaluate_every=every)
    whole = tune(llama, settings)
    monkeypatch.setattr(paths, "CACHE", tmp_path / "again")
    batch_rows, asked = training.batch_rows, []

    def stopping(*arguments):
        asked.append(0)
        if len(asked) == at + 1:
            raise KeyboardInterrupt
        return batch_rows(*arguments)

    substitute(monkeypatch, settings_module, "batch_rows", stopping)
    with pytest.raises(KeyboardInterrupt):
        tune(llama, settings)
    resumed = tune(llama, settings)
    assert len(asked) == at + 1 + PLAIN.n_steps - (at - at % PLAIN.checkpoint_every)
    assert resumed.history == whole.history and equal(resumed, whole)
    monkeypatch.setattr(launch_module, "train", lambda *run: pytest.fail("it was trained again"))
    assert tune(llama, settings).history == whole.history


@pytest.mark.parametrize("is_main", [True, False])
def test_only_the_main_process_evaluates(tmp_path, llama, is_main):
    from accelerate import Accelerator

    class OneOfSeveral(Accelerator):
        is_main_process = is_main

    seen = []
    objective = training.FineTuningObjective(*generation.tokenize_pairs(llama, PROMPTS, ANSWERS), 4096)
    run = Run(tmp_path, llama, {}, EVALUATED, 0, len(PROMPTS), objective)
    train(OneOfSeveral(cpu=True), dataclasses.replace(run, evaluate=lambda learners: seen.append(learners) or {}))
    assert len(seen) == (5 if is_main else 0)


@pytest.mark.slow  # starts two processes, each of which imports torch
def test_two_processes_have_one_dev_curve(llama):
    one = tune(llama).history
    two = uncached(tune, llama, n_processes=2).history
    assert two["dev_step"] == one["dev_step"]
    assert two["dev_bits_per_token"] == pytest.approx(one["dev_bits_per_token"], abs=1e-3)


# Keys


def test_the_key_holds_the_dev_examples_where_they_are_evaluated(monkeypatch, llama):
    folders = []

    def noted(run, n_processes):
        folders.append(run.folder)
        return training.System(run.generator)

    substitute(monkeypatch, launch_module, "carry_out", noted)
    others = [{"dev_prompts": DEV_PROMPTS[::-1]}, {"dev_answers": DEV_ANSWERS[::-1]}]
    for options in ({}, *others, {"dev_prompts": (), "dev_answers": ()}):
        tune(llama, PLAIN, **options)
    assert len({*folders}) == 1
    for options in ({}, *others):
        tune(llama, **options)
    tune(llama, dataclasses.replace(EVALUATED, evaluate_every=1))
    assert len({*folders}) == 5
    tune(llama)
    assert folders[-1] == folders[4]


# Errors


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"evaluate_every": -1}, {}, "evaluate_every = -1: give a number of steps, or 0 for no evaluation"),
        ({}, {"dev_prompts": (), "dev_answers": ()}, "evaluate_every = 2 without dev examples: give some, or 0"),
        ({}, {"dev_answers": DEV_ANSWERS[:1]}, "3 dev prompts and 1 dev answers: give one answer to each prompt"),
        ({}, {"dev_answers": ["a", " \n", "b"]}, "dev answer number 1 is empty"),
        ({}, {"dev_prompts": ["long " * 200] * 3}, r"a prompt with its answer takes \d+ tokens, .* has 256"),
    ],
)
def test_bad_dev_examples_are_told_before_any_work(monkeypatch, llama, changes, options, message):
    substitute(monkeypatch, launch_module, "carry_out", lambda *run: pytest.fail("training was begun"))
    with pytest.raises(InputError, match=message) as error:
        tune(llama, dataclasses.replace(EVALUATED, **changes), **options)
    assert "\n" not in str(error.value)
