"""What is trained: copies of models, whole or with LoRA adapters."""

import copy
import logging
import re
import warnings
from dataclasses import replace
from typing import Any

from nbutils.models import Encoder, Generator
from nbutils.training.settings import TrainingSettings
from nbutils.training.top_layers import freeze_lower_layers

# Attention and MLP projections, by their names in Llama, Gemma, Mistral and Qwen, then those of BART.
LORA_TARGETS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "out_proj", "fc1", "fc2"}
LORA_SCALE = 2  # lora_alpha / lora_rank


def trainable_generator(generator: Generator, settings: TrainingSettings, seed: int) -> tuple[Generator, Any]:
    """A copy of the generator, and the module whose parameters that need a gradient are to be trained."""
    import torch

    if settings.lora_rank is None:
        model = copy.deepcopy(generator.model)
        return replace(generator, model=model), model.requires_grad_(True).eval()
    n_layers = generator.model.config.num_hidden_layers
    top = list(range(n_layers - (settings.lora_layers or n_layers), n_layers))
    model = _copy_of_layers(generator, top).eval()
    generator = replace(generator, model=model)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft imports it, and it misses what nobody asked for
    import peft

    config = peft.LoraConfig(
        r=settings.lora_rank,
        lora_alpha=LORA_SCALE * settings.lora_rank,
        target_modules=sorted(module_names(model) & LORA_TARGETS),
        layers_to_transform=top,
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers
        torch.manual_seed(seed)
        return generator, peft.get_peft_model(model, config).eval()


def _copy_of_layers(generator: Generator, numbers: list[int]):
    """A copy of the model that shares the memory of the embeddings and of other layers, which nobody writes to.

    They are most of a small model: a notebook that keeps a dozen trained ones would need a dozen times as much.
    """
    import torch

    shared = {}
    for name, parameter in () if is_quantized(generator) else generator.model.named_parameters():
        layer = re.search(r"\blayers\.(\d+)\.", name)
        if layer is None or int(layer[1]) not in numbers:
            shared[id(parameter)] = torch.nn.Parameter(parameter.data, requires_grad=parameter.requires_grad)
    return copy.deepcopy(generator.model, shared)


def trainable_encoder(encoder: Encoder, n_layers: int | None = None) -> Encoder:
    """A copy in float32, and it stays so: updates of 3e-5 would be rounded away in bfloat16.

    With `n_layers` only so many top layers need a gradient, and what stands above them.
    """
    model = copy.deepcopy(encoder.model).float().requires_grad_(True).eval()
    if n_layers is not None:
        freeze_lower_layers(model, n_layers)
    return replace(encoder, model=model)


def trained_parameters(model) -> dict[str, Any]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def module_names(model) -> set[str]:
    return {name.rpartition(".")[2] for name, _ in model.named_modules()}


def is_quantized(generator: Generator) -> bool:
    return bool(getattr(generator.model, "is_quantized", False))
