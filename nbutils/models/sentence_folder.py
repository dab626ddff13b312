"""What a folder of sentence-transformers says of itself: pooling, scale, prompts, length limit.

Its forms before and after version 5.4 of the library are read. What is not known here is refused and never left out:
a vector that is pooled otherwise than the checkpoint was trained looks like any other.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbutils.errors import InputError
from nbutils.models.checkpoint_files import read_json, read_json_if_there

POOLING_FLAGS = {  # before 5.4, in the library's order; `pooling_mode` since
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
POOLINGS = ("mean", "cls")
MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
QUERY_NAMES, PASSAGE_NAMES = ("query",), ("document", "passage", "corpus")  # of prompts, the library's own first
# Values under which a setting changes no vector; None stands for a setting that is not there.
POOLING_VALUES = {"include_prompt": (None, True, False)}
NORMALIZE_VALUES = dict.fromkeys(("module_input_name", "module_output_name"), (None, "sentence_embedding"))
TRANSFORMER_VALUES = {
    "do_lower_case": (None, True, False),
    "transformer_task": (None, "feature-extraction"),
    "modality_config": (None, {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}),
    "module_output_name": (None, "token_embeddings"),
    "unpad_inputs": (None, True, False),  # how a batch is laid out
}
MODEL_VALUES = {
    "model_type": (None, "SentenceTransformer"),
    "similarity_fn_name": (None, "cosine", "dot"),
}
SPLADE_MODULES = (["MLMTransformer", "SpladePooling"], ["Transformer", "SpladePooling"])  # the latter since 5.4
SPLADE_VALUES = {"pooling_strategy": (None, "max"), "activation_function": (None, "relu")}
SPLADE_TRANSFORMER_VALUES = TRANSFORMER_VALUES | {
    "do_lower_case": (None, False),
    "transformer_task": (None, "fill-mask"),
    "modality_config": (None, {"text": {"method": "forward", "method_output_name": "logits"}}),
}
TRANSFORMER_FILES = [f"sentence_{kind}_config.json" for kind in (
    "bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"
)]  # fmt: skip
MODEL_FILE = "config_sentence_transformers.json"


@dataclass(frozen=True)
class SentenceSettings:
    """How texts become vectors, as a checkpoint says it."""

    pooling: str = "mean"  # Contriever's convention, where nothing is said
    normalize: bool = False
    max_length: int | None = None  # tokens; None: not said here
    lower_case: bool = False
    query_prompt: str = ""
    passage_prompt: str = ""


def read_sentence_settings(folder: Path) -> SentenceSettings:
    """What the folder says; the defaults where it is none of sentence-transformers'.

    Raises InputError for anything that would change the vectors and is not known here, by the name of its file.
    """
    transformer_file = next((name for name in TRANSFORMER_FILES if (folder / name).is_file()), TRANSFORMER_FILES[0])
    if not (folder / "modules.json").is_file():
        left = [name for name in (transformer_file, MODEL_FILE, "1_Pooling/config.json") if (folder / name).is_file()]
        if left:
            raise InputError(f"{folder.name}: {left[0]} without modules.json: download the checkpoint again")
        return SentenceSettings()
    modules = _read_modules(folder)
    transformer = read_json_if_there(folder / transformer_file)
    _refuse_unknown(f"{folder.name}/{transformer_file}", transformer, TRANSFORMER_VALUES, ("max_seq_length",))
    pooling, includes_prompt = _read_pooling(folder, modules["Pooling"])
    if "Normalize" in modules:
        where = f"{folder.name}/{modules['Normalize']}/config.json"
        _refuse_unknown(where, read_json_if_there(folder / modules["Normalize"] / "config.json"), NORMALIZE_VALUES)
    model = read_json_if_there(folder / MODEL_FILE)
    # Distances rank unit vectors as inner products do.
    similarities = MODEL_VALUES["similarity_fn_name"] + (("euclidean",) if "Normalize" in modules else ())
    values = MODEL_VALUES | {"similarity_fn_name": similarities}
    _refuse_unknown(f"{folder.name}/{MODEL_FILE}", model, values, ("__version__", "prompts", "default_prompt_name"))
    query_prompt, passage_prompt = _read_prompts(f"{folder.name}/{MODEL_FILE}", model)
    if (query_prompt or passage_prompt) and not includes_prompt:
        raise InputError(f"{folder.name}: pooling without the tokens of the prompt (include_prompt) is not supported")
    return SentenceSettings(
        pooling,
        "Normalize" in modules,
        _read_limit(f"{folder.name}/{transformer_file}", transformer.get("max_seq_length")),
        bool(transformer.get("do_lower_case")),
        query_prompt,
        passage_prompt,
    )


def read_splade_limit(folder: Path) -> int | None:
    """Tokens that a SPLADE model of sentence-transformers reads; None where the folder does not say.

    Raises InputError for other modules than a masked language model and SPLADE's pooling, for another pooling than
    the maximum of log(1 + relu), and for prompts.
    """
    if not (folder / "modules.json").is_file():
        return None
    modules = [module for module in read_json(folder / "modules.json", list) if isinstance(module, dict)]
    kinds = [str(module.get("type")).rpartition(".")[2] for module in modules]
    if kinds not in SPLADE_MODULES:
        raise InputError(f"{folder.name}: modules {', '.join(kinds)} are not those of SPLADE: name a SPLADE checkpoint")
    pooling = Path(str(modules[1].get("path")), "config.json")
    widths = ("word_embedding_dimension", "embedding_dimension")
    _refuse_unknown(f"{folder.name}/{pooling}", read_json(folder / pooling), SPLADE_VALUES, widths)
    if any(_read_prompts(f"{folder.name}/{MODEL_FILE}", read_json_if_there(folder / MODEL_FILE))):
        raise InputError(f"{folder.name}/{MODEL_FILE}: prompts of a SPLADE model are not supported: name another one")
    where = f"{folder.name}/{TRANSFORMER_FILES[0]}"
    transformer = read_json_if_there(folder / TRANSFORMER_FILES[0])
    _refuse_unknown(where, transformer, SPLADE_TRANSFORMER_VALUES, ("max_seq_length",))
    return _read_limit(where, transformer.get("max_seq_length"))


def _refuse_unknown(where: str, settings: dict, values: dict[str, tuple], free: tuple[str, ...] = ()) -> None:
    """InputError for a setting that is neither `free` nor has one of its `values`; empty ones say nothing."""
    for name, value in settings.items():
        if name in free or any(value is known or value == known for known in values.get(name, ())):
            continue
        if value is None or value is False or value in ({}, []):
            continue
        raise InputError(f"{where}: {name} = {value!r} is not supported: take another checkpoint")


def _read_modules(folder: Path) -> dict[str, str]:
    """{kind: its folder} of the modules, which are a transformer, its pooling, and maybe a scaling to unit length."""
    kinds, paths = [], []
    for module in read_json(folder / "modules.json", list):
        if not isinstance(module, dict) or not all(isinstance(module.get(key), str) for key in ("type", "path")):
            raise InputError(f"{folder.name}/modules.json is damaged (a module without type or path): download again")
        package, _, kind = module["type"].rpartition(".")
        kinds.append(kind if package.partition(".")[0] == "sentence_transformers" else module["type"])
        paths.append(module["path"])
    unknown = [kind for kind in kinds if kind not in MODULES[-1]]
    if unknown:
        raise InputError(f"{folder.name}: module {unknown[0]} is not supported, only {', '.join(MODULES[-1])} are")
    if kinds not in MODULES:
        raise InputError(f"{folder.name}: modules {', '.join(kinds)} are not supported, only {', '.join(MODULES[-1])}")
    if paths[0] not in ("", "."):
        raise InputError(
            f"{folder.name}: its model is in {paths[0]}/, not in the folder itself: "
            "load and save it with a later sentence-transformers"
        )
    return dict(zip(kinds, paths, strict=True))


def _read_pooling(folder: Path, path: str) -> tuple[str, bool]:
    """The pooling, and whether the tokens of a prompt count in it."""
    settings = read_json(folder / path / "config.json")
    free = ("word_embedding_dimension", "embedding_dimension", "pooling_mode", *POOLING_FLAGS)
    _refuse_unknown(f"{folder.name}/{path}/config.json", settings, POOLING_VALUES, free)
    if "pooling_mode" in settings:
        modes = settings["pooling_mode"]
        modes = named = modes if isinstance(modes, list) else [modes]
    else:
        named = [flag for flag in POOLING_FLAGS if settings.get(flag)]
        modes = [POOLING_FLAGS[flag] for flag in named] or ["mean"]  # none at all: the library's own default
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise InputError(f"{folder.name}: pooling {named} is not supported, only {' and '.join(POOLINGS)} are")
    return modes[0], settings.get("include_prompt") is not False


def _read_prompts(where: str, settings: dict) -> tuple[str, str]:
    """What stands before a question and before a passage.

    The first prompt that is not empty counts: version 6 of the library writes an empty "document" beside a checkpoint's
    own "passage", and would then use that one. Prompts of other tasks are left alone, unless there are no others.
    """
    prompts = {} if settings.get("prompts") is None else settings["prompts"]
    if not isinstance(prompts, dict) or not all(text is None or isinstance(text, str) for text in prompts.values()):
        raise InputError(f"{where}: prompts = {prompts!r} is not supported: give names and texts")
    query, passage = (
        next((prompts[name] for name in names if prompts.get(name)), "") for names in (QUERY_NAMES, PASSAGE_NAMES)
    )
    default = settings.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise InputError(f"{where}: default_prompt_name = {default!r} is none of its prompts: name one of them")
    others = [name for name, text in prompts.items() if text and name not in QUERY_NAMES + PASSAGE_NAMES]
    if others and (default in others or not (query or passage)):
        raise InputError(
            f"{where}: prompt {default if default in others else others[0]!r} is for what? "
            "Call the one for questions 'query' and the one for passages 'document'"
        )
    return query, passage


def _read_limit(where: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{where}: max_seq_length = {value!r} is not supported: give a number of tokens")
    return value
