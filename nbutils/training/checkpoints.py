"""A run's folder: its latest checkpoint while it lasts, what was learned afterwards.

state.json names the file of its tensors: replacing it replaces both at once.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nbutils import generation, models, paths, rag
from nbutils.data import Passage
from nbutils.files import atomic_path, sha256_file, sha256_source, sha256_text, write_text
from nbutils.models import Generator
from nbutils.training.adapters import trained_parameters
from nbutils.training.settings import History, TrainingSettings


def write_state(folder: Path, parts: dict[str, Any], optimizer, step: int, curves: History) -> None:
    from safetensors.torch import save_file

    tensors = {}
    for part, model in parts.items():
        for name, parameter in trained_parameters(model).items():
            tensors[f"{part}/{name}"] = parameter
            moments = {} if optimizer is None else optimizer.state.get(parameter, {})
            tensors |= {f"optimizer/{part}/{name}/{moment}": value for moment, value in moments.items()}
    target = folder / f"step-{step}.safetensors"
    with atomic_path(target) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)
    state = {"step": step, "tensors": target.name, "sha256": sha256_file(target), "curves": curves}
    write_text(folder / "state.json", json.dumps(state))
    for earlier in {*folder.glob("step-*.safetensors")} - {target}:
        earlier.unlink()


def read_state(folder: Path) -> dict[str, Any] | None:
    """Step, curves and tensors of the checkpoint, or None where there is none that is whole."""
    from safetensors.torch import load_file

    path = folder / "state.json"
    if not path.is_file():
        return None
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        tensors = folder / state["tensors"]
        if sha256_file(tensors) != state["sha256"]:
            raise ValueError(f"{tensors.name} is not what was written")
        return {**state, "tensors": load_file(tensors)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"The checkpoint in {folder} is damaged ({error}): training starts over.")
        path.unlink()
        return None


def load_tensors(tensors: dict[str, Any], part: str, model, optimizer=None) -> None:
    """Put a checkpoint's tensors into the model's parameters and, if there is one, into the optimizer's state."""
    for name, parameter in trained_parameters(model).items():
        parameter.data.copy_(tensors[f"{part}/{name}"])
        prefix = f"optimizer/{part}/{name}/"
        moments = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if optimizer is not None and moments:
            # AdamW keeps its step count on the CPU.
            optimizer.state[parameter] = {
                moment: value if moment == "step" else value.to(parameter.device) for moment, value in moments.items()
            }


def run_folder(method: str, generator: Generator, settings: TrainingSettings, seed: int, *content: str) -> Path:
    identity = f"{generation.fingerprint(generator)} peft {version('peft')}"
    template = generation.build_prompt("question", Passage("title", "text"))
    key = sha256_text(method, SOURCES, identity, repr(settings), str(seed), template, *content)
    return paths.CACHE / "training" / key


# Of `rag` what training uses: a change in decoding is no reason to train again. `generation` is in its identity.
_OF_RAG = (
    rag.doc_logprobs, rag.rag_sequence_logprob, rag.rag_token_logprobs, rag.answer_token_logprobs, rag.lsr_logprobs,
    rag.lsr_loss,
)  # fmt: skip
SOURCES = sha256_source(sys.modules[__name__], *_OF_RAG, models.embed, models.batches_by_length)
