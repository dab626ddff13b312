"""Keys and log p of every token against transformers, text by text; what is kept, what is cut, what is refused."""

import contextlib
import dataclasses
import importlib

import checkpoints
import numpy as np
import pytest
from substitution import substitute, uncached

from nbutils import generation, models
from nbutils.errors import InputError
from nbutils.generation import KEYS, Window, token_states, token_windows
from nbutils.generation.token_states import TOKEN_TYPE, require_token_type

module = importlib.import_module("nbutils.generation.token_states")  # whose name is that of its function, too

pytestmark = pytest.mark.usefixtures("cache_folder")

LENGTHS = [9, 2, 30, 17, 5, 17, 3, 24]  # with the token that begins a text
_RNG = np.random.default_rng(0)
SEQUENCES = [[checkpoints.START, *_RNG.integers(3, 300, length - 1).tolist()] for length in LENGTHS]
N_SCORED = sum(LENGTHS) - len(LENGTHS)
TEXT = " ".join(checkpoints.SENTENCES)
POSITIONS = 256
VOCABULARY = 262_144
NORMS = {  # of a layer: before attention, after it, before the feed-forward network
    "llama": ("input_layernorm", None, "post_attention_layernorm"),
    "gemma3": ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm"),
    "gpt2": ("ln_1", None, "ln_2"),
}


def load(folder):
    return checkpoints.load_on_cpu(models.load_generator, folder)


@pytest.fixture(params=NORMS)
def generator(request, checkpoint):
    return load(checkpoint(request.param))


@pytest.fixture
def llama(checkpoint):
    return load(checkpoint("llama"))


@pytest.fixture
def gpt2(checkpoint):
    return load(checkpoint("gpt2"))


def architecture(generator):
    return {"llama": "llama", "gemma3_text": "gemma3", "gpt2": "gpt2"}[generator.model.config.model_type]


def by_hand(generator, ids):
    """{key: (T, D)} of one text and its log p (T,), from what enters the last layer and what its attention returns."""
    import torch

    model, decoder = generator.model, generator.model.get_decoder()
    last = (decoder.h if architecture(generator) == "gpt2" else decoder.layers)[-1]
    attention = last.attn if architecture(generator) == "gpt2" else last.self_attn
    norm, after, norm_ffn = (getattr(last, name or "", lambda x: x) for name in NORMS[architecture(generator)])
    attended = []
    hook = attention.register_forward_hook(lambda *passed: attended.append(passed[-1][0]))
    with torch.inference_mode():
        output = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        hook.remove()
        entering = output.hidden_states[-2]
        before = entering + after(attended[0])
        states = {
            "attention_input": norm(entering),
            "before_ffn_norm": before,
            "ffn_input": norm_ffn(before),
            "final_state": output.hidden_states[-1],
        }
        logprobs = output.logits[0, :-1].log_softmax(-1).gather(-1, torch.tensor(ids)[1:, None])[:, 0]
    return {name: states[name][0, :-1].numpy() for name in KEYS}, logprobs.numpy()


def require_same(first, second, atol=1e-4):
    assert first.keys.keys() == second.keys.keys()
    for name, keys in first.keys.items():
        np.testing.assert_allclose(keys, second.keys[name], atol=atol)
    np.testing.assert_allclose(first.logprobs, second.logprobs, atol=atol)
    assert first.tokens.tolist() == second.tokens.tolist() and first.lengths.tolist() == second.lengths.tolist()


@pytest.fixture
def no_pass(monkeypatch):
    """Function generator -> nothing; from then on a forward pass fails the test."""
    return lambda generator: monkeypatch.setattr(
        generator.model.get_decoder(), "forward", lambda *_, **__: pytest.fail("a text was read")
    )


# Values


def test_keys_and_logprobs_are_those_of_each_text_alone(generator):
    found = token_states(generator, SEQUENCES, KEYS, with_logprobs=True, key_type="float32")
    assert found.lengths.tolist() == [length - 1 for length in LENGTHS]
    starts = np.cumsum([0, *found.lengths])
    for ids, start, end in zip(SEQUENCES, starts, starts[1:], strict=False):
        expected, logprobs = by_hand(generator, ids)
        for name in KEYS:
            np.testing.assert_allclose(found.keys[name][start:end], expected[name], atol=1e-4, err_msg=name)
        np.testing.assert_allclose(found.logprobs[start:end], logprobs, atol=1e-4)
        assert found.tokens[start:end].tolist() == ids[1:]
    assert found.logprobs.std() > 0.1 and found.logprobs.dtype == np.float32
    # Four different keys, and a row is not the one before it.
    for number, name in enumerate(KEYS):
        others = [found.keys[other] for other in KEYS[:number]]
        assert all(np.abs(found.keys[name] - keys).max() > 0.1 for keys in others)
        assert np.median(np.abs(np.diff(found.keys[name], axis=0)).max(axis=1)) > 0.1


def test_the_final_state_is_what_the_output_layer_reads(generator):
    import torch

    states = token_states(generator, SEQUENCES, ("final_state",), with_logprobs=True, key_type="float32")
    hidden = torch.from_numpy(np.array(states.keys["final_state"]))
    with torch.inference_mode():
        logprobs = generation.output_layer.logits_of(generator.model, hidden).log_softmax(-1).numpy()
    expected = logprobs[np.arange(N_SCORED), states.tokens]
    np.testing.assert_allclose(states.logprobs, expected, atol=1e-4)


def test_values_do_not_depend_on_the_batches(generator, monkeypatch):
    found, sizes, decoder = [], [], generator.model.get_decoder()
    forward = decoder.forward

    def recorded(input_ids, **options):
        sizes[-1].append(len(input_ids))
        return forward(input_ids=input_ids, **options)

    monkeypatch.setattr(decoder, "forward", recorded)
    for batch_tokens in (1, 3 * (max(LENGTHS) - 1), 10**6):
        sizes.append([])
        substitute(monkeypatch, module, "BATCH_TOKENS", batch_tokens)
        found.append(uncached(token_states, generator, SEQUENCES, KEYS, True, "float32"))
    assert [batches[0] for batches in sizes] == [1, 3, 8] and [len(batches) for batches in sizes] == [8, 2, 1]
    for other in found[1:]:
        require_same(found[0], other)
    reordered = uncached(token_states, generator, SEQUENCES[::-1], KEYS, True, "float32")
    text = slice(0, LENGTHS[-1] - 1)
    np.testing.assert_allclose(reordered.logprobs[text], found[0].logprobs[-(LENGTHS[-1] - 1) :], atol=1e-4)


def test_padding_on_the_left_would_give_the_same(generator):
    """By transformers with a mask: what a text is batched with, and where it is padded, does not count."""
    import torch

    ids, mask = generation.pad(SEQUENCES, 7, "cpu", left=True)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.inference_mode():
        logits = generator.model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    chosen = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    scored = (mask[:, :-1] * mask[:, 1:]).bool()
    states = token_states(generator, SEQUENCES, (), with_logprobs=True)
    assert states.keys == {}
    np.testing.assert_allclose(states.logprobs, chosen[scored].numpy(), atol=1e-4)


def test_as_many_entries_as_scored_tokens_and_none_of_padding(generator):
    tokenizer = generator.tokenizer
    assert (tokenizer.pad_token_id == tokenizer.eos_token_id) == (architecture(generator) != "gemma3")
    states = token_states(generator, SEQUENCES, KEYS, with_logprobs=True)
    assert all(keys.shape == (N_SCORED, 32) and keys.dtype == np.float16 for keys in states.keys.values())
    assert states.tokens.shape == states.logprobs.shape == (N_SCORED,)
    assert tokenizer.pad_token_id not in states.tokens and states.lengths.sum() == N_SCORED
    # An end of text that the texts do hold is scored like any token, once each.
    ended = token_states(generator, [[*ids, tokenizer.eos_token_id] for ids in SEQUENCES], ())
    assert (ended.tokens == tokenizer.eos_token_id).sum() == len(SEQUENCES) and ended.logprobs.shape == (0,)


def test_a_later_token_changes_no_earlier_row(generator):
    changed = [[*ids[:-1], 299 - ids[-1]] for ids in SEQUENCES]
    first, second = (uncached(token_states, generator, rows, KEYS, True, "float32") for rows in (SEQUENCES, changed))
    last = np.cumsum(first.lengths) - 1
    for name in KEYS:  # the last token is read by nothing
        np.testing.assert_allclose(first.keys[name], second.keys[name], atol=1e-5)
    assert np.flatnonzero(first.tokens != second.tokens).tolist() == last.tolist()


def last_rows(states, n_last):
    """The last so many rows of each text of states."""
    ends, n_rows = np.cumsum(states.lengths), np.minimum(states.lengths, n_last)
    rows = np.concatenate([np.arange(end - n, end) for end, n in zip(ends, n_rows, strict=True)])
    keys = {name: values[rows] for name, values in states.keys.items()}
    return generation.TokenStates(keys, states.tokens[rows], n_rows, states.logprobs[rows])


N_LAST = [1, 1, 7, 99, 2, 16, 3, 22]  # of some texts more than all, of one as many


@pytest.mark.parametrize("n_last", [1, 4, 29, 1000, N_LAST], ids=str)
def test_of_the_last_tokens_alone(generator, n_last):
    """As many of each text, or a number for each: the same rows as of whole texts, in batches and by themselves."""
    whole = token_states(generator, SEQUENCES, KEYS, True, "float32")
    found = token_states(generator, SEQUENCES, KEYS, True, "float32", n_last=n_last)
    require_same(found, last_rows(whole, n_last), atol=1e-5)
    starts = np.cumsum([0, *found.lengths])
    for text, (ids, n) in enumerate(zip(SEQUENCES, np.broadcast_to(n_last, len(SEQUENCES)).tolist(), strict=True)):
        alone = token_states(generator, [ids], ("ffn_input",), True, "float32", n_last=n)
        rows = slice(starts[text], starts[text + 1])
        assert alone.tokens.tolist() == found.tokens[rows].tolist() == ids[1:][-n:]
        np.testing.assert_allclose(alone.logprobs, found.logprobs[rows], atol=1e-4)
        np.testing.assert_allclose(alone.keys["ffn_input"], found.keys["ffn_input"][rows], atol=1e-4)


def test_numbers_of_many_texts_are_not_mistaken(llama):
    """As an array, which is written in short where it is long."""
    sequences = [[checkpoints.START, 5, 6 + number % 200] for number in range(1100)]
    n_last = np.ones(len(sequences), dtype=int)
    assert len(token_states(llama, sequences, (), n_last=n_last).tokens) == 1100
    n_last[500] = 2
    states = token_states(llama, sequences, (), n_last=n_last)
    assert len(states.tokens) == 1101 and states.lengths.tolist() == n_last.tolist()


def test_compiled_layers_give_the_same(n_compiled, checkpoint):
    gemma = load(checkpoint("gemma3", layer_types=("sliding_attention",)))
    plain = uncached(token_states, gemma, SEQUENCES, KEYS, True, "float32")
    assert generation.compile_layers(gemma)
    uncached(generation.answer_logprobs, gemma, ["Answer:", "Question:"], ["Lima", "Peru"])  # compiled without hooks
    require_same(plain, uncached(token_states, gemma, SEQUENCES, KEYS, True, "float32"))
    require_same(plain, uncached(token_states, gemma, SEQUENCES, KEYS, True, "float32"))
    assert n_compiled() > 0


def test_no_hook_stays_behind(generator, monkeypatch):
    def hooks():
        return [hook for part in generator.model.modules() for hook in part._forward_pre_hooks.values()]

    before = hooks()
    for fails in (False, True):
        if fails:
            substitute(monkeypatch, module, "_as_keys", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError) if fails else contextlib.nullcontext():
            uncached(token_states, generator, SEQUENCES, KEYS)
        assert hooks() == before


# Numbers that a type does not hold


@pytest.fixture
def loud(llama):
    """A Llama whose states before the last norm are beyond 65,504."""
    import torch

    with torch.no_grad():
        llama.model.get_input_embeddings().weight.mul_(1e6)
    return dataclasses.replace(llama, sha256="loud")


def test_a_number_beyond_float16_is_refused(loud, cache_folder):
    with pytest.raises(
        InputError,
        match=r"^key 'before_ffn_norm' has a number of [\d,]+, more than float16 holds: take key_type='float32'$",
    ):
        token_states(loud, SEQUENCES, KEYS)
    assert not list(cache_folder.rglob("*.npy")), "half a result was kept"
    whole = token_states(loud, SEQUENCES, ("before_ffn_norm",), key_type="float32").keys["before_ffn_norm"]
    assert np.isfinite(whole).all() and np.abs(whole).max() > 70_000
    expected = np.concatenate([by_hand(loud, ids)[0]["before_ffn_norm"] for ids in SEQUENCES])
    np.testing.assert_allclose(whole, expected, rtol=1e-3, atol=1)
    assert np.isfinite(token_states(loud, SEQUENCES, ("ffn_input",)).keys["ffn_input"]).all()


@pytest.fixture
def wide(llama):
    """A Llama with a vocabulary of 262,144."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    return dataclasses.replace(
        llama, model=LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **sizes)).eval(), sha256="wide"
    )


def test_token_ids_survive_the_file(wide, cache_folder):
    ids = [5, 32768, 65536, 262143]
    states = token_states(wide, [[checkpoints.START, *ids], [checkpoints.START, 262143, 5]])
    (path,) = cache_folder.rglob("tokens.npy")
    stored = np.load(path)
    assert stored.tolist() == states.tokens.tolist() == [*ids, 262143, 5] and stored.dtype == TOKEN_TYPE
    for narrow in (np.int16, np.uint16):  # as others have stored them
        assert (np.array(ids).astype(narrow) != ids).any()


@pytest.mark.parametrize(("kind", "most"), [(np.int16, 32768), (np.uint16, 65536), (np.int8, 128)])
def test_a_type_that_cannot_name_every_token_is_refused(kind, most):
    require_token_type(most, kind)
    for n_vocabulary in (most + 1, VOCABULARY):
        with pytest.raises(
            InputError,
            match=f"{kind.__name__} ends at {most - 1}, the vocabulary at {n_vocabulary - 1}: take a wider one",
        ):
            require_token_type(n_vocabulary, kind)
    for wide_enough in (TOKEN_TYPE, np.int32, np.uint32, np.int64):
        require_token_type(VOCABULARY, wide_enough)


# What is kept


def test_states_are_memory_mapped_and_kept_by_content(generator, no_pass, cache_folder):
    found = token_states(generator, SEQUENCES, ("ffn_input", "final_state"), with_logprobs=True)
    for name, keys in found.keys.items():
        assert isinstance(keys, np.memmap) and not keys.flags.writeable
        (path,) = cache_folder.rglob(f"{name}.npy")
        assert path == keys.filename
    others = [
        lambda: token_states(generator, SEQUENCES, ("final_state", "ffn_input"), with_logprobs=True),
        lambda: token_states(generator, SEQUENCES, ("ffn_input", "final_state")),
        lambda: token_states(generator, SEQUENCES, ("ffn_input", "final_state"), True, "float32"),
        lambda: token_states(generator, SEQUENCES, ("ffn_input", "final_state"), True, n_last=N_LAST),
        lambda: token_states(generator, SEQUENCES[:-1], ("ffn_input", "final_state"), with_logprobs=True),
        lambda: token_states(generator, SEQUENCES[::-1], ("ffn_input", "final_state"), with_logprobs=True),
        lambda: token_states(
            dataclasses.replace(generator, sha256="other"), SEQUENCES, ("ffn_input", "final_state"), with_logprobs=True
        ),
    ]
    no_pass(generator)
    again = token_states(dataclasses.replace(generator, name="other"), SEQUENCES, ("ffn_input", "final_state"), True)
    require_same(found, again, atol=0)
    for other in others:
        with pytest.raises(pytest.fail.Exception, match="a text was read"):
            other()


DAMAGES = {
    "half a file": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "an empty file": lambda path: path.write_bytes(b""),
    "no file": lambda path: path.unlink(),
    "another file": lambda path: path.write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_again(llama, cache_folder, no_pass, damage):
    expected = uncached(token_states, llama, SEQUENCES, ("ffn_input",), True)
    for name in ("ffn_input", "tokens", "logprobs"):
        token_states(llama, SEQUENCES, ("ffn_input",), True)
        (path,) = cache_folder.rglob(f"{name}.npy")
        DAMAGES[damage](path)
        require_same(expected, token_states(llama, SEQUENCES, ("ffn_input",), True))
        assert len([*cache_folder.rglob("*.npy")]) == 3
    no_pass(llama)
    require_same(expected, token_states(llama, SEQUENCES, ("ffn_input",), True))


def test_without_the_cache_nothing_is_left(llama, cache_folder):
    found = uncached(token_states, llama, SEQUENCES, KEYS, True)
    assert not cache_folder.exists()
    require_same(found, token_states(llama, SEQUENCES, KEYS, True))
    assert all(isinstance(keys, np.memmap) for keys in found.keys.values())


# Windows


def plain_windows(generator, text, n_tokens):
    ids, windows = generator.tokenizer(text, add_special_tokens=False)["input_ids"], []
    while len(ids) >= n_tokens:
        windows.append(ids[:n_tokens])
        ids = ids[n_tokens:]
    return windows


def first_token(generator):
    """GPT-2 begins a text with the end of the one before."""
    return checkpoints.END if architecture(generator) == "gpt2" else checkpoints.START


@pytest.mark.parametrize("n_tokens", [1, 8, 13])
def test_windows_are_cut_from_the_beginning(generator, n_tokens):
    texts = {"all": TEXT, "Chad": checkpoints.SENTENCES[0]}
    found = token_windows(generator, texts, n_tokens)
    expected = {name: plain_windows(generator, text, n_tokens) for name, text in texts.items()}
    assert len(expected["all"]) > len(expected["Chad"]) > 1
    assert found == [
        Window(f"{name} {number}", name, (first_token(generator), *ids))
        for name, windows in expected.items()
        for number, ids in enumerate(windows, start=1)
    ]
    assert len({window.id for window in found}) == len(found)
    assert (generator.tokenizer.bos_token_id is None) == (architecture(generator) == "gpt2")
    states = token_states(generator, [window.token_ids for window in found], ())
    assert {*states.lengths.tolist()} == {n_tokens} and first_token(generator) not in states.tokens


def test_windows_are_drawn_by_the_seed(llama):
    texts = {"a": TEXT, "b": TEXT, "c": checkpoints.SENTENCES[0]}

    def numbers(seed=0, n_windows=5, names="abc"):
        """{name: numbers of its windows}, in the order in which they stand."""
        drawn = token_windows(llama, {name: texts[name] for name in names}, 8, n_windows, seed)
        assert all(window in whole for window in drawn)
        return {name: [int(window.id.split()[1]) for window in drawn if window.subject == name] for name in names}

    whole = token_windows(llama, texts, 8)
    drawn = numbers()
    assert {name: len(rows) for name, rows in drawn.items()} == {"a": 5, "b": 5, "c": 5}
    assert all(rows == sorted({*rows}) for rows in drawn.values())
    assert drawn == numbers() != numbers(seed=1)
    assert drawn["a"] != drawn["b"]  # each text draws for itself,
    assert numbers(names="cb") == {name: drawn[name] for name in "cb"}  # whatever stands beside it,
    assert all({*drawn[name]} < {*rows} for name, rows in numbers(n_windows=7, names="ab").items())  # and more of it
    assert token_windows(llama, texts, 8, n_windows=1000, seed=3) == whole
    some = [numbers(seed, 1, "a")["a"][0] for seed in range(200)]
    assert {*some} == {*range(1, len([window for window in whole if window.subject == "a"]) + 1)}


def test_a_text_that_is_too_short_has_no_windows(generator):
    ids = plain_windows(generator, "Peru", 1)
    texts = {"empty": "", "Peru": "Peru", "all": TEXT}
    assert {window.subject for window in token_windows(generator, texts, len(ids) + 1)} == {"all"}
    assert [window.subject for window in token_windows(generator, texts, len(ids))].count("Peru") == 1


@pytest.mark.parametrize(
    ("texts", "n_tokens", "message"),
    [
        ({"a": "", "b": "Peru"}, 50, "^none of 2 texts has 50 tokens: take shorter windows or longer texts$"),
        ({}, 1, "^none of 0 texts has 1 tokens"),
        ({"a": TEXT}, 0, "^n_tokens = 0, n_windows = None: give at least 1$"),
        ({"a": TEXT}, -3, "^n_tokens = -3, n_windows = None: give at least 1$"),
        ({"a": TEXT * 9}, POSITIONS + 1, r"takes 257 tokens, .* has 256"),
    ],
)
def test_what_gives_no_windows_is_refused(generator, texts, n_tokens, message):
    with pytest.raises(InputError, match=message):
        token_windows(generator, texts, n_tokens)


def test_windows_as_long_as_the_model_has_positions_are_read(generator):
    windows = token_windows(generator, {"all": TEXT * 3}, POSITIONS)
    (ids, *_) = [window.token_ids for window in windows]
    assert {len(window.token_ids) for window in windows} == {POSITIONS + 1}
    states = token_states(generator, [ids], ("final_state",), True, "float32")
    expected, logprobs = by_hand(generator, ids[:-1])
    np.testing.assert_allclose(states.logprobs[:-1], logprobs, atol=1e-3)
    np.testing.assert_allclose(states.keys["final_state"][:-1], expected["final_state"], atol=1e-3)


# What is refused


def test_sequence_to_sequence_models_are_refused(checkpoint):
    bart = load(checkpoint("bart"))
    for refused in (lambda: token_states(bart, SEQUENCES), lambda: token_windows(bart, {"a": TEXT}, 8)):
        with pytest.raises(InputError, match="has an encoder: kNN-LM is for decoder-only models"):
            refused()


AS_MANY = rf"give at least 1, one number or as many as sequences \({len(SEQUENCES)}\)"


@pytest.mark.parametrize(
    ("sequences", "options", "message"),
    [
        (SEQUENCES, {"keys": ("ffn_input", "ffn")}, "^key 'ffn' is unknown: use ffn_input, before_ffn_norm, "),
        (SEQUENCES, {"key_type": "bfloat16"}, "^key type 'bfloat16' is unknown: use float16 or float32"),
        ([], {}, "at least one text, and of each at least two tokens"),
        ([*SEQUENCES, [checkpoints.START]], {}, "at least one text, and of each at least two tokens"),
        ([*SEQUENCES, []], {}, "at least one text, and of each at least two tokens"),
        ([[checkpoints.START] * (POSITIONS + 2)], {}, "takes 257 tokens, .* has 256"),
        (SEQUENCES, {"n_last": 0}, f"^n_last = 0: {AS_MANY}$"),
        (SEQUENCES, {"n_last": -1}, f"^n_last = -1: {AS_MANY}$"),
        (SEQUENCES, {"n_last": [3, 0, *N_LAST[2:]]}, rf"^n_last = \[3, 0, 7, .*\]: {AS_MANY}$"),
        (SEQUENCES, {"n_last": N_LAST[1:]}, rf"^n_last = \[1, 7, .*\]: {AS_MANY}$"),
        (SEQUENCES, {"n_last": [*N_LAST, 1]}, f": {AS_MANY}$"),
        (SEQUENCES, {"n_last": [3]}, f": {AS_MANY}$"),
        (SEQUENCES, {"n_last": []}, f": {AS_MANY}$"),
    ],
)
def test_bad_arguments_are_told_before_any_work(generator, no_pass, cache_folder, sequences, options, message):
    no_pass(generator)
    with pytest.raises(InputError, match=message):
        token_states(generator, sequences, **options)
    assert not cache_folder.exists()


def test_a_narrow_token_type_is_told_before_any_work(wide, no_pass):
    no_pass(wide)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(require_token_type, "__defaults__", (np.uint16,))
        with pytest.raises(InputError, match="uint16 ends at 65535, the vocabulary at 262143"):
            token_states(wide, SEQUENCES)


def test_a_layer_of_another_make_is_told_before_any_work(llama, no_pass):
    """OPT's last layer has no module of its own for the feed-forward network; its final state is there all the same."""
    import torch
    from transformers import OPTConfig, OPTForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = OPTConfig(vocab_size=320, word_embed_proj_dim=32, max_position_embeddings=64, pad_token_id=1, **sizes)
    opt = dataclasses.replace(llama, model=OPTForCausalLM(config).eval(), sha256="opt")
    states = token_states(opt, SEQUENCES, ("final_state",), with_logprobs=True)
    with torch.inference_mode():
        logprobs = [opt.model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1) for ids in SEQUENCES]
    rows = [values[range(len(ids) - 1), ids[1:]] for values, ids in zip(logprobs, SEQUENCES, strict=True)]
    np.testing.assert_allclose(states.logprobs, torch.cat(rows).numpy(), atol=1e-4)
    no_pass(opt)
    for key in ("ffn_input", "before_ffn_norm"):
        with pytest.raises(InputError, match=r"its last layer has no .*, take the key 'final_state'"):
            token_states(opt, SEQUENCES, (key,))
