"""kNN-LM's answers against a plain loop, token by token; what is copied from a datastore, kept and refused."""

import dataclasses
import importlib

import checkpoints
import numpy as np
import pytest
from substitution import substitute, uncached

from nbutils import generation, models, retrieval
from nbutils.errors import InputError
from nbutils.generation import KEYS
from nbutils.retrieval import Interpolation, knn_generate

decoding_module = importlib.import_module("nbutils.generation.decoding")
module = importlib.import_module("nbutils.retrieval.knn_generation")

pytestmark = pytest.mark.usefixtures("cache_folder")

PROMPTS = [
    "Question: What is spent in Peru?\nAnswer:",
    "Answer:",
    "Background: Peru. The capital of Peru is Lima.\n\nQuestion: What is the largest city of Peru?\nAnswer:",
    "The capital of Chad is",
]
NORMS = {  # of a layer: before attention, before the feed-forward network
    "llama": ("input_layernorm", "post_attention_layernorm"),
    "gemma3_text": ("input_layernorm", "pre_feedforward_layernorm"),
    "gpt2": ("ln_1", "ln_2"),
}


def load(folder):
    return checkpoints.load_on_cpu(models.load_generator, folder)


@pytest.fixture(params=["llama", "gemma3", "gpt2"])
def generator(request, checkpoint):
    return load(checkpoint(request.param))


@pytest.fixture
def llama(checkpoint):
    return load(checkpoint("llama"))


def store_of(generator, *sequences):
    """The sentences' states, and those of sequences of token ids, by every key."""
    rows = generator.tokenizer(checkpoints.SENTENCES, add_special_tokens=False)["input_ids"]
    return generation.token_states(generator, [*([checkpoints.START, *row] for row in rows), *sequences], KEYS)


def mild(datastore, key="ffn_input", k=16, share=0.3):
    """Neighbors that all count, near ones more."""
    keys = datastore.keys[key]
    return Interpolation(k, float(np.median(retrieval.squared_distances(keys, keys))) / 2, share)


def read(generator, ids, key):
    """The state of the last token (D,) and p of every next one (V,) by one pass over the whole text, in float64."""
    import torch

    decoder, passed = generator.model.get_decoder(), {}
    last = (decoder.h if hasattr(decoder, "h") else decoder.layers)[-1]
    norm, norm_ffn = (getattr(last, name) for name in NORMS[generator.model.config.model_type])
    hooks = [
        norm.register_forward_hook(lambda _, args, out: passed.update({"attention_input": out})),
        norm_ffn.register_forward_hook(
            lambda _, args, out: passed.update({"before_ffn_norm": args[0], "ffn_input": out})
        ),
    ]
    with torch.inference_mode():
        output = generator.model(input_ids=torch.tensor([ids]), use_cache=False, output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    passed["final_state"] = output.hidden_states[-1]
    return passed[key][0, -1].double().numpy(), output.logits[0, -1].double().softmax(-1).numpy()


def plain_neighbors(datastore, query, k, key):
    """Distances and rows of the k nearest, from the distances to all keys."""
    distances = ((datastore.keys[key].astype(np.float64) - query) ** 2).sum(axis=1)
    rows = np.argsort(distances)[:k]
    return distances[rows], rows


def next_probabilities(generator, ids, datastore, chosen, key):
    query, p_lm = read(generator, ids, key)
    distances, rows = plain_neighbors(datastore, query, chosen.k, key)
    weights = np.exp((distances[0] - distances) / chosen.temperature)
    p = (1 - chosen.share) * p_lm
    for row, weight in zip(rows, weights / weights.sum(), strict=True):
        p[datastore.tokens[row]] += chosen.share * weight
    return p


def plain_answer(generator, prompt, datastore, chosen, key, n_tokens):
    tokenizer = generator.tokenizer
    ids = tokenizer(prompt)["input_ids"]
    start = len(ids)
    while len(ids) < start + n_tokens:
        p = next_probabilities(generator, ids, datastore, chosen, key)
        ids.append(int(p.argmax()))
        assert np.diff(np.sort(p)[-2:]) > 1e-5, "two tokens are equally likely: rounding would decide"
        if ids[-1] == tokenizer.eos_token_id or "\n" in tokenizer.decode(ids[-1:]):
            break
    return tokenizer.decode(ids[start:], skip_special_tokens=True).strip("\n").split("\n")[0].strip()


# Values


@pytest.mark.parametrize("key", KEYS)
def test_answers_are_those_of_a_plain_loop(generator, key):
    """Of prompts that are padded to one length, with neighbors and the model both deciding."""
    datastore = store_of(generator)
    chosen = mild(datastore, key)
    expected = [plain_answer(generator, prompt, datastore, chosen, key, 8) for prompt in PROMPTS]
    assert knn_generate(generator, PROMPTS, datastore, chosen, key, 8) == expected
    alone = knn_generate(generator, PROMPTS, datastore, dataclasses.replace(chosen, share=1.0), key, 8)
    assert expected not in (alone, generation.generate(generator, PROMPTS, 8)) and any(expected)


def test_a_prompt_is_answered_as_alone(generator, monkeypatch):
    datastore = store_of(generator)
    rest = datastore, mild(datastore), "ffn_input", 8
    together = knn_generate(generator, PROMPTS, *rest)
    assert len({*together}) > 2
    assert [knn_generate(generator, [prompt], *rest)[0] for prompt in PROMPTS] == together
    assert knn_generate(generator, PROMPTS[::-1], *rest) == together[::-1]
    substitute(monkeypatch, decoding_module, "GENERATION_TOKENS", 100)  # more than one batch
    assert uncached(knn_generate, generator, PROMPTS, *rest) == together


def test_without_a_share_the_model_answers_alone(generator):
    datastore = store_of(generator)
    found = knn_generate(generator, PROMPTS, datastore, mild(datastore, share=0.0), max_new_tokens=8)
    assert found == generation.generate(generator, PROMPTS, 8) and len({*found}) > 1


def test_what_followed_the_prompts_in_the_datastore_is_copied(generator):
    """Up to its line's end or the text's: each prompt is stored with a continuation of its own."""
    tokenizer, chosen = generator.tokenizer, Interpolation(1, 1.0, 0.99)

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    stored = [
        "Lima and Quito\n it goes on",
        "sol.\n it goes on",
        "the yen</s> it goes on",
        "N'Djamena, which it goes on",
    ]
    continued = [
        [*tokenizer(prompt)["input_ids"], *ids(f" {text}")] for prompt, text in zip(PROMPTS, stored, strict=True)
    ]
    datastore = store_of(generator, *continued)
    n_last = len(ids(f" {stored[-1]}"))
    found = knn_generate(generator, PROMPTS, datastore, chosen, max_new_tokens=n_last)
    assert found == ["Lima and Quito", "sol.", "the yen", stored[-1]]
    limited = knn_generate(generator, PROMPTS, datastore, chosen, max_new_tokens=1)
    assert limited == [tokenizer.decode(ids(f" {text}")[:1]).strip() for text in stored]


@pytest.mark.parametrize("key", ["ffn_input", "final_state"])
def test_neighbors_of_given_answers(generator, key):
    """Of each token of an answer as it is scored, its ending too, and of none of the prompt."""
    datastore, options = store_of(generator), {} if key == "ffn_input" else {"key": key}
    answers = ["Lima", "yen", "Lima; its area is the largest", "Quito"]
    found, lengths = retrieval.answer_neighbors(generator, PROMPTS, answers, datastore, 5, **options)
    prompt_ids, answer_ids = generation.tokenize_pairs(generator, PROMPTS, answers)
    assert lengths.tolist() == [len(ids) for ids in answer_ids]
    assert found.labels.tolist() == [token for ids in answer_ids for token in ids]
    logprobs = np.concatenate(generation.answer_logprobs(generator, PROMPTS, answers))
    np.testing.assert_allclose(found.logprobs, logprobs, atol=1e-4)
    before = [[*p, *ids[:n]] for p, ids in zip(prompt_ids, answer_ids, strict=True) for n in range(len(ids))]
    for ids, distances, tokens in zip(before, found.distances, found.tokens, strict=True):
        query = read(generator, ids, key)[0].astype(np.float16)  # as states are kept
        every, rows = plain_neighbors(datastore, query, None, key)
        np.testing.assert_allclose(distances, every[:5], rtol=1e-3, atol=1e-3)
        for token, distance in zip(tokens, distances, strict=True):  # of two that are as near, either may be first
            assert np.abs(every[datastore.tokens[rows] == token] - distance).min() < 1e-3 * (1 + distance)
    one, (n_tokens,) = retrieval.answer_neighbors(generator, PROMPTS[2:3], answers[2:3], datastore, 10**6, **options)
    assert one.distances.shape == (lengths[2], len(datastore.tokens)) and n_tokens == lengths[2]


def test_compiled_layers_show_their_states_too(llama):
    import torch

    datastore = store_of(llama)
    expected = uncached(knn_generate, llama, PROMPTS, datastore, mild(datastore), max_new_tokens=6)
    compiled = []

    def backend(graph, _):
        compiled.append(graph)
        return graph.forward

    for layer in llama.model.get_decoder().layers:
        layer.compile(backend=backend, dynamic=True)
    with torch.inference_mode():
        llama.model(input_ids=torch.tensor([[checkpoints.START, 5, 6, 7]]))  # without a hook
    n_compiled = len(compiled)
    assert uncached(knn_generate, llama, PROMPTS, datastore, mild(datastore), max_new_tokens=6) == expected
    assert len(compiled) == n_compiled > 0  # and nothing is compiled for each length of a text


# What is kept


def part(datastore, rows):
    return dataclasses.replace(
        datastore, keys={name: keys[rows] for name, keys in datastore.keys.items()}, tokens=datastore.tokens[rows]
    )


def test_answers_are_kept_by_content(llama, monkeypatch, cache_folder):
    calls, compute = [], module._knn_generate

    def counted(*arguments):
        calls.append(arguments)
        return compute(*arguments)

    substitute(monkeypatch, module, "_knn_generate", counted)
    datastore = store_of(llama)
    chosen = mild(datastore)
    settings = {
        "generator": llama,
        "prompts": PROMPTS,
        "datastore": datastore,
        "chosen": chosen,
        "key": "ffn_input",
        "max_new_tokens": 2,
    }
    first = knn_generate(**settings)
    # What does not count: where the arrays lie, what else the datastore holds, the generator's name.
    alike = dataclasses.replace(
        datastore,
        keys={"ffn_input": np.array(datastore.keys["ffn_input"])},
        lengths=datastore.lengths[::-1],
        logprobs=np.zeros(len(datastore.tokens)),
    )
    renamed = dataclasses.replace(llama, name="renamed")
    assert knn_generate(**settings | {"generator": renamed, "datastore": alike}) == first and len(calls) == 1
    keys, tokens = alike.keys["ffn_input"].copy(), datastore.tokens.copy()
    keys[-1, -1] += 1
    tokens[-1] += 1
    variants = [
        {"datastore": dataclasses.replace(alike, keys={"ffn_input": keys})},
        {"datastore": dataclasses.replace(alike, tokens=tokens)},
        {"datastore": part(alike, slice(1, None))},
        {"chosen": dataclasses.replace(chosen, k=chosen.k + 1)},
        {"chosen": dataclasses.replace(chosen, temperature=chosen.temperature + 1e-9)},
        {"chosen": dataclasses.replace(chosen, share=chosen.share + 1e-9)},
        {"key": "attention_input"},
        # The same keys under another name: they are compared with another state of the model.
        {
            "datastore": dataclasses.replace(alike, keys={"before_ffn_norm": alike.keys["ffn_input"]}),
            "key": "before_ffn_norm",
        },
        {"max_new_tokens": 3},
        {"prompts": PROMPTS[::-1]},
        {"prompts": PROMPTS[1:]},
        {"generator": dataclasses.replace(llama, sha256="0" * 64)},
    ]
    for number, variant in enumerate(variants, start=2):
        knn_generate(**settings | variant)
        assert len(calls) == number, f"variant {number} was read from the cache"
    assert len([*cache_folder.rglob("*.json")]) == len(calls)


def test_every_other_row_is_a_datastore_too(llama):
    whole = store_of(llama)
    half = part(whole, slice(None, None, 2))
    expected = [plain_answer(llama, prompt, half, mild(whole), "ffn_input", 4) for prompt in PROMPTS]
    assert knn_generate(llama, PROMPTS, half, mild(whole), max_new_tokens=4) == expected


@pytest.mark.parametrize("key", ["ffn_input", "final_state"])
def test_no_hook_stays_behind_and_half_an_answer_is_not_kept(generator, monkeypatch, cache_folder, key):
    def hooks():
        modules = generator.model.modules()
        return [hook for each in modules for hook in (*each._forward_pre_hooks.values(), *each._forward_hooks.values())]

    def fails(*arguments):
        during.append(len(hooks()))
        if len(during) == 3:
            raise KeyboardInterrupt
        return search(*arguments)

    before, during, search = hooks(), [], retrieval.nearest
    datastore = store_of(generator)
    arguments = generator, PROMPTS, datastore, mild(datastore), key, 4
    with monkeypatch.context() as patch:
        substitute(patch, importlib.import_module("nbutils.retrieval.nearest_states"), "nearest", fails)
        with pytest.raises(KeyboardInterrupt):
            knn_generate(*arguments)
    assert len(during) == 3 and hooks() == before
    assert during == [len(before) + 1] * 3 or key == "final_state"  # of which the last layer has no module
    with pytest.raises(InputError):
        knn_generate(generator, PROMPTS, datastore, mild(datastore, k=10**6), key)
    assert hooks() == before and not [*cache_folder.rglob("*.json")]
    assert knn_generate(*arguments) == knn_generate(*arguments) and hooks() == before


# What is refused


def refused(*arguments):
    with pytest.raises(InputError) as caught:
        knn_generate(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def datastore(llama):
    return store_of(llama)


def test_sequence_to_sequence_models_are_refused(checkpoint, datastore):
    message = refused(load(checkpoint("bart")), PROMPTS, datastore, mild(datastore))
    assert "has an encoder: kNN-LM is for decoder-only models" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 10**6}, "k = 1000000 of {n} keys: give at least 1, and no more than there are"),
        ({"k": 0}, "k = 0 of {n} keys"),
        ({"temperature": 0}, "temperature 0: give a number above 0"),
        ({"share": 1.5}, "share"),
        ({"share": -0.1}, "share"),
        ({"share": float("nan")}, "share"),
    ],
)
def test_an_interpolation_that_is_none_is_refused(llama, datastore, change, message):
    chosen = dataclasses.replace(mild(datastore), **change)
    assert message.format(n=len(datastore.tokens)) in refused(llama, PROMPTS, datastore, chosen)


def test_keys_of_another_width_are_refused(llama, datastore):
    narrow = dataclasses.replace(datastore, keys={"ffn_input": datastore.keys["ffn_input"][:, :-1]})
    message = refused(llama, PROMPTS, narrow, mild(datastore))
    assert message == f"queries (4, 32) among keys ({len(datastore.tokens)}, 31): give queries of the same width"


def test_a_vocabulary_that_ends_before_the_datastores_is_refused(llama, datastore):
    other = dataclasses.replace(datastore, tokens=datastore.tokens + 300)
    assert "the vocabulary has 320" in refused(llama, PROMPTS, other, mild(datastore, k=len(datastore.tokens)))


@pytest.mark.parametrize("key", ["attention_input", "ffn"])
def test_a_key_that_is_not_there_is_named(llama, datastore, key):
    """One that the datastore lacks, and one that nobody knows."""
    few = dataclasses.replace(datastore, keys={"ffn_input": datastore.keys["ffn_input"]})
    assert repr(key) in refused(llama, PROMPTS, few, mild(datastore), key)


@pytest.mark.parametrize(
    ("prompts", "message"), [([], "the list of prompts is empty"), (["Lima " * 300], "has 256: shorten it")]
)
def test_prompts_that_are_none_are_refused(llama, datastore, prompts, message):
    assert message in refused(llama, prompts, datastore, mild(datastore))
