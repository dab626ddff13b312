"""Checkpoints as fine-tuning leaves them: lacking weights, with others too many, adapters, endings, other kinds."""

import json
import shutil

import checkpoints
import numpy as np
import pytest
from substitution import substitute, uncached

from nbutils import generation, models, paths
from nbutils.errors import InputError
from nbutils.models import runtime as runtime_module

PROMPT, ANSWER = "Question: What is the capital of Peru?\nAnswer:", "Lima"


@pytest.fixture(autouse=True)
def on_the_cpu_in_float32(monkeypatch, tmp_path):
    import torch

    substitute(monkeypatch, runtime_module, "pick_device", lambda: "cpu")
    substitute(monkeypatch, runtime_module, "pick_dtype", lambda device: torch.float32)
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")


def change_weights(folder, change):
    """Write what `change` makes of {name: tensor}."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in change(load_file(path)).items()}, path, {"format": "pt"})


def write(path, **settings):
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def logprobs(generator):
    return uncached(generation.answer_logprobs, generator, [PROMPT], [ANSWER])[0]


def refuses(load, folder, message):
    with pytest.raises(InputError, match=message) as caught:
        load(str(folder))
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)


def save_llama(folder, architecture, **settings):
    import torch
    import transformers

    checkpoints.llama(folder, pad_token="<pad>")
    config = transformers.AutoConfig.from_pretrained(folder)
    for name, value in settings.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    getattr(transformers, architecture)(config).save_pretrained(folder)
    return folder


# Weights that are not there, or that nobody reads


@pytest.mark.parametrize(
    ("architecture", "tied", "message"),
    [
        ("LlamaForSequenceClassification", False, r"lm_head\.weight is not in the checkpoint, .* at random"),
        ("LlamaModel", False, r"lm_head\.weight is not in the checkpoint"),
        ("LlamaForSequenceClassification", True, r"score\.weight is in the checkpoint, and its model has no place"),
        ("LlamaForTokenClassification", True, r"score\.bias and 1 more weights are in the checkpoint"),
    ],
)
def test_what_is_no_language_model_is_refused(tmp_path, architecture, tied, message):
    folder = save_llama(tmp_path / "model", architecture, tie_word_embeddings=tied, num_labels=1)
    refuses(models.load_generator, folder, message)


def test_a_tied_base_is_whole(tmp_path):
    whole = save_llama(tmp_path / "whole", "LlamaForCausalLM", tie_word_embeddings=True)
    base = save_llama(tmp_path / "base", "LlamaModel", tie_word_embeddings=True)
    np.testing.assert_array_equal(*(logprobs(models.load_generator(str(folder))) for folder in (whole, base)))


@pytest.mark.parametrize("kind", ["llama", "gemma3", "bart"])
def test_a_renamed_or_missing_layer_is_refused(tmp_path, kind):
    folder = tmp_path / kind
    getattr(checkpoints, kind)(folder)
    models.load_generator(str(folder))
    shutil.copytree(folder, tmp_path / "renamed")
    change_weights(folder, lambda state: {name: state[name] for name in state if "layers.1." not in name})
    refuses(models.load_generator, folder, r"layers\.1\..* and \d+ more weights are not in the checkpoint")
    change_weights(
        tmp_path / "renamed",
        lambda state: {name.replace("layers.1.", "layers.1.in."): state[name] for name in state},
    )
    refuses(models.load_generator, tmp_path / "renamed", "not in the checkpoint")


def test_layers_that_the_config_does_not_name_are_refused(tmp_path):
    checkpoints.llama(tmp_path / "llama")
    write(tmp_path / "llama" / "config.json", num_hidden_layers=1)
    refuses(models.load_generator, tmp_path / "llama", r"layers\.1\..* in the checkpoint, and its model has no place")
    checkpoints.minilm(tmp_path / "bert")
    write(tmp_path / "bert" / "config.json", num_hidden_layers=1)
    refuses(models.load_encoder, tmp_path / "bert", r"encoder\.layer\.1\..* in the checkpoint, and its model has no")


@pytest.mark.parametrize("kind", ["minilm", "dpr"])
def test_an_encoder_without_a_layer_is_refused(tmp_path, kind):
    getattr(checkpoints, kind)(tmp_path)
    change_weights(tmp_path, lambda state: {name: state[name] for name in state if "layer.1." not in name})
    refuses(models.load_encoder, tmp_path, r"layer\.1\..* not in the checkpoint, and would be drawn at random")


def test_an_encoder_needs_no_pooler_and_no_head(tmp_path):
    """As saved by masked language modeling, or for a classification: the head is above the encoder."""
    import torch
    import transformers

    expected = uncached(models.encode, models.load_encoder(checkpoints.minilm(tmp_path / "bert")), [PROMPT])
    change_weights(tmp_path / "bert", lambda state: {name: state[name] for name in state if "pooler" not in name})
    np.testing.assert_array_equal(
        uncached(models.encode, models.load_encoder(str(tmp_path / "bert")), [PROMPT]), expected
    )
    for architecture in (transformers.BertForMaskedLM, transformers.BertForSequenceClassification):
        shutil.copytree(tmp_path / "bert", tmp_path / architecture.__name__)
        torch.manual_seed(0)
        base = transformers.BertModel.from_pretrained(tmp_path / "bert")
        model = architecture(base.config)
        model.bert.load_state_dict(base.state_dict(), strict=False)
        model.save_pretrained(tmp_path / architecture.__name__)
        encoder = models.load_encoder(str(tmp_path / architecture.__name__))
        np.testing.assert_array_equal(uncached(models.encode, encoder, [PROMPT]), expected)


def test_constants_of_old_checkpoints_are_no_weights(tmp_path):
    import torch

    checkpoints.llama(tmp_path / "llama")
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    change_weights(tmp_path / "llama", lambda state: state | buffer)
    models.load_generator(str(tmp_path / "llama"))
    checkpoints.minilm(tmp_path / "bert")
    change_weights(tmp_path / "bert", lambda state: state | {"embeddings.position_ids": torch.arange(160)[None]})
    models.load_encoder(str(tmp_path / "bert"))


# Adapters


def save_adapter(generator, folder):
    import peft

    peft.get_peft_model(generator.model, peft.LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(folder)


def test_a_left_over_adapter_is_refused(tmp_path):
    folder = checkpoints.llama(tmp_path / "whole")
    save_adapter(models.load_generator(folder), folder)
    for load in (models.load_generator, models.load_encoder):
        refuses(load, folder, "adapter_config.json is in it, beside a whole model: merge the adapter")
    (tmp_path / "whole" / "adapter_config.json").unlink()
    refuses(models.load_generator, folder, "adapter_model.safetensors is in it, beside a whole model")


def test_a_folder_of_peft_is_refused_as_what_it_is(tmp_path):
    save_adapter(models.load_generator(checkpoints.llama(tmp_path / "whole")), tmp_path / "adapter")
    for load in (models.load_generator, models.load_encoder):
        refuses(load, tmp_path / "adapter", "adapter_config.json is in it, a PEFT adapter and no model: merge")


def test_adapter_weights_inside_a_checkpoint_are_refused(tmp_path):
    import torch

    checkpoints.llama(tmp_path / "llama")
    change_weights(
        tmp_path / "llama", lambda state: state | {"model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(2, 32)}
    )
    for load in (models.load_generator, models.load_encoder):
        refuses(load, tmp_path / "llama", r"lora_A\.weight is in the checkpoint, and its model has no place for it")


# Tokenizers that add an ending


def add_ending(folder, single="<s> $A </s>", pair="<s> $A </s> <s> $B:1 </s>:1", sequence=False):
    from tokenizers import Tokenizer, processors

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    specials = [("<s>", checkpoints.START), ("</s>", checkpoints.END)]
    template = processors.TemplateProcessing(single=single, pair=pair, special_tokens=specials)
    inner = [processors.ByteLevel(trim_offsets=False), template]
    tokenizer.post_processor = processors.Sequence(inner) if sequence else template
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("sequence", [False, True])
@pytest.mark.parametrize("single", ["<s> $A </s>", "$A </s>", "<s> $A </s> </s>"])
def test_a_prompt_has_no_ending(tmp_path, single, sequence):
    folder = tmp_path / "plain"
    checkpoints.llama(folder)
    plain = models.load_generator(str(folder))
    shutil.copytree(folder, tmp_path / "ending")
    add_ending(tmp_path / "ending", single, sequence=sequence)
    generator = models.load_generator(str(tmp_path / "ending"))
    ids = generator.tokenizer(PROMPT)["input_ids"]
    begins = single.startswith("<s>")
    assert ids == plain.tokenizer(PROMPT)["input_ids"][0 if begins else 1 :]
    if begins:
        np.testing.assert_array_equal(logprobs(generator), logprobs(plain))
    assert generator.sha256 == plain.sha256
    assert generation.fingerprint(generator) != generation.fingerprint(plain)  # other files, other keys


def test_an_ending_that_stays_is_refused(tmp_path):
    from tokenizers import Tokenizer, processors

    checkpoints.llama(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", checkpoints.END), ("<s>", checkpoints.START))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    refuses(models.load_generator, tmp_path, "its tokenizer adds </s> after a text: save it with add_eos_token=False")


def test_a_sequence_to_sequence_model_keeps_its_ending(tmp_path):
    generator = models.load_generator(checkpoints.bart(tmp_path))
    assert generator.tokenizer(PROMPT)["input_ids"][-1] == checkpoints.END


# T5, and kinds of models that are not for this


def save_t5(folder, architecture="T5ForConditionalGeneration", **settings):
    import torch
    import transformers

    tokenizer = checkpoints._save_byte_level(folder, "$A </s>", pad_token="<pad>")
    config = transformers.T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=checkpoints.END,
    )  # fmt: skip
    torch.manual_seed(0)
    getattr(transformers, architecture)(config).save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        if (folder / name).is_file():
            kept = json.loads((folder / name).read_text()) | settings
            (folder / name).write_text(json.dumps({key: value for key, value in kept.items() if value is not None}))
    return folder


def test_t5_is_a_generator_whether_or_not_its_config_says_so(tmp_path):
    said = models.load_generator(str(save_t5(tmp_path / "said")))
    unsaid = models.load_generator(str(save_t5(tmp_path / "unsaid", is_encoder_decoder=None)))
    assert said.seq2seq and unsaid.seq2seq
    np.testing.assert_array_equal(logprobs(said), logprobs(unsaid))
    assert uncached(generation.generate, unsaid, [PROMPT], 3)


def test_the_decoders_start_is_named_once(tmp_path):
    refuses(
        models.load_generator,
        save_t5(tmp_path / "none", decoder_start_token_id=None),
        "config files name no decoder_start_token_id: set it in config.json",
    )
    folder = save_t5(tmp_path / "one")
    write(folder / "generation_config.json", decoder_start_token_id=checkpoints.START)
    refuses(models.load_generator, folder, "config files disagree about decoder_start_token_id")
    config = json.loads((folder / "config.json").read_text())
    del config["decoder_start_token_id"]
    (folder / "config.json").write_text(json.dumps(config))
    assert models.load_generator(str(folder)).model.config.decoder_start_token_id == checkpoints.START


@pytest.mark.parametrize("architecture", ["T5ForConditionalGeneration", "T5Model", "T5EncoderModel"])
def test_t5_is_an_encoder_without_its_decoder(tmp_path, architecture):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    folder = save_t5(tmp_path / "t5", architecture)
    encoder = models.load_encoder(str(folder))
    assert type(encoder.model).__name__ == "T5EncoderModel" and models.embedding_dim(encoder) == 32
    library = SentenceTransformer(modules=[Transformer(str(folder)), Pooling(32, "mean")], device="cpu")
    np.testing.assert_allclose(uncached(models.encode, encoder, [PROMPT]), library.encode([PROMPT]), atol=1e-3)


def test_half_of_a_t5_is_no_generator(tmp_path):
    refuses(models.load_generator, save_t5(tmp_path / "said", "T5EncoderModel"), "cannot be loaded")
    write(tmp_path / "said" / "config.json", is_encoder_decoder=True)
    refuses(models.load_generator, tmp_path / "said", "decoder.* and .* more weights are not in the checkpoint")


def test_kinds_that_make_no_vectors_or_words_are_refused(tmp_path):
    import torch
    import transformers

    checkpoints.llama(tmp_path / "kind")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    pictures = transformers.ViTConfig(**sizes, image_size=8, patch_size=4)
    pegasus = transformers.PegasusConfig(
        vocab_size=320, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.ViTModel(pictures).save_pretrained(tmp_path / "kind")
    refuses(models.load_encoder, tmp_path / "kind", "makes no vectors of texts")
    refuses(models.load_generator, tmp_path / "kind", "cannot be loaded|output layer")
    transformers.PegasusModel(pegasus).save_pretrained(tmp_path / "kind")
    refuses(models.load_encoder, tmp_path / "kind", "makes no vectors of texts")
    write(tmp_path / "kind" / "config.json", model_type="nobody_knows_it")
    for load in (models.load_encoder, models.load_generator):
        refuses(load, tmp_path / "kind", "cannot be (loaded|used)")


def test_a_language_model_that_fails_at_a_prompt_is_refused(tmp_path, monkeypatch):
    import transformers

    def forward(*arguments, **options):
        raise RuntimeError("expected mat1 and mat2 to have the same dtype\nand more lines")

    folder = checkpoints.llama(tmp_path)
    monkeypatch.setattr(transformers.LlamaModel, "forward", forward)
    refuses(models.load_generator, folder, "reads no prompt .expected mat1 and mat2 .* same dtype.: name another")


def test_stripped_docstrings_are_named(tmp_path):
    import subprocess
    import sys

    folder = checkpoints.minilm(tmp_path)
    code = f"from nbutils import models\nmodels.load_encoder({folder!r})"
    ran = subprocess.run(
        [sys.executable, "-OO", "-c", code], cwd=paths.ROOT, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 1 and "run Python without -OO" in ran.stderr.splitlines()[-1]


# Models with few layers, and texts longer than the encoder's limit, in the pilot


def test_the_pilot_trains_all_layers_of_a_model_that_has_few():
    from nbutils.pilot import findings
    from nbutils.training import TrainingSettings

    for wanted, layers, trained in ((6, 2, 2), (6, 12, 6), (None, 2, None)):
        settings = TrainingSettings(1, 1, lora_layers=wanted)
        assert findings._fit_layers(settings, layers).lora_layers == trained


def test_the_pilot_notes_what_the_encoder_cuts(tmp_path):
    from nbutils.data import Passage
    from nbutils.pilot import findings

    corpus = {"short": Passage("Peru", "Lima."), "long": Passage("Peru", "Lima is the capital of Peru. " * 3)}
    encoder = models.load_encoder(checkpoints.minilm(tmp_path), max_length=12)
    (note,) = findings._note_beyond_limit(encoder, corpus)
    assert note.startswith("1 of 2 passages (50%) have more than the 12 tokens that ")
    assert findings._note_beyond_limit(encoder, {"short": corpus["short"]}) == []
