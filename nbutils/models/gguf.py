"""GGUF, the form of llama.cpp's quantized models, as a checkpoint that transformers loads."""

from pathlib import Path

from nbutils.models.runtime import quiet_transformers


def convert_gguf(gguf: Path, folder: Path, tie_head: bool = False) -> None:
    """Write what `gguf` holds as a safetensors checkpoint in bfloat16, with its tokenizer, into `folder`.

    `tie_head`: the model's output layer is its embeddings, of which the file has two copies. The output layer's, in
    which more bits are left, serves as both again. For a moment all weights are in memory twice.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
        config = model.config
        if tie_head:
            model.get_input_embeddings().weight = model.get_output_embeddings().weight
            config.tie_word_embeddings = True
        # The loaded model is marked as quantized and refuses to be saved: its weights go into a fresh one.
        del config.quantization_config
        fresh = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        fresh.load_state_dict(model.state_dict())
        fresh.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
