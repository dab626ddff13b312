"""SPLADE: weights by hand and against sentence-transformers, search against brute force, what is kept and refused."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import checkpoints
import numpy as np
import pytest
from substitution import substitute, uncached

from nbutils import models, retrieval
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.retrieval import learned_sparse as learned_sparse_module

TEXTS = ["Lima is the capital of Peru.", "Who wrote Faust?", "the", "the currency of Peru is the sol and " * 30]
CORPUS = {f"p{i}": Passage("Peru" if i % 2 else "", text) for i, text in enumerate(checkpoints.SENTENCES * 3)}


@pytest.fixture(autouse=True)
def own_cache(cache_folder):
    pass


def load(name, **options):
    return checkpoints.load_on_cpu(lambda name: models.load_sparse_encoder(name, **options), str(name))


@pytest.fixture(scope="module")
def encoder(checkpoint):
    return load(checkpoint("splade"))


@pytest.fixture
def saved(checkpoint, tmp_path):
    """The checkpoint as sentence-transformers saves it."""
    from sentence_transformers import SparseEncoder

    SparseEncoder(checkpoint("splade"), device="cpu").save(str(tmp_path / "saved"))
    return tmp_path / "saved"


# Weights


def test_the_weights_are_the_librarys(checkpoint, saved, encoder):
    from sentence_transformers import SparseEncoder

    expected = SparseEncoder(str(saved), device="cpu").encode(TEXTS).to_dense().numpy()
    for sparse_encoder in (encoder, load(saved)):
        weights = uncached(retrieval.encode_sparse, sparse_encoder, TEXTS)
        assert weights.format == "csr" and weights.dtype == np.float32 and weights.shape == expected.shape
        np.testing.assert_allclose(weights.toarray(), expected, atol=1e-5)
    assert 0.2 < (expected > 0).mean() < 0.9 and np.abs(expected[0] - expected[1]).max() > 0.1
    shorter = uncached(retrieval.encode_sparse, load(saved, max_length=20), TEXTS).toarray()
    np.testing.assert_allclose(shorter[:3], expected[:3], atol=1e-5)
    assert np.abs(shorter[3] - expected[3]).max() > 1e-3


class Table:
    """A model whose logits at a position are the row of its token."""

    def __init__(self, logits):
        import torch

        self.logits, self.device = torch.tensor(logits), torch.device("cpu")

    def parameters(self):
        return iter([self.logits])

    def __call__(self, input_ids, attention_mask):
        return SimpleNamespace(logits=self.logits[input_ids])


def test_weights_by_hand(encoder):
    tokenizer = encoder.tokenizer
    n = len(tokenizer)
    logits = np.full((n, n), -1.0, dtype=np.float32)
    lima, peru, chad = tokenizer.convert_tokens_to_ids(["lima", "peru", "chad"])
    logits[lima, [lima, peru]] = 2.0, 0.5
    logits[peru, [lima, peru]] = 1.0, 3.0
    logits[tokenizer.cls_token_id, chad] = 0.25  # special tokens count, as in the library
    logits[tokenizer.pad_token_id] = 9.0  # padding does not
    by_table = replace(encoder, model=Table(logits), sha256="table")
    weights = retrieval.encode_sparse(by_table, ["lima", "Lima Peru", "chad chad chad chad chad"])
    assert weights.nnz == 3 + 3 + 1
    log = math.log
    expected = {(0, lima): log(3), (0, peru): log(1.5), (1, lima): log(3), (1, peru): log(4), (2, chad): log(1.25)}
    for (row, word), weight in expected.items():
        assert weights[row, word] == pytest.approx(weight)
    assert weights[0, chad] == weights[1, chad] == pytest.approx(log(1.25))


def test_no_weight_depends_on_the_batch(encoder, monkeypatch):
    together = uncached(retrieval.encode_sparse, encoder, TEXTS).toarray()
    monkeypatch.setattr(learned_sparse_module, "BATCH_TOKENS", 1)
    alone = uncached(retrieval.encode_sparse, encoder, TEXTS).toarray()
    np.testing.assert_allclose(together, alone, atol=1e-5)
    monkeypatch.setattr(learned_sparse_module, "SHARD_SIZE", 3)
    np.testing.assert_array_equal(uncached(retrieval.encode_sparse, encoder, TEXTS).toarray(), alone)


def test_kept_by_content(encoder, cache_folder, monkeypatch):
    calls, encode = [], learned_sparse_module._encode

    def counted(encoder, texts, label):
        calls.append(list(texts))
        return encode(encoder, texts, label)

    substitute(monkeypatch, learned_sparse_module, "_encode", counted)
    first = retrieval.encode_sparse(encoder, TEXTS)
    again = retrieval.encode_sparse(encoder, TEXTS)
    assert calls == [TEXTS] and (first != again).nnz == 0 and again.dtype == np.float32
    retrieval.encode_sparse(replace(encoder, sha256="other"), TEXTS)
    retrieval.encode_sparse(replace(encoder, settings_sha256="other"), TEXTS)
    retrieval.encode_sparse(replace(encoder, max_length=20), TEXTS)
    assert len(calls) == 4
    for path in (cache_folder / "sparse_vectors").glob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    assert (retrieval.encode_sparse(encoder, TEXTS) != first).nnz == 0 and len(calls) == 5
    with pytest.raises(InputError, match="nothing to encode"):
        retrieval.encode_sparse(encoder, [])


# Search


def test_search_is_brute_force(encoder, monkeypatch):
    queries = [*TEXTS, "Chad", "Goethe"]
    passages = retrieval.encode_sparse(encoder, [retrieval.passage_text(p) for p in CORPUS.values()]).toarray()
    products = retrieval.encode_sparse(encoder, queries).toarray() @ passages.T
    retriever = retrieval.SparseRetriever(retrieval.build_sparse(encoder, CORPUS), encoder)
    ids, scores = retrieval.search(retriever, queries, 5)
    assert ids.shape == scores.shape == (6, 5) and scores.dtype == np.float32
    np.testing.assert_allclose(scores, -np.sort(-products, axis=1)[:, :5], rtol=1e-4)
    names = list(CORPUS)
    for row, found in enumerate(ids):
        np.testing.assert_allclose(products[row, [names.index(id_) for id_ in found]], scores[row], rtol=1e-4)
    assert len({*ids[:, 0]}) > 1
    everything, _ = retrieval.search(retriever, queries, 99)
    assert [sorted(row) for row in everything.tolist()] == [sorted(CORPUS)] * 6
    monkeypatch.setattr(learned_sparse_module, "SCORES_AT_ONCE", 2 * len(CORPUS))  # two questions at a time
    in_parts = retrieval.search(retriever, queries, 5)
    assert (in_parts[0] == ids).all() and (in_parts[1] == scores).all()


def test_what_shares_no_word_is_not_found(encoder, monkeypatch):
    import scipy.sparse

    vectors = {"a": [1, 0, 2], "b": [0, 3, 0], "c": [1, 0, 0], "red": [1, 0, 0], "none": [0, 0, 0], "all": [1, 1, 0]}

    def given(encoder, texts, label=""):
        return scipy.sparse.csr_matrix(np.array([vectors[text] for text in texts], dtype=np.float32))

    substitute(monkeypatch, learned_sparse_module, "encode_sparse", given)
    index = retrieval.build_sparse(encoder, {id_: Passage("", id_) for id_ in "abc"})
    assert index.postings.shape == (3, 3) and index.postings[2].toarray().tolist() == [[2, 0, 0]]
    ids, scores = retrieval.search(retrieval.SparseRetriever(index, encoder), ["red", "none", "all"], 3)
    assert ids.tolist() == [["a", "c", ""], ["", "", ""], ["b", "a", "c"]]  # equal scores in the corpus' order
    assert scores.tolist() == [[1, 1, -np.inf], [0, 0, 0], [3, 1, 1]]
    assert retrieval.found(ids) == [["a", "c"], [], ["b", "a", "c"]]
    vectors["wide"] = [1, 0, 0, 0]
    with pytest.raises(InputError, match="gives weights to 4 words, the index holds 3: take the encoder that"):
        retrieval.search(retrieval.SparseRetriever(index, encoder), ["wide"], 1)


def test_an_empty_corpus(encoder):
    with pytest.raises(InputError, match="the corpus is empty"):
        retrieval.build_sparse(encoder, {})


# Checkpoints


def test_lengths(encoder, saved):
    assert encoder.max_length == 160  # as many as it has positions for
    settings = saved / "sentence_bert_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"max_seq_length": 64}))
    assert load(saved).max_length == 64 and load(saved).settings_sha256 != encoder.settings_sha256
    with pytest.raises(InputError, match=r"max_length = 161: .* has positions for 160 tokens"):
        load(saved, max_length=161)


def test_a_checkpoint_without_its_head_is_refused(checkpoint):
    with pytest.raises(InputError, match="not in the checkpoint, and would be drawn at random"):
        load(checkpoint("minilm", pooling=None))
    with pytest.raises(InputError, match="modules Transformer, Pooling, Normalize are not those of SPLADE"):
        load(checkpoint("minilm"))
    with pytest.raises(InputError, match="cannot be loaded"):
        load(checkpoint("llama"))


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("1_SpladePooling/config.json", {"pooling_strategy": "sum"}, "pooling_strategy = 'sum' is not supported"),
        ("1_SpladePooling/config.json", {"activation_function": "log1p_relu"}, "activation_function = 'log1p_relu'"),
        ("config_sentence_transformers.json", {"prompts": {"query": "q: "}}, "prompts of a SPLADE model are not"),
        ("sentence_bert_config.json", {"do_lower_case": True}, "do_lower_case = True is not supported"),
    ],
)
def test_other_conventions_are_refused(saved, file, changes, message):
    settings = json.loads((saved / file).read_text())
    (saved / file).write_text(json.dumps(settings | changes))
    with pytest.raises(InputError, match=message) as caught:
        load(saved)
    assert "\n" not in str(caught.value)
