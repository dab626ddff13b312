"""Small random checkpoints, saved as the real ones are: a fast tokenizer, a config and safetensors in a folder.

Every function returns the folder as a string. Weights are drawn wider than usual, so that the models are not
near-uniform and two of them disagree about nearly everything.
"""

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from substitution import substitute

SENTENCES = [
    "Background: Chad. The capital of Chad is N'Djamena, and its official languages are French and Arabic.",
    "Background: Peru. The capital of Peru is Lima; its currency is the sol and its largest city is Lima too.",
    "Question: What is the capital of France?\nAnswer: Paris\n\nQuestion: What is spent in Japan?\nAnswer: yen\n",
    "Question: Which country has the largest area?\nAnswer: Russia\n\nQuestion: Who wrote Faust?\nAnswer: Goethe\n",
]
PAD, START, END = 0, 1, 2
STD = 0.25
BYTE_LEVEL_SPECIALS = ["<pad>", "<s>", "</s>"]


def minilm(folder: Path, pooling: str | None = "mean", normalize: bool = True, seed: int = 0) -> str:
    """A BERT encoder with the `modules.json` of sentence-transformers; none at all for `pooling=None`."""
    from transformers import BertConfig, BertModel

    vocabulary = _save_wordpiece(folder)
    config = BertConfig(**_bert_sizes(vocabulary))
    _save(BertModel, config, folder, seed)
    if pooling is None:
        return str(folder)
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(zip(kinds, paths, strict=False))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    modes = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens"}
    settings = {"word_embedding_dimension": 32, **{key: name == pooling for name, key in modes.items()}}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    return str(folder)


def splade(folder: Path, seed: int = 0) -> str:
    """A BERT with its head over words, as SPLADE's are; nothing of sentence-transformers beside it."""
    from transformers import BertConfig, BertForMaskedLM

    vocabulary = _save_wordpiece(folder)
    _save(BertForMaskedLM, BertConfig(**_bert_sizes(vocabulary)), folder, seed)
    return str(folder)


def cross_encoder(folder: Path, seed: int = 0, positions: int = 64, **config) -> Path:
    """A BERT with one output over pairs of texts."""
    import torch
    from tokenizers import processors
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    minilm(folder, pooling=None)  # for its tokenizer
    tokenizer = AutoTokenizer.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer.save_pretrained(folder)
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": positions,
        "initializer_range": 0.25,
        "num_labels": 1,
    }
    torch.manual_seed(seed)
    BertForSequenceClassification(BertConfig(**sizes | config)).save_pretrained(folder)
    return folder


def dpr(folder: Path, side: str = "question", seed: int = 0, positions: int = 160) -> str:
    """The question encoder (`side="question"`) or the passage encoder (`side="context"`) of DPR."""
    import transformers

    vocabulary = _save_wordpiece(folder)
    config = transformers.DPRConfig(
        **_bert_sizes(vocabulary) | {"max_position_embeddings": positions}, projection_dim=0
    )
    architecture = {"question": transformers.DPRQuestionEncoder, "context": transformers.DPRContextEncoder}[side]
    _save(architecture, config, folder, seed)
    return str(folder)


def llama(
    folder: Path, hidden_size: int = 32, pad_token: str | None = None, seed: int = 0, positions: int = 256
) -> str:
    """A Llama; like the real ones it has no padding token unless one is named."""
    from transformers import LlamaForCausalLM

    tokenizer = _save_byte_level(folder, "<s> $A", pad_token=pad_token)
    _save(LlamaForCausalLM, _llama_config(len(tokenizer), hidden_size, positions), folder, seed)
    return str(folder)


def gemma3(folder: Path, layer_types: tuple[str, ...] = ("sliding_attention", "full_attention"), seed: int = 0) -> str:
    """A Gemma 3 for text, with a sliding window shorter than most prompts and with capped output logits."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    tokenizer = _save_byte_level(folder, "<s> $A", pad_token="<pad>")
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=len(layer_types),
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        max_position_embeddings=256,
        sliding_window=6,
        layer_types=list(layer_types),
        final_logit_softcapping=3.0,
        initializer_range=STD,
        pad_token_id=PAD,
        bos_token_id=START,
        eos_token_id=END,
    )
    _save(Gemma3ForCausalLM, config, folder, seed)
    return str(folder)


def gpt2(folder: Path, seed: int = 0, positions: int = 256) -> str:
    """A GPT-2: learned positions, one special token, which ends texts, and none that begins or pads them."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = _save_byte_level(folder, "$A", pad_token=None, begins=False)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=positions,
        initializer_range=STD,
        bos_token_id=END,
        eos_token_id=END,
    )
    _save(GPT2LMHeadModel, config, folder, seed)
    return str(folder)


def bart(folder: Path, seed: int = 0, positions: int = 256) -> str:
    """A BART: sequence-to-sequence, with dropout 0.1 in training."""
    from transformers import BartConfig, BartForConditionalGeneration

    tokenizer = _save_byte_level(folder, "<s> $A </s>", pad_token="<pad>")
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=positions,
        init_std=STD,
        pad_token_id=PAD,
        bos_token_id=START,
        eos_token_id=END,
        decoder_start_token_id=END,
        forced_eos_token_id=END,
    )
    _save(BartForConditionalGeneration, config, folder, seed)
    return str(folder)


def shallow_gemma(folder: Path, layers: tuple[int, ...] = (0, 5)) -> str:
    """Some layers of the embedded language model, one with a sliding window and one without, its vocabulary and head.

    A ninth of the layers' time, for runs in which nothing depends on what the model says.
    """
    import shutil

    from safetensors.torch import load_file, save_file

    from nbutils import models

    whole = models.checkpoint_folder("gemma-3-270m")
    config = json.loads((whole / "config.json").read_text(encoding="utf-8"))
    config |= {"num_hidden_layers": len(layers), "layer_types": [config["layer_types"][layer] for layer in layers]}
    weights = {}
    for name, weight in load_file(whole / "model.safetensors").items():
        found = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", name)
        if not found:
            weights[name] = weight
        elif int(found[1]) in layers:
            weights[f"model.layers.{layers.index(int(found[1]))}.{found[2]}"] = weight
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(whole / name, folder)
    return str(folder)


def parrot(folder: Path, texts: list[str], extra_tokens: Sequence[str] = ()) -> str:
    """A Llama that continues each text as written: each of its tokens is followed by the one that follows it there.

    The layers are zeroed, so that only the last token counts; no token may occur twice with different successors.
    """
    import torch
    from transformers import LlamaForCausalLM

    tokenizer = _save_byte_level(folder, "<s> $A", pad_token="<pad>", extra_tokens=["\n\n", ".\n", *extra_tokens])
    torch.manual_seed(0)
    model = LlamaForCausalLM(_llama_config(len(tokenizer), 32))
    successors: dict[int, int] = {}
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for token, successor in pairwise(ids):
            assert successors.setdefault(token, successor) == successor, f"{text!r} contradicts an earlier text"
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embeddings = torch.nn.functional.normalize(model.model.embed_tokens.weight, dim=-1)
        model.lm_head.weight.zero_()
        for token, successor in successors.items():
            model.lm_head.weight[successor] += embeddings[token]
    model.save_pretrained(folder)
    return str(folder)


def chat_parrot(folder: Path, template: str, turn_tokens: list[str]) -> str:
    """A parrot with a chat template: what follows "<|assistant|>" is "Lima", and then "<|end|>" and on."""
    from transformers import AutoTokenizer

    parrot(folder, ["<|assistant|>Lima<|end|>XX"], turn_tokens)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": turn_tokens})
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return str(folder)


def load_on_cpu(load, name: str, dtype: str = "float32"):
    """What `models.load_encoder` or `load_generator` makes of a folder, on the CPU in that precision on any machine."""
    import torch

    from nbutils.models import runtime

    with pytest.MonkeyPatch.context() as patch:
        substitute(patch, runtime, "pick_device", lambda: "cpu")
        substitute(patch, runtime, "pick_dtype", lambda device: getattr(torch, dtype))
        return load(name)


def _bert_sizes(vocabulary: int) -> dict:
    return {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 160,
        "initializer_range": STD,
        "pad_token_id": PAD,
    }


def _llama_config(vocabulary: int, hidden_size: int, positions: int = 256):
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden_size,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        initializer_range=STD,
        bos_token_id=START,
        eos_token_id=END,
    )


def _save(architecture, config, folder: Path, seed: int) -> None:
    import torch

    torch.manual_seed(seed)
    architecture(config).save_pretrained(folder)


def _save_wordpiece(folder: Path) -> int:
    """Save a BERT tokenizer of the words and letters of the sentences; the size of its vocabulary.

    Not trained: training breaks ties at random, and with another vocabulary the weights are others too.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted(set(re.findall(r"\w+|[^\w\s]", " ".join(SENTENCES).lower())))
    letters = sorted(set("".join(words)))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *words]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    fast.save_pretrained(folder)
    return len(fast)


def _save_byte_level(
    folder: Path,
    template: str,
    pad_token: str | None,
    extra_tokens: list[str] | None = None,
    begins: bool = True,
):
    """Save a byte-level BPE tokenizer trained on the sentences, as GPT-2, BART and Llama 3 have; the tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=BYTE_LEVEL_SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", START), ("</s>", END)]
    )
    named = {"bos_token": "<s>" if begins else None, "eos_token": "</s>", "pad_token": pad_token}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{kind: token for kind, token in named.items() if token is not None}
    )
    fast.add_tokens(extra_tokens or [])
    fast.save_pretrained(folder)
    return fast
