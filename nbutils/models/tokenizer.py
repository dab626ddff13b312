"""Tokenizers as the models here want them: padding, no end after a prompt, lower case, how long a text may be."""

import json
from pathlib import Path

from nbutils.errors import InputError
from nbutils.models.checkpoint_files import first_line

UNLIMITED = 1_000_000  # tokens; transformers writes 1e30 where a tokenizer has no limit
DEFAULT_MAX_LENGTH = 512  # tokens, of an encoder for which neither its files nor its positions set a limit


def load_tokenizer(folder: Path):
    """The tokenizer in `folder`, with a padding token: Llama and GPT-2 ship none, and padding is masked everywhere."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # whatever the libraries make of a damaged file
        why = first_line(error)
        raise InputError(f"{folder.name}: its tokenizer cannot be loaded ({why}): download it again") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def remove_ending(tokenizer, name: str) -> None:
    """Have a decoder-only model's tokenizer add nothing after a text, as it was told to for training.

    A prompt that ends in `</s>` asks for the answer after the end. Raises InputError where the ending stays.
    """
    ids, text = tokenizer("a")["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
    kept = list(ids)
    while kept and kept[-len(text) :] != text and kept[-1] in tokenizer.all_special_ids:  # a text may be <unk> itself
        kept.pop()
    if kept == ids:
        return
    if tokenizer.is_fast:
        _cut_template(tokenizer.backend_tokenizer)
    if tokenizer("a")["input_ids"] != kept:
        ending = tokenizer.convert_ids_to_tokens(ids[-1])
        raise InputError(f"{name}: its tokenizer adds {ending} after a text: save it with add_eos_token=False")


def _cut_template(backend) -> None:
    """Leave out the special tokens that stand at the end of what the tokenizer makes of a text."""
    from tokenizers import processors

    found = json.loads(backend.to_str())["post_processor"]
    found = found["processors"] if found["type"] == "Sequence" else [found]
    templates = [processor for processor in found if processor["type"] == "TemplateProcessing"]
    if len(templates) != 1:
        return
    pieces = {}
    for form in ("single", "pair"):
        pieces[form] = list(templates[0][form])
        while "SpecialToken" in pieces[form][-1]:
            pieces[form].pop()
    special = templates[0]["special_tokens"]
    backend.post_processor = processors.TemplateProcessing(
        **{form: [_piece(piece) for piece in of_form] for form, of_form in pieces.items()},
        special_tokens=[
            (token, ids) for entry in special.values() for token, ids in zip(entry["tokens"], entry["ids"], strict=True)
        ],
    )


def _piece(piece: dict) -> str:
    (kind, content), *_ = piece.items()
    return f"{'' if kind == 'SpecialToken' else '$'}{content['id']}:{content['type_id']}"


def lower_case(tokenizer) -> None:
    """Have the tokenizer put texts into lower case first."""
    from tokenizers import normalizers

    backend = tokenizer.backend_tokenizer
    before = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *before])


def length_limit(name: str, model, tokenizer, stated: int | None, wanted: int | None) -> int:
    """How many tokens of a text the encoder called `name` reads, special ones included.

    That is `wanted`, or else what is `stated` beside the checkpoint, or else its tokenizer's limit; the last two are
    lowered to the positions of the model. Raises InputError for a limit above these or without room for a text.
    """
    positions = _positions(model)
    if wanted is not None:
        limit = wanted
        if positions is not None and wanted > positions:
            raise InputError(f"max_length = {wanted}: {name} has positions for {positions} tokens")
    else:
        limits = [tokenizer.model_max_length if stated is None else stated, positions or UNLIMITED]
        limit = min(limits) if min(limits) < UNLIMITED else DEFAULT_MAX_LENGTH
    n_special = tokenizer.num_special_tokens_to_add()
    if limit <= n_special:
        raise InputError(f"{name}: of its limit of {limit} tokens {n_special} are special: none is left for a text")
    return int(limit)


def _positions(model) -> int | None:
    """The longest text in tokens that the model has positions for; None: no such limit."""
    limit = getattr(model.config, "max_position_embeddings", None)
    limits = [limit] if isinstance(limit, int) and limit > 0 else []  # XLNet's -1 is none
    for module in model.modules():
        table, padding = getattr(module, "position_embeddings", None), getattr(module, "padding_idx", None)
        if hasattr(table, "num_embeddings") and isinstance(padding, int):
            limits.append(table.num_embeddings - padding - 1)  # RoBERTa's positions begin after that of the padding
    return min(limits) if limits else None
