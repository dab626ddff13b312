"""What a decoder-only model computes at each token of a text: the keys of kNN-LM, and log p of the token that follows.

Read once, kept on disk and memory-mapped: the keys may be larger than memory.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from nbutils import cache, files
from nbutils.errors import InputError
from nbutils.generation.output_layer import label_logprobs, vocabulary_size
from nbutils.generation.scoring import fingerprint, pad, require_length
from nbutils.models import Generator, batches_by_length, quiet_transformers
from nbutils.progress import progress_bar

KEYS = ("ffn_input", "before_ffn_norm", "attention_input", "final_state")
BATCH_TOKENS = 4096  # padded tokens a batch
TOKEN_TYPE = np.int32  # 16 bits hold an eighth of a vocabulary of 262,144
KEY_TYPES = ("float16", "float32")
_BEFORE_FFN = ("pre_feedforward_layernorm", "post_attention_layernorm", "ln_2")  # the first that a layer has


@dataclass(frozen=True)
class Window:
    """A piece of a text as a model reads it; a score of it goes into a record as that of a question does."""

    id: str  # "Palau 3"
    subject: str  # the text that it is from
    token_ids: tuple[int, ...]
    unit: ClassVar[str] = "windows"


@dataclass(frozen=True)
class TokenStates:
    """N scored tokens of some texts, in the order of the texts: the datastore of kNN-LM, or its queries.

    Row n holds what the model computed from the text before token n, and that token. The first token of a text has
    nothing before it and is not among them.
    """

    keys: dict[str, np.ndarray]  # name -> (N, D), memory-mapped
    tokens: np.ndarray  # (N,) the token that follows
    lengths: np.ndarray  # (n_texts,) scored tokens of each text
    logprobs: np.ndarray  # (N,) float32, log p(token | text before) in nats; (0,) where not asked for


def token_windows(
    generator: Generator, texts: Mapping[str, str], n_tokens: int, n_windows: int | None = None, seed: int = 0
) -> list[Window]:
    """Windows of `n_tokens` tokens of each text, each after the token with which a text begins for this model.

    `texts` are {name: text}. A text is cut into windows from its beginning, and what is left at its end is not used:
    windows of one length make the mean over windows the mean over tokens. Of a text's windows `n_windows` are drawn by
    `seed` and the text's name, and stand in their order (all where it has no more; None: all). Where the tokenizer
    begins a text with no token of its own (GPT-2), the end of a text does, as such models are trained. A text that is
    shorter has none. Raises InputError for a sequence-to-sequence model, `n_tokens` or `n_windows` < 1, windows of more
    tokens than the model has positions, and where no text is long enough.
    """
    _require_decoder(generator)
    if n_tokens < 1 or (n_windows is not None and n_windows < 1):
        raise InputError(f"n_tokens = {n_tokens}, n_windows = {n_windows}: give at least 1")
    require_length(generator, [n_tokens])
    tokenizer = generator.tokenizer
    first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    with quiet_transformers():  # which warns of long texts
        rows = tokenizer(list(texts.values()), add_special_tokens=False)["input_ids"] if texts else []
    found = []
    for name, ids in zip(texts, rows, strict=True):
        order = sorted(range(len(ids) // n_tokens), key=lambda place: files.sha256_text(str(seed), name, str(place)))
        for place in sorted(order[:n_windows]):
            piece = ids[place * n_tokens : (place + 1) * n_tokens]
            found.append(Window(f"{name} {place + 1}", name, (first, *piece)))
    if not found:
        raise InputError(f"none of {len(texts)} texts has {n_tokens} tokens: take shorter windows or longer texts")
    return found


def token_states(
    generator: Generator,
    sequences: Sequence[Sequence[int]],
    keys: Sequence[str] = ("ffn_input",),
    with_logprobs: bool = False,
    key_type: str = "float16",
    n_last: int | Sequence[int] | None = None,
) -> TokenStates:
    """The keys, and if asked for log p, of every token after the first of each sequence of token ids.

    With `n_last`, of the last so many tokens of each sequence alone (a number for all, or one for each): what stands
    before them is only read.

    Keys are of the last layer (Khandelwal et al. 2020): "ffn_input", what its feed-forward network reads after
    the norm; "before_ffn_norm", the same before the norm; "attention_input", what its attention reads after the norm;
    "final_state", what the output layer reads. Without a key nothing but log p is computed. Results are kept by
    content, see `generate`, and do not depend on how texts are put into batches but for rounding.
    Raises InputError for a sequence-to-sequence model, an unknown key, no sequences, one of fewer than two tokens or
    more than the model has positions, `n_last` < 1 or of another number of sequences, and a key with a number that
    float16 does not hold: Gemma's before the norm have some of 80,000, which `key_type` "float32" holds.
    """
    modules = state_modules(generator, keys)  # before any long work
    if key_type not in KEY_TYPES:
        raise InputError(f"key type {key_type!r} is unknown: use {' or '.join(KEY_TYPES)}")
    if not sequences or min(map(len, sequences)) < 2:
        raise InputError("token states need at least one text, and of each at least two tokens")
    require_length(generator, [len(ids) - 1 for ids in sequences])
    require_token_type(vocabulary_size(generator))
    lengths = _scored_lengths(sequences, n_last)
    content = json.dumps([*map(list, sequences)])
    kept = cache.key(
        [_write, state_modules, captured_states],
        fingerprint(generator),
        ",".join(keys),
        str(with_logprobs),
        key_type,
        str(lengths.tolist()),
        content,
    )

    def read(folder: Path) -> TokenStates | None:
        try:
            found = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in keys}
            tokens, logprobs = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("tokens", "logprobs"))
        except (ValueError, EOFError, OSError):  # missing or damaged
            return None
        return TokenStates(found, tokens, lengths, logprobs)

    def build(folder: Path) -> TokenStates:
        with files.atomic_path(folder) as temporary:
            temporary.mkdir()
            _write(temporary, generator, sequences, lengths, modules, with_logprobs, key_type)
        return read(folder)

    return cache.folder("states", kept, read, build)


def _scored_lengths(sequences: Sequence[Sequence[int]], n_last: int | Sequence[int] | None) -> np.ndarray:
    lengths = np.array([len(ids) - 1 for ids in sequences])
    if n_last is None:
        return lengths
    if np.shape(n_last) not in ((), (len(sequences),)) or np.min(n_last) < 1:
        raise InputError(f"n_last = {n_last}: give at least 1, one number or as many as sequences ({len(sequences)})")
    return np.minimum(lengths, n_last)


def require_token_type(n_vocabulary: int, kind: type = TOKEN_TYPE) -> None:
    """InputError where numbers of this kind cannot name every token of the vocabulary."""
    if np.iinfo(kind).max < n_vocabulary - 1:
        raise InputError(
            f"{kind.__name__} ends at {np.iinfo(kind).max}, the vocabulary at {n_vocabulary - 1}: take a wider one"
        )


def _require_decoder(generator: Generator) -> None:
    if generator.seq2seq:
        raise InputError(f"{generator.name} has an encoder: kNN-LM is for decoder-only models")


def _write(
    folder: Path,
    generator: Generator,
    sequences: Sequence[Sequence[int]],
    lengths: np.ndarray,
    modules: dict,
    with_logprobs: bool,
    key_type: str,
) -> None:
    """The states of all sequences as files in `folder`, batch by batch: no more than a batch is in memory.

    Of each sequence the last tokens count, as many as `lengths` say.
    """
    import torch

    tokens = np.array([t for ids, n in zip(sequences, lengths, strict=True) for t in ids[-n:]], dtype=TOKEN_TYPE)
    ends = np.cumsum(lengths)
    width = generator.model.config.get_text_config().hidden_size
    written = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.dtype(key_type), (len(tokens), width))
        for name in modules
    }
    logprobs = np.empty(len(tokens) if with_logprobs else 0, dtype=np.float32)
    decoder = generator.model.get_decoder()
    # Compiled layers would not call what reads the keys.
    eager = torch.compiler.set_stance("force_eager")
    with (
        eager,
        torch.inference_mode(),
        captured_states(modules) as captured,
        progress_bar(len(sequences), "Reading") as progress,
    ):
        for batch in batches_by_length([len(ids) - 1 for ids in sequences], BATCH_TOKENS):
            inputs, mask = pad(
                [sequences[s][:-1] for s in batch], generator.tokenizer.pad_token_id or 0, decoder.device
            )
            # Padding stands on the right, where a causal model does not look.
            hidden = decoder(input_ids=inputs, use_cache=False).last_hidden_state
            rows = np.concatenate([np.arange(ends[s] - lengths[s], ends[s]) for s in batch])
            there = mask.bool()
            for place, s in enumerate(batch):
                there[place, : len(sequences[s]) - 1 - lengths[s]] = False
            for name, into in written.items():
                states = hidden if modules[name] is None else captured[name]
                into[rows] = _as_keys(name, states[there], key_type)
            if with_logprobs:
                labels = torch.from_numpy(tokens[rows]).long().to(hidden.device)
                logprobs[rows] = label_logprobs(generator, hidden[there], labels).float().cpu().numpy()
            progress.update(len(batch))
    for into in written.values():
        into.flush()
    np.save(folder / "tokens.npy", tokens, allow_pickle=False)
    np.save(folder / "logprobs.npy", logprobs, allow_pickle=False)


def _as_keys(name: str, states, key_type: str) -> np.ndarray:
    states = states.float().cpu().numpy()
    if not np.abs(states).max() <= np.finfo(key_type).max:  # a NaN is refused too
        largest = f"{np.abs(states).max():,.0f}"
        raise InputError(f"key {name!r} has a number of {largest}, more than {key_type} holds: take key_type='float32'")
    return states.astype(key_type)


def state_modules(generator: Generator, keys: Sequence[str]) -> dict:
    """{key: the module of the last layer that reads it}; None for what the decoder returns.

    Raises InputError for a sequence-to-sequence model, an unknown key, and one that its last layer does not have.
    """
    _require_decoder(generator)
    unknown = [key for key in keys if key not in KEYS]
    if unknown:
        raise InputError(f"key {unknown[0]!r} is unknown: use {', '.join(KEYS)}")
    decoder = generator.model.get_decoder()
    layers = getattr(decoder, "layers", None) or getattr(decoder, "h", None)
    last = layers[-1] if layers else None
    names = {"ffn_input": ("mlp",), "before_ffn_norm": _BEFORE_FFN, "attention_input": ("self_attn", "attn")}
    found = {}
    for key in keys:
        there = [getattr(last, name) for name in names.get(key, ()) if hasattr(last, name)]
        if key != "final_state" and not there:
            raise InputError(
                f"{generator.name}: its last layer has no {' or '.join(names[key])}, take the key 'final_state'"
            )
        found[key] = there[0] if there else None
    return found


@contextmanager
def captured_states(modules: dict) -> Iterator[dict]:
    """{key: what its module read last}, filled by each forward pass while the block runs."""
    captured = {}

    def reader(key: str):
        def read(module, args, kwargs) -> None:
            captured[key] = args[0] if args else kwargs["hidden_states"]

        return read

    with ExitStack() as stack:
        for key, module in modules.items():
            if module is not None:
                hook = module.register_forward_pre_hook(reader(key), with_kwargs=True)
                stack.callback(hook.remove)
        yield captured
