"""Layers of decoder-only models, compiled for a CPU."""

import functools
import math
import shutil

from nbutils.models import Generator

COMPILE_FROM_TOKENS = 16384  # compiling costs some 20 s once and 5 s in each later process
COMPILED_BATCH_STEP = 8  # compiled layers see lengths padded to a multiple of this


def compile_layers(generator: Generator) -> bool:
    """Fuse the element-wise operations of a decoder-only model on a CPU; False where that cannot be done.

    On a processor with bfloat16 units, norms, activations and rotations take longer than the matrix products.
    One layer is compiled and reused by all, and the softmax over the vocabulary at answer positions with them. What
    runs under the stance `force_eager`, as generation does, is not changed by a digit.
    """
    layers = _layers(generator)
    if generator.model.device.type != "cpu" or not layers or not (shutil.which("g++") or shutil.which("clang++")):
        return False
    for layer in layers:
        if layer._compiled_call_impl is None:
            activation = getattr(getattr(layer, "mlp", None), "act_fn", None)
            if type(activation).__name__ == "GELUTanh":
                activation.forward = _gelu
            layer.compile(dynamic=True)
    return True


def _layers(generator: Generator):
    """The layers of a decoder-only model; none of others."""
    return () if generator.seq2seq else getattr(generator.model.get_decoder(), "layers", ())


def is_compiled(generator: Generator) -> bool:
    """True once `compile_layers` has done its work."""
    return any(layer._compiled_call_impl is not None for layer in _layers(generator))


def call_compiled(generator: Generator, function, *arguments):
    """function(*arguments), compiled where the generator's layers are: a vocabulary of 262,144 takes long otherwise."""
    import torch

    if not is_compiled(generator):
        return function(*arguments)
    with torch.compiler.set_stance("default"):
        return _compiled(function)(*arguments)


@functools.cache
def _compiled(function):
    import torch

    return torch.compile(function, dynamic=True)


def _gelu(x):
    import torch

    return gelu_tanh(x) if torch.compiler.is_compiling() else torch.nn.functional.gelu(x, approximate="tanh")


def gelu_tanh(x):
    """GELU in its tanh approximation, by the identity (1 + tanh u) / 2 = sigmoid(2u).

    Compiled for a CPU, the sigmoid takes a quarter of the time of the tanh (measured on AVX-512, 2,048 x 2,048, bf16).
    """
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
    return x * (2 * u).sigmoid()
