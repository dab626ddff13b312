"""Encoders saved by sentence-transformers, before and after version 5.4: read as the library reads them, or refused."""

import itertools
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import checkpoints
import numpy as np
import pytest
from substitution import substitute, uncached

from nbutils import cache, models, paths, retrieval
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.models import encoding, sentence_folder
from nbutils.models import load as load_module
from nbutils.models import runtime as runtime_module

SHORT = ["Lima is the capital of Peru.", "Who wrote Faust?", "yen", "The official languages of Chad are French"]
TEXTS = [*SHORT, "The currency of Peru is the sol, " * 12, "Lima " * 300]  # the last is longer than any limit
TITLES = ["Peru", "", "Japan", "the official languages", "Lima and its currency", ""]
FLAGS = {  # the older form of each pooling of the library
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
LATER_FLAGS = ("weightedmean", "lasttoken")  # the first folders have no flags of these
READ = [None, "mean", "cls"]  # None: no flag is set, or no pooling is named
REFUSED = ["max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", *itertools.combinations(FLAGS, 2), tuple(FLAGS)]
BOTH = {"query": "question: ", "document": "background: "}
# (prompts, default_prompt_name, what stands before a question and a passage, whether the library of today says so too:
# it puts an empty "document" beside the names that others use)
PROMPTS = [
    (None, None, ("", ""), True),
    ({"query": "", "document": ""}, None, ("", ""), True),
    (BOTH, None, ("question: ", "background: "), True),
    (BOTH | {"passage": "the country: ", "STS": "Lima: "}, "document", ("question: ", "background: "), True),
    ({"document": "background: "}, "document", ("", "background: "), True),
    ({"query": "question: ", "STS": "the country: "}, "query", ("question: ", ""), True),
    ({"query": "question: ", "passage": "background: "}, "query", ("question: ", "background: "), False),
    ({"query": "question: ", "document": "", "corpus": "background: "}, None, ("question: ", "background: "), False),
]
UNCLEAR = [  # whose are they, the questions' or the passages'?
    ({"retrieval": "question: "}, "retrieval"),
    ({"retrieval": "question: "}, None),
    (BOTH | {"STS": "the country: "}, "STS"),
]
BASES = {"uncased": True, "cased": False}  # whether the tokenizer itself makes lower case


@pytest.fixture(autouse=True)
def on_the_cpu_in_float32(monkeypatch, tmp_path):
    import torch

    substitute(monkeypatch, runtime_module, "pick_device", lambda: "cpu")
    substitute(monkeypatch, runtime_module, "pick_dtype", lambda device: torch.float32)
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A BERT without any file of the library, with either tokenizer: {its name in BASES: folder}."""
    folders = {}
    for name, lowers in BASES.items():
        folders[name] = checkpoints.minilm(tmp_path_factory.mktemp("plain") / name, pooling=None)
        file = Path(folders[name]) / "tokenizer.json"
        tokenizer = json.loads(file.read_text())
        tokenizer["normalizer"] |= {"lowercase": lowers, "strip_accents": lowers}
        file.write_text(json.dumps(tokenizer))
    return folders


@pytest.fixture(scope="module")
def plain(bases):
    return bases["uncased"]


@pytest.fixture
def save(bases, tmp_path):
    """Saves one checkpoint after another with these settings; its folder."""
    numbers, loaded = itertools.count(), {}

    def old_form(
        pooling="mean", normalize=True, prompts=None, default=None, max_seq_length=None, base="uncased",
        lower=False, all_flags=True,
    ):  # fmt: skip
        folder = tmp_path / f"old{next(numbers)}"
        shutil.copytree(bases[base], folder)
        kinds = {"": "Transformer", "1_Pooling": "Pooling"} | ({"2_Normalize": "Normalize"} if normalize else {})
        modules = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(kinds.items())
        ]
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "1_Pooling").mkdir()
        on = (pooling,) if isinstance(pooling, str) else pooling or ()
        flags = {flag: mode in on for mode, flag in FLAGS.items() if all_flags or mode in on or mode not in LATER_FLAGS}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32} | flags))
        limits = {"max_seq_length": max_seq_length, "do_lower_case": lower}
        (folder / "sentence_bert_config.json").write_text(json.dumps(limits))
        if prompts is not None:
            stated = {"__version__": {}, "prompts": prompts, "default_prompt_name": default}
            (folder / "config_sentence_transformers.json").write_text(json.dumps(stated))
        return folder

    def new_form(
        pooling="mean", normalize=True, prompts=None, default=None, max_seq_length=None, base="uncased",
        lower=False, all_flags=True,
    ):  # fmt: skip
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Normalize, Pooling, Transformer

        folder = tmp_path / f"new{next(numbers)}"
        limits = {} if max_seq_length is None else {"processor_kwargs": {"model_max_length": max_seq_length}}
        if (base, lower, max_seq_length) not in loaded:
            loaded[base, lower, max_seq_length] = Transformer(bases[base], do_lower_case=lower, **limits)
        transformer = loaded[base, lower, max_seq_length]
        modules = [transformer, Pooling(32, pooling or "mean"), *([Normalize()] if normalize else [])]
        library = SentenceTransformer(modules=modules, prompts=prompts, default_prompt_name=default, device="cpu")
        library.save(str(folder), create_model_card=False)
        settings = json.loads((folder / "1_Pooling" / "config.json").read_text())
        assert settings["pooling_mode"] == (list(pooling) if isinstance(pooling, tuple) else pooling or "mean")
        if pooling is None:
            del settings["pooling_mode"]
        elif not all_flags and isinstance(pooling, str):  # the library reads a list of one as well
            settings["pooling_mode"] = [pooling]
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
        return folder

    return {"old": old_form, "new": new_form}


def write(path, **settings):
    path.parent.mkdir(exist_ok=True)
    before = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(before | settings))


def load_library(folder):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def expected_vectors(folder, texts, prompt=""):
    return load_library(folder).encode(texts, prompt=prompt)


def vectors(encoder, texts):
    return uncached(models.encode, encoder, texts)


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message and "Traceback" not in message
    return message


# The property


def require_agreement(folder, before, is_librarys):
    """AssertionError unless questions and passages get the library's vectors, by its own choice of prompts if so."""
    encoder, library = models.load_encoder(str(folder)), load_library(folder)
    assert (encoder.query_prompt, encoder.passage_prompt) == before
    passages = [Passage(title, text) for title, text in zip(TITLES, TEXTS, strict=True)]
    joined = [f"{p.title}. {p.text}" if p.title else p.text for p in passages]
    if is_librarys:
        expected = library.encode_query(TEXTS), library.encode_document(joined)
    else:
        expected = library.encode(TEXTS, prompt=before[0]), library.encode(joined, prompt=before[1])
    read = models.query_texts(encoder, TEXTS), [retrieval.encoder_text(encoder, p) for p in passages]
    for texts, librarys in zip(read, expected, strict=True):
        np.testing.assert_allclose(vectors(encoder, texts), librarys, atol=1e-3, rtol=0)


def require_refusal(folder, message):
    with pytest.raises(InputError, match=message) as caught:
        models.load_encoder(str(folder))
    assert folder.name in one_line(caught)


def draw(rng):
    """What else a folder says, at random."""
    return {
        "max_seq_length": rng.choice([None, 8, 20]),
        "base": str(rng.choice([*BASES])),
        "lower": bool(rng.random() < 0.5),
        "all_flags": bool(rng.random() < 0.5),
    }


@pytest.mark.parametrize("form", ["old", "new"])
def test_every_folder_that_is_read_agrees_with_the_library(save, form):
    """Every pooling that is read, with and without scaling, under all prompts; the rest is drawn. None is refused."""
    rng, drawn = np.random.default_rng(0 if form == "old" else 1), Counter()
    cases = [
        *itertools.product(["mean", "cls"], [True, False], PROMPTS),
        (None, True, PROMPTS[2]),
        (None, False, PROMPTS[0]),
    ]
    for pooling, normalize, (prompts, default, before, is_librarys) in cases:
        others = draw(rng)
        require_agreement(save[form](pooling, normalize, prompts, default, **others), before, is_librarys)
        drawn.update(others.items())
    assert len(drawn) == 3 + 2 + 2 + 2 and min(drawn.values()) >= 6  # each value is drawn, of 33 folders


@pytest.mark.parametrize("form", ["old", "new"])
def test_every_other_folder_is_refused_as_what_it_is(save, form):
    """Poolings alone and together, prompts that could be anybody's; but for these the folders would be read."""
    from sentence_transformers.models import Pooling

    assert {*FLAGS} == {*Pooling.POOLING_MODES} == {*sentence_folder.POOLING_FLAGS.values()}
    rng = np.random.default_rng(0 if form == "old" else 1)
    for number, pooling in enumerate(REFUSED):
        prompts, default, _, _ = PROMPTS[rng.integers(len(PROMPTS))]
        named = [pooling] if isinstance(pooling, str) else pooling
        shown = ", ".join(repr(FLAGS[mode] if form == "old" else mode) for mode in named)
        folder = save[form](pooling, bool(number % 2), prompts, default, **draw(rng))
        require_refusal(folder, rf"pooling \[{shown}\] is not supported, only mean and cls")
    for pooling, (prompts, default) in itertools.product(READ, UNCLEAR):
        folder = save[form](pooling, bool(rng.random() < 0.5), prompts, default, **draw(rng))
        require_refusal(folder, r"prompt '(retrieval|STS)' is for what\?")


FAULTS = [
    {"pooling": "mean"}, {"normalize": True}, {"max_length": None}, {"lower_case": False}, {"query_prompt": ""},
    {"passage_prompt": ""}, {"query_prompt": "background: ", "passage_prompt": "question: "},
]  # fmt: skip


@pytest.mark.parametrize("form", ["old", "new"])
def test_the_property_would_notice(save, form, monkeypatch):
    """What a folder says lost or taken for another, other pooling, titles in front of prompts, all poolings read."""
    prompts, default, *case = PROMPTS[2]
    # The tokenizer of the newer form makes lower case itself: there is nothing beside it that could be lost.
    folder = save[form]("cls", False, prompts, default, max_seq_length=20, base="cased", lower=True)
    scaled = save[form]("mean", True, prompts, default)
    odd = save[form](("mean", "weightedmean"), False, prompts, default)

    def is_noticed(module, name, fault, folder=folder):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fault)
            with pytest.raises(AssertionError):
                require_agreement(folder, *case)

    require_agreement(folder, *case)
    read = sentence_folder.read_sentence_settings
    for fault in FAULTS:
        if form == "old" or fault.keys() & {"pooling", "normalize", "query_prompt", "passage_prompt"}:
            is_noticed(load_module, read.__name__, lambda place, fault=fault: replace(read(place), **fault))
    is_noticed(load_module, read.__name__, lambda place: replace(read(place), normalize=False), scaled)
    embed = encoding.embed
    for pooling in ("mean", "cls"):
        other = {"mean": scaled, "cls": folder}[pooling]
        wrong = {"mean": "cls", "cls": "mean"}[pooling]
        is_noticed(
            encoding, "embed", lambda encoder, ids, wrong=wrong: embed(replace(encoder, pooling=wrong), ids), other
        )
    is_noticed(retrieval, "encoder_text", lambda encoder, p: f"{p.title}. {encoder.passage_prompt}{p.text}")
    is_noticed(models, "query_texts", lambda encoder, texts: texts)
    monkeypatch.setattr(sentence_folder, "POOLINGS", (*FLAGS,))
    with pytest.raises(AssertionError):  # two poolings
        require_refusal(odd, r"pooling \['mean'\] is not supported")
    with pytest.raises(pytest.fail.Exception):
        require_refusal(save[form]("max"), "pooling")


# What is refused


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("sentence_transformers.models.LayerNorm", "module LayerNorm is not supported, only Transformer, Pooling"),
        ("sentence_transformers.models.WeightedLayerPooling", "module WeightedLayerPooling"),
        ("sentence_transformers.models.Dense", "module Dense"),
        ("sentence_transformers.base.modules.router.Router", "module Router"),
        ("custom_st.Transformer", r"module custom_st\.Transformer"),
        ("sentence_transformers.models.Pooling", "modules Transformer, Pooling, Pooling are not supported"),
    ],
)
def test_unknown_modules_are_refused(save, module, message):
    folder = save["old"](normalize=False)
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_More", "type": module})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match=message) as caught:
        models.load_encoder(str(folder))
    one_line(caught)


def test_modules_that_the_library_saves_are_refused_by_their_name(plain, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense, LayerNorm, Normalize, Pooling, Transformer, WeightedLayerPooling

    transformer = Transformer(plain)
    folders = {
        "Dense": [transformer, Pooling(32), Dense(32, 16), Normalize()],
        "LayerNorm": [transformer, Pooling(32), LayerNorm(32)],
        "WeightedLayerPooling": [transformer, WeightedLayerPooling(32, num_hidden_layers=2), Pooling(32)],
    }
    for name, modules in folders.items():
        library = SentenceTransformer(modules=modules, device="cpu")
        library.save(str(tmp_path / name), create_model_card=False)
        require_refusal(tmp_path / name, f"module {name} is not supported")


def test_modules_in_another_order_or_number_are_refused(save):
    folder = save["old"]()
    modules = json.loads((folder / "modules.json").read_text())
    for others in (modules[:1], modules[1:], [modules[0], modules[2], modules[1]], []):
        (folder / "modules.json").write_text(json.dumps(others))
        with pytest.raises(InputError, match=r"modules .*are not supported, only Transformer, Pooling, Normalize"):
            models.load_encoder(str(folder))
    (folder / "modules.json").write_text(json.dumps([modules[0] | {"path": "0_Transformer"}, *modules[1:]]))
    with pytest.raises(InputError, match="its model is in 0_Transformer/, not in the folder itself"):
        models.load_encoder(str(folder))


SETTINGS = [
    ("1_Pooling/config.json", {"pooling_mode": "nuclear"}, "pooling .'nuclear'. is not supported, only mean and cls"),
    ("1_Pooling/config.json", {"pooling_mode": ["mean", "max"]}, "pooling .'mean', 'max'. is not supported"),
    ("1_Pooling/config.json", {"pooling_mode_median_tokens": True}, "pooling_mode_median_tokens = True is not supp"),
    ("2_Normalize/config.json", {"module_input_name": "token_embeddings"}, "module_input_name = 'token_embeddings'"),
    ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "transformer_task = 'fill-mask'"),
    ("sentence_bert_config.json", {"modality_config": {"message": {}}}, "modality_config = "),
    ("sentence_bert_config.json", {"module_output_name": "sentence_embedding"}, "module_output_name"),
    ("sentence_bert_config.json", {"processing_kwargs": {"text": {"padding": "max_length"}}}, "processing_kwargs"),
    ("sentence_bert_config.json", {"tokenizer_args": {"model_max_length": 5}}, "tokenizer_args"),
    ("sentence_bert_config.json", {"query_length": 5}, "query_length = 5"),
    ("sentence_bert_config.json", {"max_seq_length": "128"}, "max_seq_length = '128'"),
    ("sentence_bert_config.json", {"max_seq_length": 0}, "max_seq_length = 0"),
    ("sentence_bert_config.json", {"max_seq_length": 2}, "limit of 2 tokens 2 are special"),
    ("config_sentence_transformers.json", {"truncate_dim": 16}, "truncate_dim = 16"),
    ("config_sentence_transformers.json", {"similarity_fn_name": "manhattan"}, "similarity_fn_name = 'manhattan'"),
    ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "model_type = 'SparseEncoder'"),
    ("config_sentence_transformers.json", {"prompts": ["query: "]}, "prompts = "),
    ("config_sentence_transformers.json", {"prompts": {"query": 3}}, "prompts = "),
    ("config_sentence_transformers.json", {"default_prompt_name": "query"}, "'query' is none of its prompts"),
    ("config_sentence_transformers.json", {"prompts": {"s2p": "of: "}}, "prompt 's2p' is for what"),
]


@pytest.mark.parametrize(("file", "settings", "message"), SETTINGS)
def test_unknown_settings_are_refused_by_the_name_of_their_file(save, file, settings, message):
    folder = save["old"]()
    models.load_encoder(str(folder))
    write(folder / file, **settings)
    with pytest.raises(InputError, match=message) as caught:
        models.load_encoder(str(folder))
    assert one_line(caught).startswith(str(folder) if "limit" in message else folder.name)


def test_settings_that_change_nothing_are_taken(save):
    folder = save["new"]()
    write(folder / "sentence_bert_config.json", query_length=None, model_args={}, unpad_inputs=True)
    write(folder / "config_sentence_transformers.json", truncate_dim=None, similarity_fn_name="euclidean", prompts=None)
    encoder = models.load_encoder(str(folder))
    assert encoder.normalize and encoder.query_prompt == encoder.passage_prompt == ""


def test_distances_are_no_inner_products_of_vectors_of_any_length(save):
    folder = save["new"](normalize=False)
    write(folder / "config_sentence_transformers.json", similarity_fn_name="euclidean")
    with pytest.raises(InputError, match="similarity_fn_name = 'euclidean' is not supported"):
        models.load_encoder(str(folder))


def test_pooling_without_the_prompt_is_refused_where_there_is_one(save):
    folder = save["new"]()
    write(folder / "1_Pooling" / "config.json", include_prompt=False)
    assert models.load_encoder(str(folder)).pooling == "mean"
    write(folder / "config_sentence_transformers.json", prompts={"query": "question: "})
    with pytest.raises(InputError, match="include_prompt"):
        models.load_encoder(str(folder))


@pytest.mark.parametrize("left", ["sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling"])
def test_files_of_the_library_without_its_modules_are_refused(save, plain, tmp_path, left):
    shutil.copytree(plain, tmp_path / "rest")
    whole = save["new"]()
    if left == "1_Pooling":
        shutil.copytree(whole / left, tmp_path / "rest" / left)
    else:
        shutil.copy(whole / left, tmp_path / "rest")
    with pytest.raises(InputError, match=f"{left}.* without modules.json"):
        models.load_encoder(str(tmp_path / "rest"))


def test_damaged_or_missing_files_are_refused(save):
    for damage, message in (
        (lambda path: path.unlink(), "1_Pooling/config.json is missing"),
        (lambda path: path.write_text("[]"), "1_Pooling/config.json is damaged .it holds no dict"),
        (lambda path: path.write_text("{"), "1_Pooling/config.json is damaged"),
    ):
        folder = save["old"]()
        damage(folder / "1_Pooling" / "config.json")
        with pytest.raises(InputError, match=message) as caught:
            models.load_encoder(str(folder))
        one_line(caught)
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Pooling"}]')
    with pytest.raises(InputError, match=r"modules\.json is damaged"):
        models.load_encoder(str(folder))


# Lower case


def test_lower_case_is_applied_as_the_library_does(save):
    folder = save["old"](base="cased")
    cased = vectors(models.load_encoder(str(folder)), TEXTS)
    write(folder / "sentence_bert_config.json", do_lower_case=True)
    lower = vectors(models.load_encoder(str(folder)), TEXTS)
    np.testing.assert_allclose(lower, expected_vectors(folder, TEXTS), atol=1e-3)
    assert np.abs(lower - cased).max() > 0.01


# How long a text may be


def test_the_limit_is_the_checkpoints(save, plain):
    for stated, tokenizer, limit in ((16, 512, 16), (None, 24, 24), (None, None, 160), (1000, None, 160)):
        folder = save["old"](max_seq_length=stated)
        if tokenizer is not None:
            write(folder / "tokenizer_config.json", model_max_length=tokenizer)
        assert models.load_encoder(str(folder)).max_length == limit
    assert models.load_encoder(plain).max_length == 160  # its positions
    assert models.load_encoder(plain, max_length=9).max_length == 9
    with pytest.raises(InputError, match=r"max_length = 161: .* has positions for 160 tokens"):
        models.load_encoder(plain, max_length=161)
    long = ["Lima " * 500]
    assert vectors(models.load_encoder(plain), long).shape == (1, 32)


def test_the_positions_of_roberta_begin_after_its_padding(plain, tmp_path):
    import torch
    from transformers import RobertaConfig, RobertaModel

    shutil.copytree(plain, tmp_path / "roberta")
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=102, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=40, pad_token_id=0,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(tmp_path / "roberta")
    encoder = models.load_encoder(str(tmp_path / "roberta"))
    assert encoder.max_length == 39
    assert vectors(encoder, ["Lima " * 500]).shape == (1, 32)


def test_the_embedded_encoder_keeps_its_limit():
    assert models.load_encoder("minilm").max_length == 128  # its sentence_bert_config.json says 256


def test_how_many_texts_are_cut(plain, caplog):
    encoder = models.load_encoder(plain, max_length=6)
    texts = ["lima is the capital", "lima is the capital of", "lima " * 300, "lima"]
    assert models.n_truncated(encoder, texts) == 2  # [CLS] and [SEP] count
    assert models.n_truncated(encoder, texts[:1]) == models.n_truncated(encoder, []) == 0
    assert models.n_truncated(models.load_encoder(plain), texts) == 1
    whole, cut = vectors(encoder, ["lima is the capital of peru", "lima is the capital of"])
    np.testing.assert_allclose(whole, cut, atol=1e-5)
    assert "longer than" not in caplog.text


# The two towers of one checkpoint

CORPUS = {
    "chad": Passage("Chad", "The capital of Chad is N'Djamena."),
    "peru": Passage("Peru", "The capital of Peru is Lima; its currency is the sol."),
    "japan": Passage("Japan", "The currency of Japan is the yen."),
}
QUERIES = ["What is the capital of France?", "What is spent in Japan?"]


@pytest.mark.parametrize("form", ["old", "new"])
def test_questions_and_passages_get_their_own_prompts(save, form):
    folder = save[form](prompts={"query": "question: ", "passage": "background: "})
    encoder = models.load_encoder(str(folder))
    index = retrieval.build_dense(encoder, CORPUS)
    passages = expected_vectors(folder, [f"{p.title}. {p.text}" for p in CORPUS.values()], "background: ")
    np.testing.assert_allclose(index.faiss_index.reconstruct_n(0, 3), passages, atol=1e-3)
    products = expected_vectors(folder, QUERIES, "question: ") @ passages.T
    ids, scores = retrieval.search(retrieval.DenseRetriever(index, encoder), QUERIES, 3)
    np.testing.assert_allclose(scores, -np.sort(-products, axis=1), atol=1e-3)
    assert ids.tolist() == np.array([*CORPUS])[np.argsort(-products, axis=1)].tolist()
    added = retrieval.add_passages(retrieval.build_dense(encoder, {"chad": CORPUS["chad"]}), encoder, {
        "peru": CORPUS["peru"]
    })  # fmt: skip
    np.testing.assert_allclose(added.faiss_index.reconstruct(1), passages[1], atol=1e-3)


def test_training_reads_what_the_search_reads(save):
    from nbutils.training.embedding import search_with_gradients

    encoder = models.load_encoder(str(save["new"](prompts={"query": "question: ", "document": "background: "})))
    index = retrieval.build_dense(encoder, CORPUS)
    ids, scores = search_with_gradients(index, encoder, QUERIES, 3)
    expected_ids, expected = retrieval.search(retrieval.DenseRetriever(index, encoder), QUERIES, 3)
    np.testing.assert_allclose(scores.detach().numpy(), expected, atol=1e-4)
    assert ids.tolist() == expected_ids.tolist()


# The key of what is kept


def test_another_reading_is_another_key(save):
    """The same weights, and one setting after the other changed in the folder."""
    folder = save["old"]()
    keys = {models.encoding_key(models.load_encoder(str(folder)), TEXTS)}
    for file, settings in (
        ("config_sentence_transformers.json", {"prompts": {"query": "question: "}}),
        ("config_sentence_transformers.json", {"prompts": {"query": "question: ", "document": "background: "}}),
        ("sentence_bert_config.json", {"max_seq_length": 8}),
        ("1_Pooling/config.json", {"pooling_mode": "cls"}),
        ("config.json", {"hidden_act": "relu"}),
        ("tokenizer_config.json", {"truncation_side": "left"}),
    ):
        write(folder / file, **settings)
        keys.add(models.encoding_key(models.load_encoder(str(folder)), TEXTS))
    assert len(keys) == 7
    with cache.off():
        assert models.encoding_key(models.load_encoder(str(folder)), TEXTS) in keys
