"""BM25 and dense search against brute force, encoding against one text at a time, and what the cache keeps."""

import dataclasses
import functools
import math
from collections import Counter

import checkpoints
import numpy as np
import pytest

from nbutils import cache, data, models, paths, retrieval
from nbutils.data import Passage
from nbutils.errors import InputError

# Lower case, already stemmed, no stop words: what is counted is what is written.
CORPUS = {
    "p0": Passage("peru", "lima port fish rice port"),
    "p1": Passage("chad", "lake fish desert"),
    "p2": Passage("japan", "port rice fish island rice rice port mountain"),
    "p3": Passage("france", "wine chees"),
    "p4": Passage("oman", "desert port oil"),
}
QUESTIONS = ["port rice", "desert fish oil", "wine", "peru port", "unknown"]


@pytest.fixture(autouse=True)
def cache_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def load(name, dtype="float32"):
    import torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "pick_device", lambda: "cpu")
        patch.setattr(models, "pick_dtype", lambda device: getattr(torch, dtype))
        return models.load_encoder(name)


@pytest.fixture
def encoder(tmp_path):
    return load(checkpoints.minilm(tmp_path / "minilm"))


@pytest.fixture(scope="module")
def minilm():
    """The embedded encoder in bfloat16, the less exact of the two precisions that it runs in."""
    return load("minilm", "bfloat16")


@pytest.fixture
def encodings(monkeypatch):
    """List of the texts that a model was run on."""
    calls, compute = [], retrieval._encode

    def counted(encoder, texts, label):
        calls.append(list(texts))
        return compute(encoder, texts, label)

    monkeypatch.setattr(retrieval, "_encode", counted)
    return calls


# BM25


def bm25_by_hand(documents, query, k1=1.5, b=0.75):
    """Lucene's BM25 of every document, from its definition."""
    counts = [Counter(document.split()) for document in documents]
    lengths = [sum(count.values()) for count in counts]
    mean_length = sum(lengths) / len(lengths)
    scores = []
    for count, length in zip(counts, lengths, strict=True):
        score = 0.0
        for word in query.split():
            containing = sum(word in other for other in counts)
            if containing:
                idf = math.log(1 + (len(documents) - containing + 0.5) / (containing + 0.5))
                score += idf * count[word] / (count[word] + k1 * (1 - b + b * length / mean_length))
        scores.append(score)
    return scores


@pytest.mark.parametrize("title_weight", [1, 3])
def test_bm25_scores_are_lucenes(title_weight):
    documents = [" ".join([passage.title] * title_weight + [passage.text]) for passage in CORPUS.values()]
    index = retrieval.build_bm25(CORPUS, title_weight)
    ids, scores = retrieval.search_bm25(index, QUESTIONS, len(CORPUS))
    for question, row_ids, row_scores in zip(QUESTIONS, ids, scores, strict=True):
        expected = dict(zip(CORPUS, bm25_by_hand(documents, question), strict=True))
        assert dict(zip(row_ids.tolist(), row_scores.tolist(), strict=True)) == pytest.approx(expected, abs=1e-5)
    other = bm25_by_hand(documents, QUESTIONS[0], k1=1.2)
    assert sorted(scores[0].tolist()) != pytest.approx(sorted(other), abs=1e-3)  # the comparison sees a wrong k1


def test_bm25_ignores_case_endings_and_stop_words():
    index = retrieval.build_bm25({"a": Passage("Fishing", "Ports."), "b": Passage("Wine", "The cheeses of the land")})
    ids, scores = retrieval.search_bm25(index, ["the PORT of", "fishes", "a cheese", "the of"], 1)
    assert ids[:3, 0].tolist() == ["a", "a", "b"] and (scores[:3] > 0).all()
    assert scores[3, 0] == 0


def test_title_weight_decides_where_passages_do_not_name_their_document():
    corpus = {"lima": Passage("Peru", "capital Lima"), "note": Passage("Capital", "Peru quoted among capital cities")}
    first = {}
    for weight in (0, 3):
        ids, _ = retrieval.search_bm25(retrieval.build_bm25(corpus, title_weight=weight), ["Peru"], 1)
        first[weight] = ids[0, 0]
    assert first == {0: "note", 3: "lima"}


# What both return


def searches(encoder):
    bm25, dense = retrieval.build_bm25(CORPUS), retrieval.build_dense(encoder, CORPUS)
    return {
        "BM25": lambda questions, n_docs: retrieval.search_bm25(bm25, questions, n_docs),
        "Dense": lambda questions, n_docs: retrieval.search_dense(dense, encoder, questions, n_docs),
    }


@pytest.mark.parametrize("method", ["BM25", "Dense"])
@pytest.mark.parametrize(("n_docs", "width"), [(1, 1), (3, 3), (5, 5), (50, 5)])
def test_search_returns_ids_and_scores_best_first(encoder, method, n_docs, width):
    ids, scores = searches(encoder)[method](QUESTIONS, n_docs)
    assert ids.shape == scores.shape == (len(QUESTIONS), width)
    assert ids.dtype.kind == "U" and scores.dtype == np.float32
    assert (np.diff(scores, axis=1) <= 0).all()
    assert all(len(set(row)) == width and set(row) <= set(CORPUS) for row in ids.tolist())


@pytest.mark.parametrize("method", ["BM25", "Dense"])
def test_search_refuses_nothing(encoder, method):
    search = searches(encoder)[method]
    with pytest.raises(InputError, match="the list of questions is empty"):
        search([], 3)
    with pytest.raises(InputError, match="n_docs = 0: ask for at least 1 passage"):
        search(QUESTIONS, 0)


def test_an_empty_corpus_or_list_is_refused(encoder):
    with pytest.raises(InputError, match="the corpus is empty"):
        retrieval.build_bm25({})
    with pytest.raises(InputError, match="the corpus is empty"):
        retrieval.build_dense(encoder, {})
    for use_cache in (True, False):
        with pytest.raises(InputError, match="the list of texts is empty"):
            retrieval.encode(encoder, [], use_cache=use_cache)


def test_dense_is_exact_inner_product_search(encoder):
    passages = retrieval.encode(encoder, [f"{passage.title}. {passage.text}" for passage in CORPUS.values()])
    products = retrieval.encode(encoder, QUESTIONS) @ passages.T
    ids, scores = retrieval.search_dense(retrieval.build_dense(encoder, CORPUS), encoder, QUESTIONS, 3)
    order = np.argsort(-products, axis=1)[:, :3]
    assert ids.tolist() == np.array(list(CORPUS))[order].tolist()
    np.testing.assert_allclose(scores, np.take_along_axis(products, order, axis=1), atol=1e-5)


def test_inner_products_are_not_cosines_for_an_encoder_that_does_not_normalise(tmp_path):
    raw = load(checkpoints.minilm(tmp_path / "raw", normalise=False))
    _, scores = retrieval.search_dense(retrieval.build_dense(raw, CORPUS), raw, QUESTIONS, 1)
    assert scores.max() > 1.5


# Encoding


def texts_of_mixed_length():
    sentence = "The capital of Peru is Lima, on the Pacific coast, with a port at Callao."
    facts = [f"Fact {number}: {sentence[: 5 + 3 * number]}" for number in range(20)]
    return [*facts, "Lima", sentence, " ".join([sentence] * 3), " ".join([sentence] * 30), "", "N'Djamena 你好"]


@functools.cache
def exact_minilm():
    return load("minilm", "float32")


def one_at_a_time(text):
    """The unit vector of one text by MiniLM in float32: no batch, no padding."""
    import torch

    encoder = exact_minilm()
    inputs = encoder.tokenizer(text, truncation=True, max_length=128, return_tensors="pt")
    with torch.inference_mode():
        states = encoder.model(**inputs).last_hidden_state[0]
    return torch.nn.functional.normalize(states.mean(0), dim=0).numpy()


def require_close(encoder, texts):
    cosines = [
        float(ours @ one_at_a_time(text))
        for text, ours in zip(texts, retrieval.encode(encoder, texts, use_cache=False), strict=True)
    ]
    assert min(cosines) >= 0.999, f"cosine {min(cosines):.4f} to float32, one text at a time"


def test_minilm_in_batches_is_minilm_one_at_a_time(minilm):
    vectors = retrieval.encode(minilm, texts_of_mixed_length(), use_cache=False)
    assert vectors.shape == (26, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    require_close(minilm, texts_of_mixed_length())


def test_a_wrong_encoder_would_be_noticed(minilm):
    """The same comparison fails with dropout on, with another pooling, and with another length limit."""
    texts = texts_of_mixed_length()
    minilm.model.train()
    try:
        with pytest.raises(AssertionError, match="cosine"):
            require_close(minilm, texts)
    finally:
        minilm.model.eval()
    for fault in ({"pooling": "cls"}, {"max_length": 16}):
        with pytest.raises(AssertionError, match="cosine"):
            require_close(dataclasses.replace(minilm, **fault), texts)
    require_close(minilm, texts)


@pytest.mark.parametrize(("dtype", "cosine"), [("float32", 0.999999), ("bfloat16", 0.9995)])
def test_vectors_come_in_the_order_of_the_texts_whatever_is_beside_them(minilm, monkeypatch, dtype, cosine):
    encoder = {"float32": exact_minilm(), "bfloat16": minilm}[dtype]
    texts = texts_of_mixed_length()
    together = retrieval.encode(encoder, texts, use_cache=False)
    order = np.random.default_rng(0).permutation(len(texts))
    monkeypatch.setattr(retrieval, "BATCH_TOKENS", 300)  # other batches
    shuffled = retrieval.encode(encoder, [texts[row] for row in order], use_cache=False)
    assert (together[order] * shuffled).sum(axis=1).min() > cosine
    assert (together * shuffled).sum(axis=1).min() < 0.9


def test_batches_by_length():
    lengths = [3, 50, 7, 7, 120, 1, 0, 64, 9]
    batches = list(retrieval.batches_by_length(lengths, 100))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    longest = [max(lengths[row] for row in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True) and longest[0] == 120
    for batch, length in zip(batches, longest, strict=True):
        assert len(batch) == 1 or len(batch) * length <= 100
    assert list(retrieval.batches_by_length([], 100)) == []


# What is kept


def test_a_second_call_does_not_run_the_model(encoder, encodings, monkeypatch):
    first = retrieval.encode(encoder, QUESTIONS)
    assert encodings == [QUESTIONS]
    monkeypatch.setattr(retrieval, "_encode", lambda *arguments: pytest.fail("the model was run again"))
    np.testing.assert_array_equal(retrieval.encode(encoder, QUESTIONS, "another label"), first)


def test_the_key_is_everything_that_the_vectors_depend_on(encoder, encodings):
    retrieval.encode(encoder, QUESTIONS)
    variants = [
        (encoder, [*QUESTIONS[:-1], "unknown."]),
        (encoder, QUESTIONS[::-1]),
        (encoder, QUESTIONS[:-1]),
        (encoder, ["port ricedesert fish oil", *QUESTIONS[2:]]),
        (dataclasses.replace(encoder, sha256="0" * 64), QUESTIONS),
        (dataclasses.replace(encoder, max_length=4), QUESTIONS),
        (dataclasses.replace(encoder, pooling="cls"), QUESTIONS),
        (dataclasses.replace(encoder, normalise=False), QUESTIONS),
    ]
    for number, (variant, texts) in enumerate(variants, start=2):
        retrieval.encode(variant, texts)
        assert len(encodings) == number, f"variant {number} was read from the cache"
    encoder.model.bfloat16()
    retrieval.encode(encoder, QUESTIONS)
    assert len(encodings) == len(variants) + 2
    retrieval.encode(dataclasses.replace(encoder, name="renamed"), QUESTIONS)  # the name is not what counts
    assert len(encodings) == len(variants) + 2


@pytest.mark.parametrize("damage", [lambda data: data[:-7], lambda data: b"", lambda data: b"nonsense"])
def test_a_damaged_file_is_computed_again(encoder, encodings, cache_folder, damage):
    first = retrieval.encode(encoder, QUESTIONS)
    (file,) = (cache_folder / "embeddings").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    np.testing.assert_array_equal(retrieval.encode(encoder, QUESTIONS), first)
    retrieval.encode(encoder, QUESTIONS)
    assert len(encodings) == 2


# A negative control


def test_a_random_encoder_finds_nothing_where_minilm_does(encoder):
    minilm = models.load_encoder("minilm")  # in whatever precision is fast here
    factbook = data.load_dataset("factbook", n_countries=12)
    questions = [question for question in factbook.questions if question.kind == "fact"][::8]

    def recall(encoder, n_docs):
        index = retrieval.build_dense(encoder, factbook.corpus)
        ids, _ = retrieval.search_dense(index, encoder, [question.text for question in questions], n_docs)
        return np.mean(
            [len(set(row) & set(q.gold_passages)) > 0 for row, q in zip(ids.tolist(), questions, strict=True)]
        )

    chance = 10 / len(factbook.corpus)
    assert recall(minilm, 10) > 0.85
    assert recall(encoder, 10) < 4 * chance
    bm25 = retrieval.build_bm25(factbook.corpus)
    ids, _ = retrieval.search_bm25(bm25, [question.text for question in questions], 10)
    assert np.mean([q.gold_passages[0] in row for row, q in zip(ids.tolist(), questions, strict=True)]) > 0.7
