"""Encoders and generators by name: embedded ones, a local folder, or a hub id; checksums, dtype, device, 4-bit."""

import json
from pathlib import Path
from typing import Any

from nbutils.errors import InputError
from nbutils.files import sha256_file, sha256_text
from nbutils.models.embedded import (
    EMBEDDED_SHA256,
    GEMMA,
    GEMMA_SHA256,
    MINILM,
    MINILM_SHA256,
    gemma_folder,
    minilm_folder,
)
from nbutils.models.encoder import Encoder
from nbutils.models.generator import Generator
from nbutils.models.runtime import feed_head_in_one_piece, pick_device, pick_dtype, prepare, quiet_transformers


def load_encoder(name: str, max_length: int | None = None) -> Encoder:
    """The encoder called `name`: `minilm`, a local folder, or a hub id (`owner/model`, `owner/model@revision`).

    Pooling is what the checkpoint says (`modules.json` of sentence-transformers, or DPR's own output); mean pooling
    without normalization where it says nothing, which is Contriever's convention. DPR's passage encoder reads title
    and text as a pair, "title [SEP] text".
    `max_length` in tokens; left out, DPR's own 256 for its two encoders and 128 for the others.
    """
    import transformers

    folder, sha256 = _checkpoint(name)
    architecture = _architecture(folder)
    is_dpr = architecture.startswith("DPR")
    loader = getattr(transformers, architecture) if is_dpr else transformers.AutoModel
    device = pick_device()
    model = _load_model(loader, folder, device, pick_dtype(device))
    pooling, normalize = _pooling(folder, architecture)
    tokenizer = _with_padding(_load_tokenizer(folder))
    separator = f" {tokenizer.sep_token} " if architecture == "DPRContextEncoder" else Encoder.title_separator
    max_length = max_length or (256 if is_dpr else 128)
    return Encoder(name, sha256, model, tokenizer, pooling, normalize, max_length, separator)


def load_generator(name: str, quantize: str | None = None) -> Generator:
    """The language model called `name`: `gemma-3-270m`, a local folder, or a hub id; decoder-only or seq2seq.

    `quantize="nf4"` loads the weights in 4 bits through bitsandbytes, on a CPU too.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    if quantize not in (None, "nf4"):
        raise InputError(f"quantize={quantize!r} is unknown: use 'nf4' or leave it out")
    folder, sha256 = _checkpoint(name)
    config = _read_json(folder / "config.json")
    seq2seq = config.get("is_encoder_decoder", False)
    if not seq2seq and config.get("model_type") in MODEL_FOR_MASKED_LM_MAPPING_NAMES:  # some load as decoders too
        raise InputError(f"{name} is of the kind {config['model_type']}, an encoder: name a language model")
    loader = transformers.AutoModelForSeq2SeqLM if seq2seq else transformers.AutoModelForCausalLM
    device = pick_device()
    dtype = pick_dtype(device)
    four_bit = None
    if quantize == "nf4":
        four_bit = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    model = _load_model(loader, folder, device, dtype, four_bit)
    feed_head_in_one_piece(model)
    # A checkpoint's own habits (bart-large: beams, no repeated trigram) would turn "greedy" into something else.
    names = ("bos", "eos", "pad", "decoder_start", "forced_bos", "forced_eos")  # these belong to its format
    kept = {f"{name}_token_id": getattr(model.generation_config, f"{name}_token_id") for name in names}
    model.generation_config = transformers.GenerationConfig(**kept)
    tokenizer = _with_padding(_load_tokenizer(folder))
    if tokenizer.eos_token_id is None:
        raise InputError(f"{name}: its tokenizer names no token that ends a text (eos_token): name it in its files")
    return Generator(name, sha256, model, tokenizer, seq2seq)


def checkpoint_folder(name: str) -> Path:
    """The folder that `name` stands for, as other libraries want it; verified, downloaded or converted if need be."""
    return _checkpoint(name)[0]


def _checkpoint(name: str) -> tuple[Path, str]:
    """Folder of a checkpoint and the sha256 of its weights, verified for the embedded ones."""
    if name == MINILM:
        return minilm_folder(), MINILM_SHA256
    if name == GEMMA:
        return gemma_folder(), GEMMA_SHA256
    folder = Path(name) if Path(name).is_dir() else _download(name)
    weights = sorted(folder.glob("*.safetensors"))
    if not (folder / "config.json").is_file():
        raise InputError(f"{name}: no config.json in it; name the folder or the hub id of a transformers checkpoint")
    if not weights:
        raise InputError(f"{name}: no *.safetensors in it, and pickled weights are never loaded; {_way_out(name)}")
    return folder, sha256_text(*map(sha256_file, weights)) if len(weights) > 1 else sha256_file(weights[0])


def _way_out(name: str) -> str:
    """What to do about a checkpoint without safetensors.

    The hub has no fixed revision for converted weights: its bot opens a pull request against the repository, which
    can be downloaded as `refs/pr/N` whether or not it is ever merged.
    """
    if Path(name).is_dir():
        return "convert them with transformers' save_pretrained, on a machine where you trust them"
    repository = name.partition("@")[0]
    return (
        f"under Community on its hub page, look for the pull request 'Adding `safetensors` variant of this model' by "
        f"SFconvertbot and give its number: {repository}@refs/pr/N"
    )


def _download(name: str) -> Path:
    """Folder of a hub checkpoint in the hub's own cache; only text and safetensors are fetched, never code."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors"],
            )
        )
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"model {name!r} is not embedded ({', '.join(EMBEDDED_SHA256)}), not a folder, and the hub did not give it "
            f"({type(error).__name__}): check the spelling and the connection, or download it and pass the folder"
        ) from error


def _architecture(folder: Path) -> str:
    return (_read_json(folder / "config.json").get("architectures") or [""])[0]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path.parent.name}/{path.name} is damaged ({error}): download it again") from error


def _pooling(folder: Path, architecture: str) -> tuple[str, bool]:
    if architecture.startswith("DPR"):
        return "pooler", False
    modules = folder / "modules.json"
    if not modules.is_file():
        return "mean", False
    kinds = {module["type"].rsplit(".", 1)[-1]: module["path"] for module in _read_json(modules)}
    pooling = _read_json(folder / kinds["Pooling"] / "config.json") if "Pooling" in kinds else {}
    unsupported = [key for key, on in pooling.items() if key.startswith("pooling_mode") and on is True]
    unsupported = [key for key in unsupported if key not in ("pooling_mode_mean_tokens", "pooling_mode_cls_token")]
    if unsupported or "Dense" in kinds:
        raise InputError(f"{folder.name}: pooling {unsupported or ['Dense']} is not supported, only mean and cls are")
    return "cls" if pooling.get("pooling_mode_cls_token") else "mean", "Normalize" in kinds


def _load_tokenizer(folder: Path):
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise InputError(f"{folder.name}: its tokenizer cannot be loaded ({first_line}): download it again") from error


def _with_padding(tokenizer):
    """The tokenizer with a padding token: Llama and GPT-2 ship none, and padding is masked wherever it is used."""
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _load_model(loader, folder: Path, device: str, dtype, quantization_config=None):
    """The checkpoint in `folder`, in evaluation mode (dropout off), on `device`."""
    from safetensors import SafetensorError

    prepare(device)
    options = {} if quantization_config is None else {"quantization_config": quantization_config}
    try:
        with quiet_transformers():
            model = loader.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, **options
            )
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise InputError(f"{folder.name} cannot be loaded ({first_line}): download or convert it again") from error
    if quantization_config is None:
        model = model.to(device)
    return model.eval()
