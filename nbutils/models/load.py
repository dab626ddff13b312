"""Encoders and generators by name: embedded ones, a local folder, or a hub id; checksums, dtype, device, 4-bit."""

from pathlib import Path

from nbutils.errors import InputError
from nbutils.files import sha256_file, sha256_text
from nbutils.models.checkpoint_files import first_line, read_json, settings_sha256
from nbutils.models.embedded import (
    EMBEDDED_SHA256,
    GEMMA,
    GEMMA_SHA256,
    MINILM,
    MINILM_SHA256,
    gemma_folder,
    minilm_folder,
)
from nbutils.models.encoder import Encoder, SparseEncoder
from nbutils.models.generator import Generator
from nbutils.models.optional import OPTIONAL, optional_folder
from nbutils.models.runtime import feed_head_in_one_piece, pick_device, pick_dtype, quiet_transformers
from nbutils.models.sentence_folder import SentenceSettings, read_sentence_settings, read_splade_limit
from nbutils.models.tokenizer import length_limit, load_tokenizer, lower_case, remove_ending
from nbutils.models.weights import (
    ENCODER_HALVES,
    load_weights,
    require_whole_encoder,
    require_whole_generator,
    try_encoder,
    try_generator,
)

MINILM_MAX_LENGTH = 128  # tokens
DPR_ENCODERS, DPR_MAX_LENGTH = ("DPRQuestionEncoder", "DPRContextEncoder"), 256  # tokens


def load_encoder(name: str, max_length: int | None = None) -> Encoder:
    """The encoder called `name`: `minilm`, an optional one that was fetched, a local folder, or a hub id
    (`owner/model`, `owner/model@revision`).

    Pooling, scale, prompts and length limit are what the checkpoint says (the files of sentence-transformers, or DPR's
    own output); mean pooling without normalization where it says nothing, which is Contriever's convention. DPR's
    passage encoder reads title and text as a pair, "title [SEP] text". T5 is loaded without its decoder.
    `max_length` in tokens; left out, that of sentence_bert_config.json, or else of the tokenizer, but no more than the
    model has positions. Two are pinned instead: 256 for DPR's encoders, as they were trained; and 128 for `minilm`,
    whose file says 256: it was trained on 128, the Factbook's passages are cut to fit, and every record was made so.
    Raises InputError for whatever a checkpoint says that is not known here, for weights that it lacks, and for a model
    that makes no vectors.
    """
    import transformers

    folder, sha256 = _checkpoint(name)
    config = read_json(folder / "config.json")
    architecture = (config.get("architectures") or [""])[0]
    is_dpr = architecture in DPR_ENCODERS
    settings = _dpr_settings(folder) if is_dpr else read_sentence_settings(folder)
    half = ENCODER_HALVES.get(config.get("model_type"))
    loader = getattr(transformers, architecture if is_dpr else half or "AutoModel")
    device = pick_device()
    model, missing, unused = load_weights(loader, folder, device, pick_dtype(device))
    require_whole_encoder(name, model, missing, unused)
    tokenizer = load_tokenizer(folder)
    tokenizer.padding_side = "right"  # the first token is a text's own
    if settings.lower_case:
        lower_case(tokenizer)
    separator = f" {tokenizer.sep_token} " if architecture == "DPRContextEncoder" else Encoder.title_separator
    if name == MINILM and max_length is None:
        max_length = MINILM_MAX_LENGTH
    encoder = Encoder(
        name,
        sha256,
        model,
        tokenizer,
        pooling=settings.pooling,
        normalize=settings.normalize,
        max_length=length_limit(name, model, tokenizer, settings.max_length, max_length),
        title_separator=separator,
        query_prompt=settings.query_prompt,
        passage_prompt=settings.passage_prompt,
        settings_sha256=settings_sha256(folder),
    )
    try_encoder(encoder)
    return encoder


def _dpr_settings(folder: Path) -> SentenceSettings:
    if (folder / "modules.json").is_file():
        raise InputError(f"{folder.name}: modules.json beside one of DPR's own encoders is not supported: remove one")
    return SentenceSettings("pooler", max_length=DPR_MAX_LENGTH)


def load_sparse_encoder(name: str, max_length: int | None = None) -> SparseEncoder:
    """The SPLADE model called `name`: an optional one that was fetched, a local folder, or a hub id.

    That is a masked language model, its head over words included; the files of sentence-transformers beside it are
    read where there are any. `max_length` in tokens; left out, as of `load_encoder`.
    Raises InputError for a checkpoint without such a head, and for pooling that is not SPLADE's maximum.
    """
    import transformers

    folder, sha256 = _checkpoint(name)
    stated = read_splade_limit(folder)
    device = pick_device()
    model, missing, unused = load_weights(transformers.AutoModelForMaskedLM, folder, device, pick_dtype(device))
    require_whole_encoder(name, model, missing, unused)
    tokenizer = load_tokenizer(folder)
    tokenizer.padding_side = "right"
    limit = length_limit(name, model, tokenizer, stated, max_length)
    return SparseEncoder(name, sha256, model, tokenizer, limit, settings_sha256=settings_sha256(folder))


def load_generator(name: str, quantize: str | None = None) -> Generator:
    """The language model called `name`: `gemma-3-270m`, an optional one that was fetched, a local folder, or a hub id.

    Decoder-only or seq2seq. `quantize="nf4"` loads the weights in 4 bits through bitsandbytes, on a CPU too. A
    decoder-only model's tokenizer adds nothing after a prompt, whatever it was told for training; where it has a chat
    template, prompts and answers are turns of a chat.
    Raises InputError for weights that the checkpoint lacks or has no place for, and for a model that reads no prompt.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    if quantize not in (None, "nf4"):
        raise InputError(f"quantize={quantize!r} is unknown: use 'nf4' or leave it out")
    folder, sha256 = _checkpoint(name)
    config = read_json(folder / "config.json")
    seq2seq = _is_seq2seq(folder)
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
    model, missing, unused = load_weights(loader, folder, device, dtype, four_bit)
    require_whole_generator(name, model, config, missing, unused)
    if model.get_output_embeddings() is None:
        raise InputError(f"{name}: {type(model).__name__} has no output layer over words: name a language model")
    feed_head_in_one_piece(model)
    if seq2seq:
        _require_decoder_start(name, model)
    # A checkpoint's own habits (bart-large: beams, no repeated trigram) would turn "greedy" into something else.
    names = ("bos", "eos", "pad", "decoder_start", "forced_bos", "forced_eos")  # these belong to its format
    kept = {f"{token}_token_id": getattr(model.generation_config, f"{token}_token_id") for token in names}
    model.generation_config = transformers.GenerationConfig(**kept)
    tokenizer = load_tokenizer(folder)
    if tokenizer.eos_token_id is None:
        raise InputError(f"{name}: its tokenizer names no token that ends a text (eos_token): name it in its files")
    if not seq2seq:
        remove_ending(tokenizer, name)
    chat = not seq2seq and bool(tokenizer.chat_template)
    generator = Generator(name, sha256, model, tokenizer, seq2seq, settings_sha256(folder), chat)
    try_generator(generator)
    return generator


def _is_seq2seq(folder: Path) -> bool:
    """As its kind of model is by default, where config.json does not say."""
    from transformers import AutoConfig

    try:
        with quiet_transformers():
            return bool(AutoConfig.from_pretrained(folder, trust_remote_code=False).is_encoder_decoder)
    except Exception as error:  # a kind of model that this version does not know, or values that it does not take
        why = first_line(error)
        raise InputError(f"{folder.name}/config.json cannot be used ({why}): name another checkpoint") from error


def _require_decoder_start(name: str, model) -> None:
    """The token that a decoder begins with, in both places where it is looked for."""
    key = "decoder_start_token_id"
    named = {getattr(config, key, None) for config in (model.config, model.generation_config)} - {None}
    if len(named) != 1:
        what = "name no" if not named else "disagree about"
        raise InputError(f"{name}: its config files {what} {key}: set it in config.json (T5's is that of the padding)")
    (token,) = named
    setattr(model.config, key, token)
    setattr(model.generation_config, key, token)


def checkpoint_folder(name: str) -> Path:
    """The folder that `name` stands for, as other libraries want it; verified, downloaded or converted if need be."""
    return _checkpoint(name)[0]


def _checkpoint(name: str) -> tuple[Path, str]:
    """Folder of a checkpoint and the sha256 of its weights, verified for the embedded ones."""
    if name == MINILM:
        return minilm_folder(), MINILM_SHA256
    if name == GEMMA:
        return gemma_folder(), GEMMA_SHA256
    if name in OPTIONAL:
        return optional_folder(name), OPTIONAL[name].sha256
    folder = Path(name) if Path(name).is_dir() else _download(name)
    adapters = [path.name for pattern in ("adapter_config.json", "adapter_model.*") for path in folder.glob(pattern)]
    if adapters:
        where = "beside a whole model" if (folder / "config.json").is_file() else "a PEFT adapter and no model"
        raise InputError(
            f"{name}: {adapters[0]} is in it, {where}: merge the adapter (peft's merge_and_unload), save the model "
            "with save_pretrained and name that folder; or remove what is left over"
        )
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
    """Folder of a hub checkpoint in the hub's own cache; only text and safetensors are fetched, never code.

    A chat template (*.jinja) is text that transformers fills in, in a sandbox.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=["*.json", "*.txt", "*.model", "*.jinja", "*.safetensors"],
            )
        )
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"model {name!r} is not embedded ({', '.join(EMBEDDED_SHA256)}), not optional ({', '.join(OPTIONAL)}), not "
            f"a folder, and the hub did not give it "
            f"({type(error).__name__}): check the spelling and the connection, or download it and pass the folder"
        ) from error
