"""Random checkpoints whose tokens are whole words, so that an answer's text has exactly one tokenization.

The vocabulary is as small, and the model as large, as a test asks for. Saved as `checkpoints` saves its own.
"""

from pathlib import Path

START, PAD, END, UNKNOWN = range(4)  # as in BART; transformers' beam search takes a padding token 0 for none
NEWLINES = [4, 5]
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]


def words(n_words: int) -> list[str]:
    return [f"w{i}" for i in range(n_words)]


def prompt(numbers) -> str:
    """The prompt of the words with these numbers; words of an answer stand after a space as well."""
    return "".join(f" w{i}" for i in numbers)


def llama(
    folder: Path,
    n_words: int,
    width: int = 32,
    n_layers: int = 2,
    std: float = 0.25,
    seed: int = 0,
    sharpness: float = 1.0,
    ending: float = 1.0,
) -> str:
    """A decoder-only model; a line ends with one of two newline tokens or the end of the sequence.

    All logits are multiplied by `sharpness`, those of the newline tokens by `ending` too.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _save_tokenizer(folder, n_words, seq2seq=False)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=std,
        bos_token_id=START,
        eos_token_id=END,
        pad_token_id=PAD,
    )

    def change(model) -> None:
        model.lm_head.weight *= sharpness
        model.lm_head.weight[NEWLINES] *= ending

    _save(LlamaForCausalLM, config, folder, seed, change)
    return str(folder)


def bart(
    folder: Path,
    n_words: int,
    width: int = 32,
    n_layers: int = 2,
    std: float = 0.25,
    seed: int = 0,
    sharpness: float = 1.0,
    ending: float = 0.0,
    attention: float = 1.0,
) -> str:
    """A sequence-to-sequence model; its targets have no token for their start, and special tokens are not generated.

    All logits are multiplied by `sharpness`, and `ending` is added to that of the end of the sequence.
    `attention` multiplies what the decoder takes from the encoder.
    """
    from transformers import BartConfig, BartForConditionalGeneration

    tokenizer = _save_tokenizer(folder, n_words, seq2seq=True)
    config = BartConfig(
        vocab_size=len(tokenizer),
        d_model=width,
        encoder_layers=n_layers,
        decoder_layers=n_layers,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=2 * width,
        decoder_ffn_dim=2 * width,
        max_position_embeddings=512,
        init_std=std,
        pad_token_id=PAD,
        bos_token_id=START,
        eos_token_id=END,
        decoder_start_token_id=END,
        forced_eos_token_id=END,
        tie_word_embeddings=False,  # tied, a random model repeats what it has just written
    )

    def change(model) -> None:
        model.lm_head.weight *= sharpness
        model.final_logits_bias[0, [PAD, START, UNKNOWN]] = -100.0
        model.final_logits_bias[0, END] = ending
        for layer in model.model.decoder.layers:
            layer.encoder_attn.out_proj.weight *= attention

    _save(BartForConditionalGeneration, config, folder, seed, change)
    return str(folder)


def _save(architecture, config, folder: Path, seed: int, change) -> None:
    import torch

    torch.manual_seed(seed)
    model = architecture(config)
    with torch.no_grad():
        change(model)
    model.save_pretrained(folder)


def _save_tokenizer(folder: Path, n_words: int, seq2seq: bool):
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = [*SPECIALS, *([] if seq2seq else ["\n", "\n\n"]), *(f" {word}" for word in words(n_words))]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    if seq2seq:  # targets come without the space
        tokenizer.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.Prepend(" ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n+| ?[^ \n]+"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>" if seq2seq else "<s> $A", special_tokens=[("<s>", START), ("</s>", END)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    fast.save_pretrained(folder)
    return fast
