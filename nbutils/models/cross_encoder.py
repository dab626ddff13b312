"""A cross-encoder: question and passage read together by one model, which makes one score of the two."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nbutils import cache
from nbutils.errors import InputError
from nbutils.files import sha256_file, sha256_text
from nbutils.models.checkpoint_files import first_line, read_json, read_json_if_there, settings_sha256
from nbutils.models.encoding import BATCH_TOKENS, GPU_BATCH_TOKENS, batches_by_length
from nbutils.models.load import checkpoint_folder
from nbutils.models.runtime import pick_device, pick_dtype, quiet_transformers
from nbutils.models.tokenizer import length_limit, load_tokenizer
from nbutils.models.weights import POOLER, load_weights, require_whole_generator
from nbutils.progress import progress_bar

PAIRS_AT_ONCE = 16_384  # pairs that are tokenized, scored and kept at a time: long work resumes there


@dataclass(frozen=True)
class CrossEncoder:
    """A model that reads a question and a passage as a pair: the higher its score, the better the passage answers."""

    name: str
    sha256: str
    model: Any
    tokenizer: Any
    max_length: int  # tokens of the pair, special ones included
    settings_sha256: str = ""  # of what the checkpoint says beside its weights


def load_cross_encoder(name: str, max_length: int | None = None) -> CrossEncoder:
    """The cross-encoder called `name`: a local folder, or a hub id (`owner/model`, `owner/model@revision`).

    Any of transformers' models for sequence classification with one output, as sentence-transformers' `CrossEncoder`
    trains and saves them (Nogueira and Cho 2019). `max_length` in tokens of a pair; left out, what the checkpoint says
    (sentence_bert_config.json, or else its tokenizer), but no more than the model has positions.
    Raises InputError for a model that makes other than one score, for weights that the checkpoint lacks, and for
    settings of sentence-transformers under which the scores would be others.
    """
    import transformers

    folder = checkpoint_folder(name)
    stated = _stated_limit(folder)
    device = pick_device()
    loader = transformers.AutoModelForSequenceClassification
    model, missing, unused = load_weights(loader, folder, device, pick_dtype(device))
    # A pooler that is missing is one that would be used: BERT's scores are made of it.
    config = read_json(folder / "config.json")
    require_whole_generator(name, model, config, missing, [weight for weight in unused if not POOLER.search(weight)])
    if model.config.num_labels != 1:
        raise InputError(
            f"{name} makes {model.config.num_labels} scores of a pair: name a cross-encoder that ranks, with one"
        )
    tokenizer = load_tokenizer(folder)
    tokenizer.padding_side = "right"
    if model.config.pad_token_id is None:  # a decoder's score is that of the last token before the padding
        model.config.pad_token_id = tokenizer.pad_token_id
    limit = length_limit(name, model, tokenizer, stated, max_length)
    weights = [sha256_file(path) for path in sorted(folder.glob("*.safetensors"))]
    sha256 = weights[0] if len(weights) == 1 else sha256_text(*weights)
    _score_in_float32(model)
    cross_encoder = CrossEncoder(name, sha256, model, tokenizer, limit, settings_sha256(folder))
    _try_cross_encoder(cross_encoder)
    return cross_encoder


def _stated_limit(folder: Path) -> int | None:
    """The limit in sentence_bert_config.json, or None; InputError for what else would change the scores."""
    transformer = read_json_if_there(folder / "sentence_bert_config.json")
    default_prompt = read_json_if_there(folder / "config_sentence_transformers.json").get("default_prompt_name")
    n_modules = len(read_json(folder / "modules.json", list)) if (folder / "modules.json").is_file() else 1
    for is_unknown, what in (
        (n_modules != 1, f"modules.json with {n_modules} modules"),
        (bool(default_prompt), f"default_prompt_name = {default_prompt!r}"),
        (bool(transformer.get("do_lower_case")), "do_lower_case"),
    ):
        if is_unknown:
            raise InputError(f"{folder.name}: {what} is not supported in a cross-encoder: take another checkpoint")
    limit = transformer.get("max_seq_length")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise InputError(f"{folder.name}: max_seq_length = {limit!r} is not supported: give a number of tokens")
    return limit


def _score_in_float32(model) -> None:
    """Have the last layer, which makes one number, compute in float32.

    In bfloat16 scores of 8 to 16 are multiples of 1/16: passages that the model tells apart would be equal.
    """
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module.out_features == 1:
            module.float().register_forward_pre_hook(_in_float32)


def _in_float32(layer, inputs: tuple):
    return tuple(value.float() for value in inputs)


def _try_cross_encoder(cross_encoder: CrossEncoder) -> None:
    """InputError where the model makes no score of two short pairs; better here than after long work."""
    try:
        scores = _pair_scores(cross_encoder, ["a", "a"], ["some words", "more"])
    except Exception as error:  # every architecture fails in its own way
        raise InputError(
            f"{cross_encoder.name} makes no score of a pair ({first_line(error)}): name a cross-encoder"
        ) from error
    if not np.isfinite(scores).all():
        raise InputError(f"{cross_encoder.name} makes scores that are no numbers (NaN): download it again")


def pair_scores(cross_encoder: CrossEncoder, questions: list[str], passages: list[str]) -> np.ndarray:
    """The score of each question with the passage of the same number, (n,) float32: the model's logit, unbounded.

    What `CrossEncoder.predict` of sentence-transformers returns without its sigmoid, which changes no order. Of a pair
    that is too long the end of the passage is left out, never a part of the question: see `n_pairs_cut`. Results are
    kept by content. Raises InputError for no pairs, and for a question that leaves no room for a passage.
    """
    _require_pairs(cross_encoder, questions, passages)
    return np.concatenate([_kept_scores(cross_encoder, questions[part], passages[part]) for part in _parts(questions)])


def _kept_scores(cross_encoder: CrossEncoder, questions: list[str], passages: list[str]) -> np.ndarray:
    functions = (_pair_scores, _score_in_float32)  # what the second does is reached through the model
    key = cache.key(functions, cross_encoder_fingerprint(cross_encoder), *questions, "\0", *passages)
    return cache.array("pair_scores", key, lambda: _pair_scores(cross_encoder, questions, passages))


def _parts(pairs: list) -> list[slice]:
    return [slice(start, start + PAIRS_AT_ONCE) for start in range(0, len(pairs), PAIRS_AT_ONCE)]


def n_pairs_cut(cross_encoder: CrossEncoder, questions: list[str], passages: list[str]) -> int:
    """Of how many pairs the model reads only the beginning of the passage."""
    _require_pairs(cross_encoder, questions, passages)
    n = 0
    for part in _parts(questions):
        with quiet_transformers():  # which warns of long texts
            tokens = cross_encoder.tokenizer(questions[part], passages[part], truncation=False)["input_ids"]
        n += sum(len(ids) > cross_encoder.max_length for ids in tokens)
    return n


def cross_encoder_fingerprint(cross_encoder: CrossEncoder) -> str:
    """What the scores depend on besides code and texts: all files, precision, device, limit. Not the name."""
    model = cross_encoder.model
    files = f"{cross_encoder.sha256} {cross_encoder.settings_sha256}"
    return f"{files} {model.dtype} {model.device.type} {cross_encoder.max_length}"


def _require_pairs(cross_encoder: CrossEncoder, questions: list[str], passages: list[str]) -> None:
    if not questions or len(questions) != len(passages):
        raise InputError(f"{len(questions)} questions and {len(passages)} passages: give one passage to each question")
    room = cross_encoder.max_length - cross_encoder.tokenizer.num_special_tokens_to_add(pair=True)
    distinct = list(dict.fromkeys(questions))
    with quiet_transformers():
        tokens = cross_encoder.tokenizer(distinct, add_special_tokens=False)["input_ids"]
    for question, ids in zip(distinct, tokens, strict=True):
        if len(ids) >= room:
            raise InputError(
                f"a question of {len(ids)} tokens ({question[:40]!r}) leaves no room for a passage in the "
                f"{cross_encoder.max_length} tokens that {cross_encoder.name} reads: shorten it"
            )


def _pair_scores(cross_encoder: CrossEncoder, questions: list[str], passages: list[str]) -> np.ndarray:
    import torch

    tokenizer, model = cross_encoder.tokenizer, cross_encoder.model
    tokens = tokenizer(questions, passages, truncation="only_second", max_length=cross_encoder.max_length)
    scores = np.empty(len(questions), dtype=np.float32)
    batch_tokens = BATCH_TOKENS if model.device.type == "cpu" else GPU_BATCH_TOKENS
    with torch.inference_mode(), progress_bar(len(questions), "Scoring pairs") as progress:
        for rows in batches_by_length([len(ids) for ids in tokens["input_ids"]], batch_tokens):
            pairs = {name: [values[row] for row in rows] for name, values in tokens.items()}
            batch = tokenizer.pad(pairs, return_tensors="pt").to(model.device)
            scores[rows] = model(**batch).logits[:, 0].float().cpu().numpy()
            progress.update(len(rows))
    return scores
