"""Training against the same written out in plain torch; what it learns, what it leaves alone, and how it resumes."""

import contextlib
import dataclasses
import functools
import json
import weakref

import checkpoints
import datasets
import numpy as np
import pytest
from substitution import substitute, uncached

from nbutils import code_digest, data, generation, models, paths, rag, retrieval, training
from nbutils.data import Example, Passage
from nbutils.errors import InputError
from nbutils.generation import compiled as compiled_module
from nbutils.generation import scoring as scoring_module
from nbutils.models import runtime as runtime_module
from nbutils.rag import losses as losses_module
from nbutils.training import TrainingSettings
from nbutils.training import launch as launch_module
from nbutils.training import loop as loop_module
from nbutils.training import settings as settings_module

FACTS = {"Chad": "French", "Peru": "sol", "France": "Paris", "Japan": "yen", "Russia": "area", "Faust": "Goethe"}
CORPUS = {f"p{i}": Passage(title, f"Its largest {word}.") for i, (title, word) in enumerate(FACTS.items())}
EXAMPLES = [
    Example(id, "fact", f"{title}?", "What is it?", (word,), (id,))
    for id, (title, word) in zip(CORPUS, FACTS.items(), strict=True)
]
PROMPTS = [generation.build_prompt("What is it?", passage) for passage in CORPUS.values()]
ANSWERS = list(FACTS.values())
SHORT = TrainingSettings(
    n_steps=8, batch_size=4, learning_rate=1e-2, encoder_learning_rate=1e-3, lora_rank=4, checkpoint_every=3
)
FULL = dataclasses.replace(SHORT, lora_rank=None, learning_rate=1e-3)
TEMPERATURE = 0.1


def use_caches(patch, folder):
    patch.setattr(paths, "CACHE", folder)


@pytest.fixture(autouse=True)
def cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    use_caches(monkeypatch, tmp_path / "cache")
    return tmp_path / "cache"


def load(loader, name, dtype="float32", **options):
    import torch

    with pytest.MonkeyPatch.context() as patch:
        substitute(patch, runtime_module, "pick_device", lambda: "cpu")
        substitute(patch, runtime_module, "pick_dtype", lambda device: getattr(torch, dtype))
        return loader(name, **options)


@pytest.fixture(scope="module")
def generators(tmp_path_factory):
    """Function name of the architecture -> generator in float32."""

    @functools.cache
    def get(architecture, **options):
        folder = getattr(checkpoints, architecture)(tmp_path_factory.mktemp(architecture), **options)
        return load(models.load_generator, folder)

    return get


@pytest.fixture(scope="module")
def llama(generators):
    return generators("llama")


@pytest.fixture(scope="module")
def bart(generators):
    return generators("bart")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load(models.load_encoder, checkpoints.minilm(tmp_path_factory.mktemp("minilm")))


@pytest.fixture(scope="module")
def index(encoder, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        use_caches(patch, tmp_path_factory.mktemp("index"))
        return retrieval.build_dense(encoder, CORPUS)


@pytest.fixture(scope="module")
def reader(llama, tmp_path_factory):
    """A generator that tells the passages apart: it reads the answer off the passage in its prompt."""
    with pytest.MonkeyPatch.context() as patch:
        use_caches(patch, tmp_path_factory.mktemp("reader"))
        settings = TrainingSettings(n_steps=60, batch_size=6, learning_rate=1e-2, lora_rank=8)
        tuned = training.fine_tune(llama, PROMPTS, ANSWERS, settings)
    assert tuned.history["loss"][-1] < 3 < 30 < tuned.history["loss"][0]
    return tuned.generator


@pytest.fixture
def train(encoder, index):
    """Function generator, settings, ... -> what train_rag returns; unlike it, with a corpus, examples and an index."""

    def run(generator, settings=SHORT, corpus=CORPUS, examples=EXAMPLES, n_docs=3, **options):
        learner = options.pop("question_encoder", encoder)
        searched = options.pop("index", index)
        options = {"temperature": TEMPERATURE, **options}
        return training.train_rag(generator, learner, searched, corpus, examples, settings, n_docs, **options)

    return run


@pytest.fixture
def steps(monkeypatch):
    """List of (gradient norm after clipping, learning rates) of every optimizer step."""
    import torch

    seen, step = [], torch.optim.AdamW.step

    def recorded(self, *args, **options):
        gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"] if p.grad is not None]
        seen.append((torch.cat(gradients).norm().item(), [group["lr"] for group in self.param_groups]))
        return step(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", recorded)
    return seen


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(first, second):
    """True for two models with the same weights, bit for bit."""
    import torch

    first, second = weights(first), weights(second)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def distance(first, second):
    first, second = weights(first), weights(second)
    assert first.keys() == second.keys()
    return max((first[name].float() - second[name].float()).abs().max().item() for name in first)


def run_folders():
    return [path for path in (paths.CACHE / "training").iterdir() if path.is_dir()]


def run_folder():
    (folder,) = run_folders()
    return folder


def saved_tensors():
    from safetensors.torch import load_file

    (path,) = run_folder().glob("*.safetensors")
    return load_file(path)


# What is learned


@pytest.mark.parametrize("marginalization", ["sequence", "token"])
@pytest.mark.parametrize(("architecture", "settings"), [("gemma3", SHORT), ("bart", SHORT), ("bart", FULL)])
def test_generator_and_question_encoder_move_and_the_loss_falls(
    generators, encoder, train, architecture, settings, marginalization
):
    base = generators(architecture)
    system = train(base, settings, marginalization=marginalization)
    tuned, learned, loss = system.generator, system.question_encoder, system.history["loss"]
    assert distance(base.model, tuned.model) > 1e-3
    assert distance(encoder.model, learned.model) > 1e-3
    assert np.mean(loss[-2:]) < 0.9 * np.mean(loss[:2])
    assert {name: len(values) for name, values in system.history.items()} == dict.fromkeys(
        ("loss", "max_doc_prob", "posterior_entropy", "hit_rate", "grad_norm"), settings.n_steps
    )
    assert len({base.sha256, tuned.sha256, encoder.sha256, learned.sha256}) == 4
    assert not tuned.model.training and not learned.model.training


def recall_at_1(index, encoder):
    ids, _ = retrieval.search(retrieval.DenseRetriever(index, encoder), [example.query for example in EXAMPLES], 1)
    return np.mean([id in example.gold_passages for id, example in zip(ids[:, 0], EXAMPLES, strict=True)])


LEARNING = TrainingSettings(
    n_steps=20, batch_size=6, learning_rate=1e-5, encoder_learning_rate=3e-3, lora_rank=4, decay=False
)


@pytest.mark.parametrize("marginalization", ["sequence", "token"])
def test_retrieval_is_learned_without_labels(train, index, encoder, reader, marginalization):
    examples = [dataclasses.replace(example, gold_passages=()) for example in EXAMPLES]
    system = train(reader, LEARNING, examples=examples, n_docs=6, marginalization=marginalization)
    assert recall_at_1(index, encoder) < 0.4 and recall_at_1(index, system.question_encoder) == 1
    assert system.history["max_doc_prob"][-1] > system.history["max_doc_prob"][0] + 0.2
    assert "hit_rate" not in system.history


@pytest.mark.parametrize("fault", ["detached", "shuffled"])
@pytest.mark.parametrize("marginalization", ["sequence", "token"])
def test_retrieval_is_not_learned_when(monkeypatch, train, index, encoder, reader, marginalization, fault):
    corpus, logprior = CORPUS, rag.doc_logprobs
    if fault == "detached":
        substitute(
            monkeypatch,
            losses_module,
            "doc_logprobs",
            lambda scores, temperature: logprior(scores.detach(), temperature),
        )
    else:
        corpus = dict(zip(CORPUS, [*list(CORPUS.values())[1:], CORPUS["p0"]], strict=True))
    learned = train(reader, LEARNING, corpus=corpus, n_docs=6, marginalization=marginalization).question_encoder
    assert recall_at_1(index, learned) <= recall_at_1(index, encoder) < 0.4
    assert (distance(encoder.model, learned.model) == 0) == (fault == "detached")


# The same in plain torch


def plain_training(generator, settings):
    """Weights and losses of full fine-tuning on all examples at each step: no batches, no accelerate."""
    import copy

    import torch

    model = copy.deepcopy(generator.model)
    tuned = dataclasses.replace(generator, model=model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    pairs = generation.tokenize_pairs(generator, PROMPTS, ANSWERS)
    losses = []
    for step in range(settings.n_steps):
        optimizer.param_groups[0]["lr"] = settings.learning_rate * (1 - step / settings.n_steps)
        loss = -generation.batch_logprobs(tuned, *pairs).sum() / len(PROMPTS)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        losses.append(loss.item())
    return model, losses


@pytest.mark.parametrize("architecture", ["llama", "bart"])
def test_fine_tuning_is_plain_training(generators, architecture):
    settings = dataclasses.replace(FULL, n_steps=4, batch_size=len(PROMPTS), weight_decay=0.1)
    base = generators(architecture)
    system = training.fine_tune(base, PROMPTS, ANSWERS, settings, name="reader")
    tuned = system.generator
    expected, losses = plain_training(base, settings)
    assert system.history["loss"] == pytest.approx(losses, rel=1e-4)
    assert tuned.name == "reader"
    # Adam makes full steps of gradients that are zero but for rounding: attention keys have such biases.
    names = [name for name in weights(expected) if not name.endswith("k_proj.bias")]
    found, wanted = weights(tuned.model), weights(expected)
    assert max((found[name] - wanted[name]).abs().max() for name in names) < 2e-4
    unclipped, _ = plain_training(base, dataclasses.replace(settings, max_grad_norm=1e9))
    assert max((found[name] - weights(unclipped)[name]).abs().max() for name in names) > 2e-4


@pytest.mark.parametrize("marginalization", ["sequence", "token"])
@pytest.mark.parametrize("architecture", ["gemma3", "bart"])
def test_curves_begin_with_the_papers_formulas(generators, train, encoder, index, architecture, marginalization):
    base = generators(architecture)
    settings = dataclasses.replace(SHORT, n_steps=1, batch_size=6)
    curves = train(base, settings, marginalization=marginalization).history
    ids, scores = retrieval.search(retrieval.DenseRetriever(index, encoder), [example.query for example in EXAMPLES], 3)
    losses, tops, entropies = [], [], []
    for example, row, logits in zip(EXAMPLES, ids, scores, strict=True):
        prior = np.exp(logits / TEMPERATURE) / np.exp(logits / TEMPERATURE).sum()
        prompts = [generation.build_prompt(example.question, CORPUS[id]) for id in row]
        probabilities = np.exp(generation.answer_logprobs(base, prompts, [example.answers[0]] * 3))  # (K, T)
        if marginalization == "sequence":
            losses.append(-np.log((prior * probabilities.prod(1)).sum()))
        else:
            losses.append(-np.log(prior @ probabilities).sum())
        posterior = prior * probabilities.prod(1)
        posterior /= posterior.sum()
        tops.append(prior.max())
        entropies.append(-(posterior * np.log(posterior)).sum())
    assert curves["loss"] == pytest.approx([np.mean(losses)], rel=1e-4)
    assert curves["max_doc_prob"] == pytest.approx([np.mean(tops)], rel=1e-4)
    assert curves["posterior_entropy"] == pytest.approx([np.mean(entropies)], abs=1e-3)
    gold = [example.gold_passages[0] in row for example, row in zip(EXAMPLES, ids, strict=True)]
    assert curves["hit_rate"] == [np.mean(gold)] and 0 < np.mean(gold) < 1


@pytest.mark.parametrize("marginalization", ["sequence", "token"])
def test_gradients_do_not_depend_on_how_a_step_is_cut(llama, train, marginalization):
    settings = dataclasses.replace(SHORT, n_steps=1, batch_size=6)
    curves = [
        train(llama, dataclasses.replace(settings, batch_tokens=n), marginalization=marginalization).history
        for n in (1, 300, 10**6)
    ]
    for name, values in curves[2].items():
        assert curves[0][name] == pytest.approx(values, rel=1e-4) and curves[1][name] == pytest.approx(values, rel=1e-4)
    tuning = [
        training.fine_tune(llama, PROMPTS, ANSWERS, dataclasses.replace(settings, batch_tokens=n)).history
        for n in (1, 10**6)
    ]
    assert tuning[0]["grad_norm"] == pytest.approx(tuning[1]["grad_norm"], rel=1e-4)


def test_the_question_encoders_gradient_is_the_loss_s(llama, encoder, index):
    """One whole graph, without the stop at the scores, gives the question encoder the same gradient."""
    import torch

    rows, found = [0, 2, 3, 5], {}
    for how in ("cut", "whole"):
        learner = training.trainable_encoder(encoder)
        generator, _ = training.trainable_generator(llama, SHORT, 0)
        if how == "cut":
            loss = training.RagLoss(CORPUS, EXAMPLES, "sequence", TEMPERATURE, 200)
            learners = training.Learners(generator, {"question": learner}, {}, contextlib.nullcontext())
            training.RagObjective(loss, 3, index, None).step(learners, rows)
        else:
            batch = [EXAMPLES[row] for row in rows]
            ids, scores = training.search_with_gradients(index, learner, [example.query for example in batch], 3)
            prompts = [
                [generation.build_prompt(e.question, CORPUS[id]) for id in row]
                for e, row in zip(batch, ids, strict=True)
            ]
            parts = rag.answer_token_logprobs(generator, prompts, [example.answers[0] for example in batch])
            (-rag.rag_sequence_logprob(rag.doc_logprobs(scores, TEMPERATURE), *parts).mean()).backward()
        found[how] = {n: p.grad for n, p in learner.model.named_parameters() if p.grad is not None}
    assert found["cut"].keys() == found["whole"].keys() and len(found["cut"]) > 10
    for name, gradient in found["whole"].items():
        torch.testing.assert_close(found["cut"][name], gradient, rtol=1e-4, atol=1e-6)


def test_gradients_are_clipped_and_their_norms_kept(llama, steps):
    curves = training.fine_tune(llama, PROMPTS, ANSWERS, dataclasses.replace(SHORT, max_grad_norm=0.5)).history
    assert min(curves["grad_norm"]) > 1
    assert [norm for norm, _ in steps] == pytest.approx([0.5] * SHORT.n_steps, rel=1e-3)
    steps.clear()
    curves = training.fine_tune(llama, PROMPTS, ANSWERS, dataclasses.replace(SHORT, max_grad_norm=1e9)).history
    assert [norm for norm, _ in steps] == pytest.approx(curves["grad_norm"])


def test_learning_rates_rise_and_fall(llama, train, steps):
    settings = TrainingSettings(5, 2, learning_rate=0.3, encoder_learning_rate=0.03, warmup_steps=2, lora_rank=2)
    train(llama, settings)
    factors = [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]
    assert [rates[0] for _, rates in steps] == pytest.approx([0.3 * factor for factor in factors])
    assert [rates[1] for _, rates in steps] == pytest.approx([0.03 * factor for factor in factors])
    steps.clear()
    train(llama, dataclasses.replace(settings, decay=False, warmup_steps=1))
    assert [rates[0] for _, rates in steps] == pytest.approx([0.15, 0.3, 0.3, 0.3, 0.3])


def test_batches_pass_over_all_examples_before_any_returns():
    four = TrainingSettings(n_steps=6, batch_size=4)
    drawn = [row for step in range(6) for row in training.batch_rows(8, four, 0, step)]
    assert sorted(drawn[:8]) == sorted(drawn[8:16]) == sorted(drawn[16:]) == list(range(8))
    assert drawn[:8] != drawn[8:16] and drawn[:8] != sorted(drawn[:8])
    assert drawn != [row for step in range(6) for row in training.batch_rows(8, four, 1, step)]
    assert sorted(training.batch_rows(3, dataclasses.replace(four, batch_size=7), 0, 0)[:6]) == [0, 0, 1, 1, 2, 2]
    in_order = dataclasses.replace(four, shuffle=False)
    assert [training.batch_rows(6, in_order, 0, step) for step in range(2)] == [[0, 1, 2, 3], [4, 5, 0, 1]]


# What is left alone


def test_the_base_generator_is_left_as_it_was(generators, train):
    base = generators("gemma3")
    generation.compile_layers(base)
    before = weights(base.model), [type(module) for module in base.model.modules()]
    compiled = [layer._compiled_call_impl for layer in base.model.model.layers]
    train(base)
    training.fine_tune(base, PROMPTS, ANSWERS, FULL)
    with pytest.raises(InputError, match="loss"):
        training.fine_tune(base, PROMPTS, ANSWERS, dataclasses.replace(FULL, learning_rate=1e30))
    assert all((before[0][name] == tensor).all() for name, tensor in weights(base.model).items())
    assert [type(module) for module in base.model.modules()] == before[1]
    assert [layer._compiled_call_impl for layer in base.model.model.layers] == compiled
    assert not hasattr(base.model, "peft_config")
    hooks = [module for module in base.model.modules() if module._forward_hooks or module._forward_pre_hooks]
    assert hooks == [base.model.get_output_embeddings()]  # the one that loading puts there
    assert all(parameter.requires_grad and parameter.grad is None for parameter in base.model.parameters())
    assert not base.model.training


def test_tuned_models_share_what_none_of_them_changes(generators):
    base = generators("gemma3")
    top = dataclasses.replace(SHORT, lora_layers=1)
    tuned = [training.fine_tune(base, PROMPTS, ANSWERS, top, seed).generator.model for seed in (0, 1)]
    places = [{name: tensor.data_ptr() for name, tensor in model.named_parameters()} for model in (base.model, *tuned)]
    shared = {name for name in places[0] if len({place[name] for place in places}) == 1}
    own = {name for name in places[0] if len({place[name] for place in places}) == 3}
    assert shared | own == places[0].keys() and "model.embed_tokens.weight" in shared
    assert own == {name for name in places[0] if ".layers.1." in name}


def test_compiled_training_is_the_plain_one(n_compiled, monkeypatch, tmp_path):
    base = load(models.load_generator, checkpoints.gemma3(tmp_path / "gemma3", ("sliding_attention",)))
    calls, compile_layers = [], generation.compile_layers
    substitute(
        monkeypatch, compiled_module, "compile_layers", lambda generator: calls.append(compile_layers(generator))
    )
    plain = training.fine_tune(base, PROMPTS, ANSWERS, SHORT).history
    substitute(monkeypatch, loop_module, "COMPILE_FROM_WORK", 0)
    use_caches(monkeypatch, tmp_path / "empty")
    compiled = training.fine_tune(base, PROMPTS, ANSWERS, SHORT).history
    assert calls == [True] and n_compiled() > 0
    np.testing.assert_allclose(compiled["loss"], plain["loss"], rtol=1e-3)


def test_whether_the_base_was_compiled_does_not_matter(tmp_path):
    folder = checkpoints.gemma3(tmp_path / "gemma3")
    results = []
    for compiled in (False, True):
        base = load(models.load_generator, folder)
        if compiled and not generation.compile_layers(base):
            pytest.skip("no C++ compiler")
        with pytest.MonkeyPatch.context() as patch:
            use_caches(patch, tmp_path / str(compiled))
            results.append(training.fine_tune(base, PROMPTS, ANSWERS, SHORT))
    assert results[0].history == results[1].history
    assert equal(results[0].generator.model, results[1].generator.model)


def test_passage_encoder_and_index_stay_as_they_are(llama, encoder, index, train):
    before, vectors = weights(encoder.model), index.faiss_index.reconstruct_n(0, len(CORPUS))
    system = train(llama)
    learned = system.question_encoder
    assert system.index is index and system.passage_encoder is None
    assert all((before[name] == tensor).all() for name, tensor in weights(encoder.model).items())
    assert (index.faiss_index.reconstruct_n(0, len(CORPUS)) == vectors).all()
    assert learned.model is not encoder.model and learned.tokenizer is encoder.tokenizer


def test_a_fixed_retriever_is_left_alone(llama, encoder, index, train):
    ids, scores = retrieval.search(retrieval.DenseRetriever(index, encoder), [example.query for example in EXAMPLES], 4)
    settings = dataclasses.replace(SHORT, n_steps=1)
    fixed = train(llama, settings, index=None, retrieved=(ids, scores))
    assert fixed.question_encoder is encoder and fixed.index is None
    assert distance(llama.model, fixed.generator.model) > 0
    assert not any(name.startswith("question") for name in saved_tensors())
    learned = train(llama, settings).history
    assert fixed.history["loss"] == pytest.approx(learned["loss"], rel=1e-4)  # 3 of the 4 columns
    assert fixed.history["grad_norm"] < learned["grad_norm"]
    without = train(llama, settings, question_encoder=None, index=None, retrieved=(ids, scores))
    assert without.question_encoder is None


def test_a_passage_with_score_minus_infinity_is_left_out(llama, encoder, index, train):
    ids, scores = retrieval.search(retrieval.DenseRetriever(index, encoder), [example.query for example in EXAMPLES], 3)
    scores[:, 1] = -np.inf
    other = ids.copy()
    other[:, 1] = ids[:, 0]
    curves = [train(llama, retrieved=(which, scores)).history for which in (ids, other)]
    for name in ("loss", "posterior_entropy", "max_doc_prob"):
        assert curves[0][name] == pytest.approx(curves[1][name], rel=1e-3)
    everything = train(llama, retrieved=(ids, np.where(np.isinf(scores), 1, scores))).history
    assert everything["loss"][0] != pytest.approx(curves[0]["loss"][0], rel=1e-3)


def test_a_place_that_a_search_left_empty_is_no_passage(llama, encoder, index, train):
    ids, scores = retrieval.search(retrieval.DenseRetriever(index, encoder), [example.query for example in EXAMPLES], 3)
    scores[:, 1] = -np.inf
    empty, once = np.where(np.isinf(scores), "", ids), dataclasses.replace(SHORT, n_steps=1)
    curves = [train(llama, once, retrieved=(which, scores)).history["loss"] for which in (ids, empty)]
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)
    # Nothing found at all: the question is asked without a passage, three times with a third of the weight.
    nothing = np.full_like(ids, ""), np.zeros_like(scores)
    asked = train(llama, once, retrieved=nothing).history
    assert asked["max_doc_prob"][0] == pytest.approx(1 / 3) and asked["loss"][0] != pytest.approx(
        curves[0][0], rel=1e-3
    )


# LoRA


def test_the_adapter_is_merged_as_it_was_trained(generators):
    """W + scale B A, by hand from what is on disk; nothing of peft is left in the model."""
    base = generators("gemma3")
    tuned = training.fine_tune(base, PROMPTS, ANSWERS, SHORT).generator
    assert type(tuned.model) is type(base.model)
    assert {type(module) for module in tuned.model.modules()} == {type(module) for module in base.model.modules()}
    tensors, old, new = saved_tensors(), weights(base.model), weights(tuned.model)
    assert old.keys() == new.keys()
    merged = set()
    for name, a in tensors.items():
        if ".lora_A." in name:
            target = name.removeprefix("generator/base_model.model.").partition(".lora_A.")[0] + ".weight"
            delta = training.LORA_SCALE * tensors[name.replace("lora_A", "lora_B")] @ a
            assert (new[target] - old[target] - delta).abs().max() < 1e-6 < delta.abs().max()
            merged.add(target)
    assert {name.split(".")[-2] for name in merged} == training.LORA_TARGETS - {"out_proj", "fc1", "fc2"}
    assert len(merged) == 14 and all((old[name] == new[name]).all() for name in old.keys() - merged)


def test_weights_in_bfloat16_are_trained_in_float32(tmp_path, train):
    import torch

    base = load(models.load_generator, checkpoints.llama(tmp_path / "llama"), "bfloat16")
    encoder = load(models.load_encoder, checkpoints.minilm(tmp_path / "minilm"), "bfloat16")
    dtypes = {name: tensor.dtype for name, tensor in [*base.model.named_parameters(), *base.model.named_buffers()]}
    for settings in (SHORT, FULL):
        system = train(base, settings, question_encoder=encoder)
        tuned, learned = system.generator, system.question_encoder
        tensors = [*tuned.model.named_parameters(), *tuned.model.named_buffers()]
        assert {name: tensor.dtype for name, tensor in tensors} == dtypes
        assert {parameter.dtype for parameter in learned.model.parameters()} == {torch.float32}
        assert min(distance(encoder.model, learned.model), distance(base.model, tuned.model)) > 0
        assert system.history["loss"][-1] < system.history["loss"][0]
    for folder in run_folders():
        assert {tensor.dtype for tensor in training.read_state(folder)["tensors"].values()} == {torch.float32}


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "bart"])
def test_autograd_does_not_go_below_the_layers_that_are_trained(generators, architecture):

    def note(reached, layer, inputs, output):
        reached.append((output[0] if isinstance(output, tuple) else output).requires_grad)

    base = generators(architecture)
    for lora_layers, expected in ((1, [False, True]), (2, [True, True]), (None, [True, True])):
        settings = dataclasses.replace(SHORT, lora_layers=lora_layers)
        generator, trained = training.trainable_generator(base, settings, 0)
        reached = []
        for layer in generator.model.get_decoder().layers:
            layer.register_forward_hook(functools.partial(note, reached))
        generation.batch_logprobs(generator, *generation.tokenize_pairs(generator, PROMPTS, ANSWERS)).sum().backward()
        if architecture != "bart":  # there the encoder's top layer reaches all of the decoder
            assert reached == expected
        assert generator.model.get_input_embeddings().weight.grad is None
        numbers = {name.partition("layers.")[2].split(".")[0] for name in training.trained_parameters(trained)}
        assert numbers == ({"1"} if lora_layers == 1 else {"0", "1"})
        assert all("lora_" in name for name in training.trained_parameters(trained))


def test_four_bit_weights_keep_the_adapter_beside_them(generators, tmp_path):
    folder = checkpoints.llama(tmp_path / "llama", hidden_size=64)
    base = load(models.load_generator, folder, quantize="nf4")
    before = weights(base.model)
    system = training.fine_tune(base, PROMPTS, ANSWERS, SHORT)
    tuned, curves = system.generator, system.history
    assert curves["loss"][-1] < curves["loss"][0]
    assert all((before[name] == tensor).all() for name, tensor in weights(base.model).items())
    assert any("lora_A" in name for name, _ in tuned.model.named_parameters())
    scores = [np.concatenate(generation.answer_logprobs(which, PROMPTS, ANSWERS)).sum() for which in (base, tuned)]
    assert scores[1] > scores[0] and len(generation.generate(tuned, PROMPTS[:2], 3)) == 2
    with pytest.raises(InputError, match="is in 4 bits: its own weights cannot be trained, give a lora_rank"):
        training.fine_tune(base, PROMPTS, ANSWERS, FULL)


# The same again, interrupted, and read back


def runs(tmp_path, run, *contexts):
    """What `run` returns, once in an empty cache for each context."""
    results = []
    for number, context in enumerate(contexts):
        with pytest.MonkeyPatch.context() as patch:
            use_caches(patch, tmp_path / f"run{number}")
            results.append(context(patch, run))
    return results


def undisturbed(patch, run):
    return run()


def interrupted(at):
    """Stop with Ctrl-C before step `at`, then run again; as one that goes on, which `_batch` bears witness to."""

    def context(patch, run):
        batch, asked = training.batch_rows, []

        def stopping(n_examples, batch_size, seed, step):
            asked.append(step)
            if len(asked) == at + 1:
                raise KeyboardInterrupt
            return batch(n_examples, batch_size, seed, step)

        substitute(patch, settings_module, "batch_rows", stopping)
        with pytest.raises(KeyboardInterrupt):
            run()
        result = run()
        kept = at - at % SHORT.checkpoint_every
        assert asked == [*range(at + 1), *range(kept, SHORT.n_steps)]
        return result

    return context


def require_same(first, second):
    """Weights, histories and digests are equal, bit for bit."""
    assert first.history == second.history
    for part in ("generator", "question_encoder", "passage_encoder"):
        one, other = getattr(first, part), getattr(second, part)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.sha256 == other.sha256 and equal(one.model, other.model)


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("settings", [SHORT, FULL])
def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path, bart, train, settings, dropout):
    """Before the first checkpoint, and after it; with dropout too, whose random numbers do not start again."""
    settings = dataclasses.replace(settings, dropout=dropout)
    whole, *rest = runs(
        tmp_path, lambda: train(bart, settings), undisturbed, undisturbed, interrupted(2), interrupted(7)
    )
    for other in rest:
        require_same(whole, other)
    with pytest.raises(AssertionError):
        require_same(whole, train(bart, settings, seed=1))
    if dropout:
        assert train(bart, dataclasses.replace(settings, dropout=False)).history != whole.history


def test_the_callers_random_numbers_are_left_alone(llama, train):
    import torch

    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    train(llama)
    assert torch.equal(torch.rand(2), expected)


def damage_tensors(folder, name):
    path = folder / name
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a bit": damage_tensors,
    "half a file": lambda folder, name: (folder / name).write_bytes((folder / name).read_bytes()[:1000]),
    "no file": lambda folder, name: (folder / name).unlink(),
    "half a list": lambda folder, name: (folder / "state.json").write_text('{"step": 6, "ten'),
    "no list": lambda folder, name: (folder / "state.json").write_text("[]"),
    "no checksum": lambda folder, name: (folder / "state.json").write_text(json.dumps({"step": 6, "tensors": name})),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_ignored(monkeypatch, capsys, llama, train, damage):
    whole = train(llama)
    folder = run_folder()
    (finished,) = folder.glob("*.safetensors")
    DAMAGES[damage](folder, finished.name)
    require_same(whole, train(llama))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"The checkpoint in {folder} is damaged (") and line.endswith("training starts over.")
    assert [path.name for path in folder.iterdir() if path.suffix == ".safetensors"] == [finished.name]


def test_a_run_that_was_done_before_is_read_back(monkeypatch, llama, train):
    released = []
    substitute(monkeypatch, launch_module, "release_freed_memory", lambda: released.append(True))
    results = train(llama), training.fine_tune(llama, PROMPTS, ANSWERS, SHORT)
    assert len(released) == 2  # what a training has freed, not what a reading has
    monkeypatch.setattr(launch_module, "train", lambda *run: pytest.fail("it was trained again"))
    require_same(results[0], train(llama))
    require_same(results[1], training.fine_tune(llama, PROMPTS, ANSWERS, SHORT, name="other"))
    assert len(released) == 2
    with pytest.raises(pytest.fail.Exception):
        train(llama, seed=1)


def test_everything_that_matters_has_its_own_folder(monkeypatch, tmp_path, generators, train, encoder):
    folders = []

    def noted(run, n_processes):
        folders.append(run.folder)
        return training.System(run.generator)

    substitute(monkeypatch, launch_module, "carry_out", noted)
    llama = generators("llama")
    ids = np.array([[*CORPUS]] * len(EXAMPLES))
    reordered = retrieval.build_dense(encoder, dict(reversed(CORPUS.items())))
    options = [
        {},
        {"seed": 1},
        {"temperature": 0.2},
        {"n_docs": 2},
        {"marginalization": "token"},
        {"corpus": {**CORPUS, "p1": Passage("Peru", "Its smallest sol.")}},
        {"examples": [*EXAMPLES[:-1], dataclasses.replace(EXAMPLES[-1], answers=("Mephisto",))]},
        {"question_encoder": dataclasses.replace(encoder, sha256="other")},
        {"question_encoder": dataclasses.replace(encoder, max_length=7)},
        {"index": reordered},
        {"retrieved": (ids, np.zeros(ids.shape))},
        {"retrieved": (ids, np.ones(ids.shape))},
        {"retrieved": (ids[:, ::-1], np.ones(ids.shape))},
    ]
    for option in options:
        train(llama, **option)
    for field, value in dataclasses.asdict(
        TrainingSettings(9, 2, 1, 1, False, 1, False, 1, 2, 3, 1, True, 1, 1, 1, 1)
    ).items():
        if field != "evaluate_every":  # of fine-tuning: tests/unit/test_dev_curves.py
            train(llama, dataclasses.replace(SHORT, **{field: value}))
    train(generators("llama", seed=1))
    train(generators("gemma3"))
    training.fine_tune(llama, PROMPTS, ANSWERS, SHORT)
    training.fine_tune(llama, ANSWERS, PROMPTS, SHORT)
    monkeypatch.setattr(rag, "rag_sequence_logprob", lambda *arguments: None)  # a change of code
    monkeypatch.setattr(code_digest, "_kept", weakref.WeakKeyDictionary())
    train(llama)
    assert len({*folders}) == len(folders) == len(options) + len(dataclasses.fields(TrainingSettings)) + 4
    train(llama, name="another name")
    assert folders[-1] == folders[-2]


def test_a_loss_that_is_no_number_stops_the_run(monkeypatch, llama, steps):
    """The step is named; what was kept before it is there and whole."""
    logprobs, asked = generation.batch_logprobs, []

    def failing(*arguments):
        asked.append(0)
        return logprobs(*arguments) * (float("nan") if len(asked) == 6 else 1)

    substitute(monkeypatch, scoring_module, "batch_logprobs", failing)
    with pytest.raises(InputError, match=r"^step 6 of 8: loss nan, gradient norm nan: lower the learning rate"):
        training.fine_tune(llama, PROMPTS, ANSWERS, SHORT)
    assert len(steps) == 5 and training.read_state(run_folder())["step"] == 3
    assert not any(tensor.isnan().any() for tensor in saved_tensors().values())


# Other retrievers, other data


@pytest.mark.parametrize(
    ("description", "search_parameters"), [("IVF2,Flat", "nprobe=2"), ("HNSW4", "efSearch=2"), ("SQ8", None)]
)
def test_other_indexes(llama, encoder, train, description, search_parameters):
    approximate = retrieval.build_dense(encoder, CORPUS, description, search_parameters)
    system = train(llama, index=approximate)
    assert distance(encoder.model, system.question_encoder.model) > 1e-3
    assert np.isfinite(system.history["loss"]).all() and system.index is approximate


def test_passages_that_an_approximate_index_does_not_find_are_left_out(encoder):
    few = retrieval.build_dense(encoder, CORPUS, "IVF6,Flat", "nprobe=1")
    ids, scores = training.search_with_gradients(few, training.trainable_encoder(encoder), ["Chad?", "Peru?"], 5)
    assert ids.shape == scores.shape == (2, 5) and {*ids.ravel()} <= {*CORPUS}
    assert scores.isinf().any() and not scores.isinf().all(1).any()
    rag.doc_logprobs(scores, TEMPERATURE).masked_fill(scores.isinf(), 0).sum().backward()


def test_bart_and_dpr_on_records_as_the_hub_has_them(tmp_path, bart, train):
    """All weights of BART, DPR's two encoders, records in the columns of nq_open and of wiki_dpr."""
    for name, rows in {
        "questions": [{"question": example.query, "answer": [*example.answers, "x"]} for example in EXAMPLES],
        "wiki": [{"id": id, "text": p.text, "title": p.title, "embeddings": [0.5]} for id, p in CORPUS.items()],
    }.items():
        (tmp_path / name).mkdir()
        datasets.Dataset.from_list(rows).to_parquet(tmp_path / name / "train.parquet")
    questions = data.load_questions(str(tmp_path / "questions"), "train")
    corpus = data.load_corpus(str(tmp_path / "wiki"))
    examples = [dataclasses.replace(question, answers=question.answers[:1], gold_passages=()) for question in questions]
    assert len(examples) >= 5 and [*corpus.values()] == [*CORPUS.values()]
    passages = load(models.load_encoder, checkpoints.dpr(tmp_path / "context", "context"))
    questions = load(models.load_encoder, checkpoints.dpr(tmp_path / "question", "question", seed=1))
    index = retrieval.build_dense(passages, corpus)
    system = train(
        bart, FULL, corpus, examples, question_encoder=questions, index=index, marginalization="token", temperature=1.0
    )
    tuned, learned = system.generator, system.question_encoder
    assert system.history["loss"][-1] < system.history["loss"][0]
    assert distance(bart.model, tuned.model) > 1e-3 and distance(questions.model, learned.model) > 1e-3
    assert retrieval.search(retrieval.DenseRetriever(index, learned), ["Chad?"], 2)[0].shape == (1, 2)
    assert len(generation.generate(tuned, PROMPTS[:1], 3)) == 1


# Several processes


@pytest.mark.slow  # starts four processes, each of which imports torch
def test_two_processes_train_as_one_does(tmp_path, llama, encoder, train):
    """The result, and the error of a loss that is no number."""
    one, two = runs(tmp_path, train, lambda patch, run: run(llama), lambda patch, run: run(llama, n_processes=2))
    for name, values in one.history.items():
        assert two.history[name] == pytest.approx(values, abs=1e-3), name
    assert distance(one.generator.model, two.generator.model) < 1e-4 < distance(llama.model, one.generator.model)
    encoders = (one.question_encoder, two.question_encoder, encoder)
    vectors = [uncached(models.encode, which, list(FACTS)) for which in encoders]
    assert np.abs(vectors[0] - vectors[1]).max() < 1e-4 < np.abs(vectors[0] - vectors[2]).max()
    with pytest.raises(InputError, match=r"^step 2 of 8: loss nan, gradient norm nan: lower the learning rate"):
        training.fine_tune(llama, PROMPTS, ANSWERS, dataclasses.replace(FULL, learning_rate=1e30), n_processes=2)


# Errors


@pytest.fixture
def no_work(monkeypatch):
    substitute(monkeypatch, launch_module, "carry_out", lambda *run: pytest.fail("training was begun"))


SOME = np.array([[*CORPUS][:3]] * len(EXAMPLES))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"examples": []}, "nothing to train on: the list of examples is empty"),
        ({"examples": [EXAMPLES[0], Example("q", "fact", "q", "q", (" \n",), ())]}, "answer number 1 is empty"),
        ({"marginalization": "passage"}, "marginalization 'passage' is unknown: use one of sequence, token"),
        ({"temperature": 0.0}, "temperature = 0.0: give a number above 0"),
        ({"temperature": float("nan")}, "temperature = nan"),
        ({"n_docs": 7}, "n_docs = 7: the index has 6 passages"),
        ({"n_docs": 0}, "n_docs = 0: the index has 6 passages"),
        ({"index": None}, "a learned retriever needs an encoder and an index"),
        ({"question_encoder": None}, "a learned retriever needs an encoder and an index"),
        ({"corpus": {}}, "passage 'p0' of the index is not in the corpus"),
        ({"retrieved": (SOME[:-1], np.ones((5, 3)))}, r"retrieved ids \(5, 3\) and scores \(5, 3\): give 6 rows"),
        ({"retrieved": (SOME, np.ones((6, 2)))}, r"retrieved ids \(6, 3\) and scores \(6, 2\): give 6 rows"),
        ({"retrieved": (SOME, np.ones((6, 3))), "n_docs": 4}, "n_docs = 4: 3 passages were retrieved"),
        ({"retrieved": (SOME, np.full((6, 3), np.nan))}, "retrieved scores hold NaN or infinity"),
        ({"retrieved": (SOME, np.full((6, 3), -np.inf))}, "or leave out every passage of an example"),
        ({"retrieved": (np.full((6, 3), "p9"), np.ones((6, 3)))}, "retrieved passage 'p9' is not in the corpus"),
        ({"n_processes": 3}, "batch_size = 4 cannot be shared out equally to 3 processes"),
        ({"n_processes": 0}, "batch_size = 4 cannot be shared out equally to 0 processes"),
    ],
)
def test_bad_arguments_are_told_before_any_work(no_work, llama, train, options, message):
    with pytest.raises(InputError, match=message) as error:
        train(llama, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_steps": 0}, "n_steps = 0: give at least 1"),
        ({"batch_size": -1}, "batch_size = -1: give at least 1"),
        ({"lora_rank": 0}, "lora_rank = 0: give at least 1"),
        ({"lora_layers": 3}, "lora_layers = 3: .* has 2"),
        ({"warmup_steps": 8}, "warmup_steps = 8: give less than n_steps = 8"),
        ({"checkpoint_every": 0}, "checkpoint_every = 0: give at least 1"),
        ({"evaluate_every": -1}, "evaluate_every = -1: give a number of steps, or 0"),
        ({"evaluate_every": 2}, "evaluate_every = 2 without dev examples: give some, or 0"),
    ],
)
def test_bad_settings_are_told_before_any_work(no_work, llama, train, changes, message):
    for run in (train, lambda generator, settings: training.fine_tune(generator, PROMPTS, ANSWERS, settings)):
        with pytest.raises(InputError, match=message):
            run(llama, dataclasses.replace(SHORT, **changes))


def test_bad_texts_are_told_before_any_work(no_work, llama):
    with pytest.raises(InputError, match="0 prompts and 0 answers"):
        training.fine_tune(llama, [], [], SHORT)
    with pytest.raises(InputError, match="6 prompts and 5 answers: give one answer to each prompt"):
        training.fine_tune(llama, PROMPTS, ANSWERS[:-1], SHORT)
    with pytest.raises(InputError, match="answer number 5 is empty"):
        training.fine_tune(llama, PROMPTS, [*ANSWERS[:-1], ""], SHORT)
    with pytest.raises(InputError, match=r"a prompt with its answer takes \d+ tokens, .* has 256"):
        training.fine_tune(llama, [*PROMPTS[:-1], "long " * 200], ANSWERS, SHORT)


def test_an_encoder_of_another_width_is_told_before_any_work(no_work, llama, train, encoder):
    import faiss

    wide = retrieval.DenseIndex(np.array([*CORPUS]), faiss.IndexFlatIP(7), "")
    with pytest.raises(InputError, match="makes vectors of 32 numbers, the index holds 7"):
        train(llama, index=wide)


def test_a_generator_without_the_usual_layers_is_told_before_any_work(no_work, llama, train):
    from transformers import GPT2Config, GPT2LMHeadModel

    odd = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1))
    with pytest.raises(InputError, match=r"has none of the layers down_proj, .*: lora_rank=None"):
        train(dataclasses.replace(llama, model=odd))
