"""How large each notebook's run is at each scale: sizes and names only, never a method or a metric."""

from dataclasses import dataclass, fields, replace
from typing import Any

from nbutils.claims import SCALES
from nbutils.errors import InputError


@dataclass(frozen=True)
class StartHere:
    """00_start_here: retrieval and a first answer."""

    dataset: str  # factbook | folder | hub id
    encoder: str  # minilm | folder | hub id
    generator: str  # gemma-3-270m | folder | hub id
    quantize: str | None  # nf4 = weights in 4 bits
    n_countries: int | None  # Factbook only; None = all
    n_passages: int | None  # hub corpora only; None = all
    n_questions: int  # test questions of each kind, for retrieval and for answers
    n_examples: int  # solved examples in a few-shot prompt
    max_new_tokens: int  # length limit of an answer


PRESETS: dict[str, dict[str, Any]] = {
    "00_start_here": {
        "smoke": StartHere("factbook", "minilm", "gemma-3-270m", None, 12, None, 8, 2, 8),
        "tiny": StartHere("factbook", "minilm", "gemma-3-270m", None, None, None, 200, 5, 10),
        "gpu": StartHere(
            "google-research-datasets/nq_open+facebook/wiki_dpr",
            "sentence-transformers/multi-qa-mpnet-base-dot-v1",
            "meta-llama/Llama-3.2-1B",
            None,
            None,
            1_000_000,
            1_000,
            5,
            16,
        ),
        "paper": StartHere(
            "google-research-datasets/nq_open+facebook/wiki_dpr",
            "sentence-transformers/multi-qa-mpnet-base-dot-v1",
            "meta-llama/Llama-3.1-8B",
            "nf4",
            None,
            None,
            3_610,
            5,
            16,
        ),
    }
}


def load_preset(notebook: str, scale: str, overrides: dict[str, Any]) -> Any:
    """The preset of a notebook at a scale, with the overrides that are not None put in.

    Raises InputError for an unknown notebook, scale or field, and for a count below 1.
    """
    if notebook not in PRESETS:
        raise InputError(f"no presets for notebook {notebook!r}: known are {', '.join(PRESETS)}")
    if scale not in PRESETS[notebook]:
        raise InputError(f"no scale {scale!r}: use one of {', '.join(SCALES)}")
    preset = PRESETS[notebook][scale]
    known = [field.name for field in fields(preset)]
    given = {name: value for name, value in overrides.items() if value is not None}
    for name, value in given.items():
        if name not in known:
            raise InputError(f"preset of {notebook} has no {name!r}: known are {', '.join(known)}")
        if name.startswith(("n_", "max_")) and value < 1:
            raise InputError(f"{name} = {value}: give at least 1")
    return replace(preset, **given)
