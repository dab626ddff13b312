"""Packages of the index as others fill them, tiny: wheels that hold a part of a file each, and a GGUF file."""

import io
import json
import shutil
import zipfile
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def wheel(folder: Path, package: str, members: dict[str, bytes]) -> Path:
    """The wheel of `name==version` with these members, as pip takes it."""
    name, version = package.replace("-", "_").split("==")
    info = f"{name}-{version}.dist-info"
    texts = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package.partition('==')[0]}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in (members | texts).items():
            archive.writestr(member, content)
    return path


def zipped(folder: Path, root: str, **others: bytes) -> bytes:
    """The files of `folder` as a zip file in which they lie under `root`, and others with the whole name given."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{root}/{path.relative_to(folder)}")
        for name, content in others.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def mpnet(folder: Path) -> Path:
    """A random MPNet as sentence-transformers saved all-mpnet-base-v2."""
    import checkpoints
    import torch
    from transformers import MPNetConfig, MPNetModel

    checkpoints.minilm(folder / "bert", "mean")
    for name in ("modules.json", "1_Pooling", "tokenizer.json", "tokenizer_config.json"):
        shutil.move(folder / "bert" / name, folder / name)
    shutil.rmtree(folder / "bert")
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    torch.manual_seed(0)
    config = MPNetConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=66, initializer_range=checkpoints.STD, pad_token_id=0,
    )  # fmt: skip
    MPNetModel(config).save_pretrained(folder)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 20, "do_lower_case": false}')
    (folder / "config_sentence_transformers.json").write_text('{"__version__": {}}')
    (folder / "special_tokens_map.json").write_text("{}")
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    return folder


def qwen(path: Path) -> Path:
    """A random Qwen2 as a GGUF file with a chat template, and an output layer that differs from the embeddings."""
    import gguf
    import numpy as np
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens = [*letters, "in", "an", *specials]
    width, n_heads, n_keys, inner = 32, 4, 2, 64
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("tiny")
    writer.add_block_count(2)
    writer.add_context_length(256)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(n_heads)
    writer.add_head_count_kv(n_keys)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 3) + [3] * 3)
    writer.add_token_merges(["i n", "a n"])
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_pad_token_id(len(tokens) - 3)
    writer.add_bos_token_id(len(tokens) - 3)
    writer.add_chat_template(CHAT_TEMPLATE)
    draw = np.random.default_rng(0)
    head = width // n_heads * n_keys
    shapes = {"token_embd": (len(tokens), width), "output": (len(tokens), width), "output_norm": (width,)}
    for layer in range(2):
        of_layer = {
            "attn_norm": (width,), "ffn_norm": (width,), "attn_q": (width, width), "attn_k": (head, width),
            "attn_v": (head, width), "attn_output": (width, width), "ffn_gate": (inner, width),
            "ffn_up": (inner, width), "ffn_down": (width, inner),
        }  # fmt: skip
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in of_layer.items()}
        for name, size in (("q", width), ("k", head), ("v", head)):
            writer.add_tensor(f"blk.{layer}.attn_{name}.bias", draw.normal(0, 0.25, size).astype(np.float32))
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", draw.normal(0, 0.25, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
