"""Encoders of which only the top layers learn: what the layers below make of a text is computed once and kept.

For encoders that are built as BERT is: embeddings, then a stack of layers of which each reads the one below alone.
"""

import copy
from dataclasses import dataclass, field
from typing import Any

from nbutils import models
from nbutils.errors import InputError
from nbutils.models import Encoder

BERT_LIKE = {"BertModel", "RobertaModel", "XLMRobertaModel", "MPNetModel"}  # DPR's encoders hold a BertModel
KEPT_BATCH_TOKENS = 4096  # padded tokens that the lower layers read at once


def require_top_layers(encoder: Encoder, n_layers: int | None, setting: str) -> None:
    """Raises InputError, which names the setting, for an encoder built otherwise or without so many layers."""
    if n_layers is None:
        return
    path = _stack_path(encoder.model)
    if path is None:
        architecture = type(encoder.model).__name__
        raise InputError(f"{encoder.name} is a {architecture}, which is not built as BERT is: give {setting}=None")
    n = len(encoder.model.get_submodule(path).encoder.layer)
    if not 1 <= n_layers <= n:
        raise InputError(f"{setting} = {n_layers}: give 1 to {n}, the layers of {encoder.name}, or None for all of it")


def freeze_lower_layers(model, n_layers: int) -> None:
    """Leave only the top `n_layers` layers of an encoder's model to learn, and what stands above them."""
    stack = model.get_submodule(_stack_path(model))
    frozen = [stack.embeddings, *stack.encoder.layer[: len(stack.encoder.layer) - n_layers]]
    frozen += [
        part for name, part in stack.encoder.named_children() if name != "layer"
    ]  # MPNet's biases, of all layers
    for part in frozen:
        part.requires_grad_(False)


@dataclass(frozen=True)
class TopLayers:
    """The upper part of an encoder's model, called as the whole is; the lower part reads every text once.

    The modules share their weights with the model. The lower part runs without dropout.
    """

    lower: Any
    upper: Any
    kept: dict[tuple[int, ...], Any] = field(default_factory=dict)  # token ids -> (T, D), output of the lower part

    @property
    def device(self):
        return self.upper.device

    def __call__(self, input_ids, attention_mask):
        import torch

        lengths = attention_mask.sum(1).tolist()
        texts = [tuple(ids[:length]) for ids, length in zip(input_ids.tolist(), lengths, strict=True)]
        self._keep(texts, input_ids, attention_mask)
        states = torch.nn.utils.rnn.pad_sequence([self.kept[text] for text in texts], batch_first=True)  # (B, T, D)
        return self.upper(inputs_embeds=states, attention_mask=attention_mask)

    def _keep(self, texts: list[tuple[int, ...]], input_ids, attention_mask) -> None:
        import torch

        new = list({text: row for row, text in enumerate(texts) if text not in self.kept}.values())
        for batch in models.batches_by_length([len(texts[row]) for row in new], KEPT_BATCH_TOKENS):
            rows = [new[place] for place in batch]
            width = max(len(texts[row]) for row in rows)
            with torch.no_grad():
                states = self.lower(input_ids=input_ids[rows, :width], attention_mask=attention_mask[rows, :width])
            for row, of_text in zip(rows, states.last_hidden_state, strict=True):
                self.kept[texts[row]] = of_text[: len(texts[row])].clone()  # without the padding of its batch


def split_encoder(model, n_layers: int) -> TopLayers:
    """The model of an encoder, divided below its top `n_layers` layers."""
    import torch

    class Given(torch.nn.Module):
        """In place of the embeddings."""

        def forward(self, *ignored, inputs_embeds, **options):
            return inputs_embeds

    path = _stack_path(model)
    stack = model.get_submodule(path)
    layers = stack.encoder.layer
    lower_stack = _with_parts(stack.encoder, layer=layers[: len(layers) - n_layers])
    upper_stack = _with_parts(stack.encoder, layer=layers[len(layers) - n_layers :])
    lower = _with_parts(stack, encoder=lower_stack, pooler=None).eval()
    upper = _with_parts(stack, embeddings=Given(), encoder=upper_stack)
    return TopLayers(lower, _with_inner(model, path, upper))


def _stack_path(model) -> str | None:
    """Where in the model the embeddings and the layers stand: "" for the model itself; None: it is built otherwise."""
    return next((path for path, module in model.named_modules() if type(module).__name__ in BERT_LIKE), None)


def _with_parts(module, **parts):
    """The same module with other submodules; all else is shared."""
    copied = copy.copy(module)
    copied._modules = {**module._modules, **parts}
    return copied


def _with_inner(module, path: str, inner):
    if not path:
        return inner
    name, _, rest = path.partition(".")
    return _with_parts(module, **{name: _with_inner(module.get_submodule(name), rest, inner)})
