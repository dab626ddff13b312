"""Weights from a checkpoint's folder: all of them there, all of them used, and the model tried once."""

import re
import sys
from pathlib import Path

from nbutils.errors import InputError
from nbutils.models.chat import ask_in_turns, turn_end
from nbutils.models.checkpoint_files import first_line
from nbutils.models.encoder import Encoder, embedding_dim
from nbutils.models.encoding import embed
from nbutils.models.generator import Generator
from nbutils.models.runtime import prepare, quiet_transformers

POOLER = re.compile(r"(^|\.)pooler\.")  # BERT's layer above the first token, which no encoder here uses
# Constants that old checkpoints hold and newer models compute
BUFFERS = re.compile(r"(^|\.)(position_ids|inv_freq|masked_bias|att(entio)?n\.bias)$")
ADAPTERS = re.compile(r"(^|[._])(lora|adapter|adapters|base_layer|modules_to_save)([._]|$)", re.IGNORECASE)
LONG_TEXT = 512  # tokens
# transformers' encoder alone, of models that would want a decoder's input too
ENCODER_HALVES = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "longt5": "LongT5EncoderModel",
    "switch_transformers": "SwitchTransformersEncoderModel",
}


def load_weights(loader, folder: Path, device: str, dtype, quantization_config=None):
    """The checkpoint in `folder`, in evaluation mode (dropout off), on `device`; its missing and its unused weights.

    These two are lists of names. What is missing transformers has drawn at random, without a word: refuse it.
    Raises InputError for a folder that it cannot load.
    """
    prepare(device)
    options = {} if quantization_config is None else {"quantization_config": quantization_config}
    try:
        with quiet_transformers():
            model, report = loader.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **options,
            )
    except Exception as error:  # transformers refuses what it does not know in every way there is
        remedy = "download or convert it again"
        if sys.flags.optimize > 1:
            remedy = "run Python without -OO (PYTHONOPTIMIZE=2), which takes away docstrings that transformers reads"
        raise InputError(f"{folder.name} cannot be loaded ({first_line(error)}): {remedy}") from error
    constants = {name for name, _ in model.named_buffers()}  # computed, not drawn
    missing = sorted({*report["missing_keys"]} - constants)
    unused = sorted(name for name in report["unexpected_keys"] if not BUFFERS.search(name))
    if quantization_config is None:
        model = model.to(device)
    return model.eval(), missing, unused


def require_whole_encoder(name: str, model, missing: list[str], unused: list[str]) -> None:
    """InputError for an encoder without some of its weights, or with more of them than its config says.

    A head that stands above the encoder is no part of it; nor is BERT's pooler.
    """
    _refuse_missing(name, [weight for weight in missing if not POOLER.search(weight)])
    prefix = f"{model.base_model_prefix}."
    parts = {part for part, _ in model.named_children()}

    def is_inside(weight: str) -> bool:
        return any(path.partition(".")[0] in parts for path in (weight, weight.removeprefix(prefix)))

    unused = [weight for weight in unused if not POOLER.search(weight)]
    _refuse_unused(name, [weight for weight in unused if is_inside(weight) or ADAPTERS.search(weight)])


def require_whole_generator(name: str, model, config: dict, missing: list[str], unused: list[str]) -> None:
    """InputError for a language model without some of its weights, or with others: a score, an adapter, more layers.

    `config` is what config.json holds: transformers ties every T5's head to its embeddings where the checkpoint has
    none, the untied ones' too (T5 1.1, Flan).
    """
    _refuse_missing(name, missing)
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    if config.get("tie_word_embeddings") is False and head is not None and head.weight is embeddings.weight:
        _refuse_missing(name, ["lm_head.weight"])
    _refuse_unused(name, unused)


def _refuse_missing(name: str, weights: list[str]) -> None:
    if weights:
        raise InputError(
            f"{name}: {_some(weights)} not in the checkpoint, and would be drawn at random: "
            "name a checkpoint that was saved whole, for this use"
        )


def _refuse_unused(name: str, weights: list[str]) -> None:
    if weights:
        raise InputError(
            f"{name}: {_some(weights)} in the checkpoint, and its model has no place for it: "
            "name a checkpoint that was saved for this use, adapters merged"
        )


def _some(weights: list[str]) -> str:
    others = f" and {len(weights) - 1} more weights are" if len(weights) > 1 else " is"
    return weights[0] + others


def try_encoder(encoder: Encoder) -> None:
    """InputError where the model makes no vectors of two short texts and a long one; better here than after long work.

    The long one is as long as the encoder's limit, but no longer than `LONG_TEXT`.
    """
    import torch

    n_long = min(encoder.max_length, LONG_TEXT)
    try:
        tokens = encoder.tokenizer(["a", "some words more", "a " * n_long], truncation=True, max_length=n_long)
        token_ids = tokens["input_ids"]
        with torch.inference_mode():
            vectors = embed(encoder, token_ids)
        width, is_finite = vectors.shape[1], bool(vectors.isfinite().all())
        claimed = embedding_dim(encoder)
    except Exception as error:  # every architecture fails in its own way
        raise InputError(f"{encoder.name} makes no vectors of texts ({first_line(error)}): name an encoder") from error
    if any(any(row) for row in tokens.get("token_type_ids", [])):
        raise InputError(f"{encoder.name}: its tokenizer numbers the parts of a text, which is not supported")
    if not is_finite:
        raise InputError(f"{encoder.name} makes vectors of numbers that are none (NaN): download it again")
    if width != claimed:
        raise InputError(f"{encoder.name} makes vectors of {width} numbers, its config says {claimed}")


def try_generator(generator: Generator) -> None:
    """InputError where the model reads no prompt and writes no two words; better here than after long work."""
    import torch

    model = generator.model
    if generator.chat:
        _try_template(generator)
    try:
        inputs = torch.tensor([generator.tokenizer("some words")["input_ids"]], device=model.device)
        with torch.inference_mode(), quiet_transformers():
            written = model.generate(
                input_ids=inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=2, do_sample=False,
                output_logits=True, return_dict_in_generate=True, pad_token_id=generator.tokenizer.pad_token_id,
            )  # fmt: skip
        is_finite = bool(written.logits[0].isfinite().all())
    except Exception as error:  # every architecture fails in its own way
        raise InputError(f"{generator.name} reads no prompt ({first_line(error)}): name another model") from error
    if not is_finite:
        raise InputError(f"{generator.name} gives words probabilities that are none (NaN): download it again")


def _try_template(generator: Generator) -> None:
    try:
        ask_in_turns(generator.tokenizer, [("some words", "more")], "others")
        turn_end(generator.tokenizer)
    except Exception as error:  # templates refuse what they do not foresee in their own words
        raise InputError(
            f"{generator.name}: its chat template takes no questions ({first_line(error)}): mend it, or remove it to "
            "have the model read plain text"
        ) from error
