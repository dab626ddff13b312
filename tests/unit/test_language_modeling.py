"""Training on plain text against plain transformers: the loss, its gradients, what is learned, kept and refused."""

import dataclasses
import math

import checkpoints
import numpy as np
import pytest
from substitution import substitute, uncached

from nbutils import generation, models
from nbutils.errors import InputError
from nbutils.training import TrainingSettings
from nbutils.training import launch as launch_module
from nbutils.training.language_modeling import train_on_text

_RNG = np.random.default_rng(0)
WINDOWS = [[checkpoints.START, *_RNG.integers(3, 300, length).tolist()] for length in (12, 1, 7, 12, 30, 4)]
DEV_WINDOWS = [[checkpoints.START, *_RNG.integers(3, 300, length).tolist()] for length in (9, 2, 21)]
SETTINGS = TrainingSettings(n_steps=8, batch_size=6, learning_rate=1e-2, lora_rank=4, checkpoint_every=3)
FULL = dataclasses.replace(SETTINGS, lora_rank=None, learning_rate=1e-3)
EVALUATED = dataclasses.replace(SETTINGS, evaluate_every=3)


@pytest.fixture(autouse=True)
def quiet(cache_folder, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")


@pytest.fixture(scope="module")
def generators(tmp_path_factory):
    """{architecture: generator in float32}."""
    return {
        name: checkpoints.load_on_cpu(models.load_generator, getattr(checkpoints, name)(tmp_path_factory.mktemp(name)))
        for name in ("llama", "gemma3", "gpt2", "bart")
    }


@pytest.fixture(scope="module")
def llama(generators):
    return generators["llama"]


def plain_nats(model, windows):
    """-log p of every token but the first of each window, read alone: (number of tokens,), with gradients."""
    import torch

    found = []
    for ids in windows:
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
        found.append(-logits.log_softmax(-1).gather(-1, torch.tensor(ids)[1:, None])[:, 0])
    return torch.cat(found)


def plain_bits(model, windows):
    import torch

    with torch.inference_mode():
        return plain_nats(model, windows).mean().item() / math.log(2)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(first, second):
    import torch

    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# Values


@pytest.mark.parametrize("batch_tokens", [1, 40, 10**6])
@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2"])
def test_the_loss_and_its_gradients_are_those_of_plain_transformers(generators, architecture, batch_tokens):
    """A mean over tokens, not one over windows of unequal length."""
    import torch

    generator = generators[architecture]
    settings = dataclasses.replace(FULL, n_steps=1, batch_tokens=batch_tokens)
    history = train_on_text(generator, WINDOWS, settings).history
    parameters = [parameter for parameter in generator.model.parameters() if parameter.requires_grad]
    nats = plain_nats(generator.model, WINDOWS)
    assert len(nats) == sum(map(len, WINDOWS)) - len(WINDOWS)
    gradients = torch.autograd.grad(nats.mean(), parameters)
    assert history["loss"] == pytest.approx([nats.mean().item()], rel=1e-5)
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm().item()
    assert history["grad_norm"] == pytest.approx([norm], rel=1e-3)
    by_window = np.mean([plain_nats(generator.model, [ids]).mean().item() for ids in WINDOWS])
    assert abs(by_window - nats.mean().item()) > 0.01


def test_the_steps_are_those_of_plain_torch(llama):
    """All weights, AdamW, a constant rate, windows in their order: three steps written out."""
    import copy

    import torch

    settings = dataclasses.replace(FULL, n_steps=3, batch_size=2, shuffle=False, decay=False)
    system = train_on_text(llama, WINDOWS, settings)
    model = copy.deepcopy(llama.model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=FULL.learning_rate, weight_decay=0.0)
    for step in range(3):
        optimizer.zero_grad()
        loss = plain_nats(model, WINDOWS[2 * step : 2 * step + 2]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        assert system.history["loss"][step] == pytest.approx(loss.item(), rel=1e-4)
    assert plain_bits(system.generator.model, DEV_WINDOWS) == pytest.approx(plain_bits(model, DEV_WINDOWS), rel=1e-4)
    assert plain_bits(system.generator.model, DEV_WINDOWS) != pytest.approx(plain_bits(llama.model, DEV_WINDOWS))


@pytest.mark.parametrize("settings", [SETTINGS, FULL])
def test_the_loss_falls_and_the_first_model_stays_as_it_is(llama, settings):
    before = weights(llama.model)
    system = train_on_text(llama, WINDOWS, dataclasses.replace(settings, n_steps=40), name="tuned")
    loss = system.history["loss"]
    assert len(loss) == len(system.history["grad_norm"]) == 40 and loss[-1] < 0.7 * loss[0]
    assert {*system.history} == {"loss", "grad_norm"}
    assert equal(weights(llama.model), before) and system.generator.name == "tuned"
    assert system.generator.sha256 != llama.sha256 and system.question_encoder is None
    # By what every other part of the package reads.
    found = [
        -uncached(generation.token_states, generator, WINDOWS, (), with_logprobs=True).logprobs.mean()
        for generator in (llama, system.generator)
    ]
    assert found[0] == pytest.approx(loss[0], rel=1e-4) and found[1] < 0.7 * found[0]


def test_windows_of_texts_are_learned(llama):
    """As `token_windows` cuts them; a model without a name is called after the first."""
    windows = generation.token_windows(llama, {"all": " ".join(checkpoints.SENTENCES)}, 16)
    ids = [window.token_ids for window in windows]
    system = train_on_text(llama, ids, dataclasses.replace(SETTINGS, n_steps=1, batch_size=len(ids)))
    assert system.history["loss"][0] == pytest.approx(plain_bits(llama.model, ids) * math.log(2), rel=1e-4)
    assert system.generator.name == f"{llama.name} trained on text"


# Dev windows


def test_bits_per_token_of_dev_windows(llama):
    """At the start and in the end by plain transformers; in between at the steps that were asked for."""
    system = train_on_text(llama, WINDOWS, EVALUATED, dev_windows=DEV_WINDOWS)
    assert system.history["dev_step"] == [0, 3, 6, 8]
    first, *_, last = system.history["dev_bits_per_token"]
    assert first == pytest.approx(plain_bits(llama.model, DEV_WINDOWS), rel=1e-4)
    assert last == pytest.approx(plain_bits(system.generator.model, DEV_WINDOWS), rel=1e-4)
    assert abs(first - last) > 0.01
    apart = train_on_text(
        llama, WINDOWS, dataclasses.replace(EVALUATED, n_steps=1, batch_tokens=1), dev_windows=DEV_WINDOWS
    )
    assert apart.history["dev_bits_per_token"][0] == pytest.approx(first, rel=1e-4)


@pytest.mark.parametrize(("architecture", "changes"), [("llama", {}), ("gpt2", {"lora_rank": None, "dropout": True})])
def test_dev_windows_change_no_weights(generators, architecture, changes):
    settings = dataclasses.replace(SETTINGS, evaluate_every=1, **changes)
    with_dev = train_on_text(generators[architecture], WINDOWS, settings, dev_windows=DEV_WINDOWS)
    without = train_on_text(generators[architecture], WINDOWS, dataclasses.replace(settings, evaluate_every=0))
    assert equal(weights(with_dev.generator.model), weights(without.generator.model))
    assert with_dev.generator.sha256 == without.generator.sha256
    assert {name: with_dev.history[name] for name in ("loss", "grad_norm")} == without.history
    assert len(with_dev.history["dev_bits_per_token"]) == settings.n_steps + 1


# What is kept


def test_a_training_that_was_done_before_is_read_back(llama, monkeypatch):
    first = train_on_text(llama, WINDOWS, EVALUATED, dev_windows=DEV_WINDOWS)
    monkeypatch.setattr(launch_module, "train", lambda *_: pytest.fail("it was trained again"))
    again = train_on_text(
        llama, [tuple(ids) for ids in WINDOWS], EVALUATED, name="other", dev_windows=[tuple(ids) for ids in DEV_WINDOWS]
    )
    assert first.history == again.history and again.generator.name == "other"
    assert equal(weights(first.generator.model), weights(again.generator.model))
    others = [
        (WINDOWS[::-1], EVALUATED, {"dev_windows": DEV_WINDOWS}),
        (WINDOWS[1:], EVALUATED, {"dev_windows": DEV_WINDOWS}),
        (WINDOWS, EVALUATED, {"dev_windows": DEV_WINDOWS[1:]}),
        (WINDOWS, EVALUATED, {"dev_windows": DEV_WINDOWS, "seed": 1}),
        (WINDOWS, SETTINGS, {}),
    ]
    for windows, settings, options in others:
        with pytest.raises(pytest.fail.Exception, match="it was trained again"):
            train_on_text(llama, windows, settings, **options)


# What is refused


@pytest.fixture
def no_work(monkeypatch):
    substitute(monkeypatch, launch_module, "carry_out", lambda *_: pytest.fail("training was begun"))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("windows", "settings", "dev_windows", "message"),
    [
        ([], SETTINGS, [], "^no windows of text to train on: give at least one$"),
        ([*WINDOWS, [checkpoints.START]], SETTINGS, [], "^windows: one has fewer than two tokens"),
        ([[], *WINDOWS], SETTINGS, [], "^windows: one has fewer than two tokens"),
        (WINDOWS, EVALUATED, [[checkpoints.START]], "^dev windows: one has fewer than two tokens"),
        (WINDOWS, EVALUATED, [], "^evaluate_every = 3 without dev examples: give some, or 0"),
        (WINDOWS, dataclasses.replace(SETTINGS, n_steps=0), [], "^n_steps = 0: give at least 1"),
        (WINDOWS, dataclasses.replace(SETTINGS, lora_layers=3), [], "^lora_layers = 3: .* has 2"),
    ],
)
def test_what_cannot_be_trained_on_is_told_before_any_work(llama, windows, settings, dev_windows, message):
    with pytest.raises(InputError, match=message):
        train_on_text(llama, windows, settings, dev_windows=dev_windows)


@pytest.mark.usefixtures("no_work")
def test_sequence_to_sequence_models_are_refused(generators):
    with pytest.raises(InputError, match="has an encoder: this trains decoder-only models"):
        train_on_text(generators["bart"], WINDOWS, SETTINGS)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("kind", ["windows", "dev_windows"])
def test_windows_longer_than_the_model_has_positions_are_refused(generators, architecture, kind):
    given = {"windows": WINDOWS, "dev_windows": DEV_WINDOWS}
    given[kind] = [*given[kind], [checkpoints.START] * 258]
    settings = dataclasses.replace(FULL, evaluate_every=3)
    with pytest.raises(InputError, match=r"257 tokens, .* has 256"):
        train_on_text(generators[architecture], settings=settings, **given)


def test_a_loss_that_is_no_number_stops_the_run(llama):
    with pytest.raises(InputError, match=r"^step 2 of 8: loss nan, gradient norm nan: lower the learning rate"):
        train_on_text(llama, WINDOWS, dataclasses.replace(FULL, learning_rate=1e30))
