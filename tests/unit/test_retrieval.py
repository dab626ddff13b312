"""BM25 and dense search against brute force, encoding against one text at a time, and what the cache keeps."""

import dataclasses
import functools
import math
import re
from collections import Counter

import checkpoints
import numpy as np
import pytest
from substitution import substitute, uncached

from nbutils import data, generation, metrics, models, paths, retrieval
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.models import encoding as encoding_module
from nbutils.models import runtime as runtime_module
from nbutils.retrieval import DenseRetriever
from nbutils.retrieval import bm25 as bm25_module
from nbutils.retrieval import faiss_index as faiss_index_module

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
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def load(name, dtype="float32"):
    import torch

    with pytest.MonkeyPatch.context() as patch:
        substitute(patch, runtime_module, "pick_device", lambda: "cpu")
        substitute(patch, runtime_module, "pick_dtype", lambda device: getattr(torch, dtype))
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
    calls, compute = [], encoding_module._encode

    def counted(encoder, texts, label):
        calls.append(list(texts))
        return compute(encoder, texts, label)

    substitute(monkeypatch, encoding_module, "_encode", counted)
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
    ids, scores = retrieval.search(index, QUESTIONS, len(CORPUS))
    for question, row_ids, row_scores in zip(QUESTIONS, ids, scores, strict=True):
        by_hand = bm25_by_hand(documents, question)
        expected = {id_: score for id_, score in zip(CORPUS, by_hand, strict=True) if score > 0}
        found = {id_: score for id_, score in zip(row_ids.tolist(), row_scores.tolist(), strict=True) if id_}
        assert found == pytest.approx(expected, abs=1e-5)
    other = [score for score in bm25_by_hand(documents, QUESTIONS[0], k1=1.2) if score > 0]
    assert sorted(scores[0][ids[0] != ""].tolist()) != pytest.approx(sorted(other), abs=1e-3)  # sees a wrong k1


def test_bm25_ignores_case_endings_and_stop_words():
    index = retrieval.build_bm25({"a": Passage("Fishing", "Ports."), "b": Passage("Wine", "The cheeses of the land")})
    ids, scores = retrieval.search(index, ["the PORT of", "fishes", "a cheese", "the of"], 1)
    assert ids[:, 0].tolist() == ["a", "a", "b", ""] and (scores[:3] > 0).all()
    assert scores[3, 0] == 0


def test_keyword_search_finds_only_what_matches():
    corpus = {
        "a": Passage("", "port"),
        "b": Passage("", "wine port"),
        "c": Passage("", "desert"),
        "d": Passage("", "oil"),
    }
    index = retrieval.build_bm25(corpus)
    ids, scores = retrieval.search(index, ["deserts", "of a port", "unknown", "the of", ""], 4)
    assert retrieval.found(ids) == [["c"], ["a", "b"], [], [], []]
    assert np.isneginf(scores[:2][ids[:2] == ""]).all() and (scores[:2][ids[:2] != ""] > 0).all()
    assert (scores[2:] == 0).all()  # as logits: no place is better than another
    assert retrieval.shortfall(ids) == "Fewer than 4 passages match 5 of 5 questions, none matches 3."
    assert retrieval.shortfall(ids[:2, :1]) == ""
    assert retrieval.shortfall(ids[:2]) == "Fewer than 4 passages match 2 of 2 questions."
    # What is made of it: no recall by chance, and a prompt without a passage.
    assert metrics.recall_curve(ids, [{"c"}, {"d"}, {"a"}, {"a"}, {"d"}], [1, 4]).tolist() == [[1, 1]] + [[0, 0]] * 4
    texts = {id_: passage.text for id_, passage in corpus.items()}
    assert metrics.topk_accuracy(ids[:3], texts, [["desert"], ["oil"], ["port"]], [4])[:, 0].tolist() == [1, 0, 0]
    asked = [data.question_example(f"q{i}", "Who?", ("x",), ()) for i in range(3)]
    prompts = generation.passage_prompts(asked, ids[:3, :2], corpus)
    bare = generation.build_prompt("Who?")
    assert [row.count(bare) for row in prompts] == [1, 0, 2] and "desert" in prompts[0][0]


# A few hundred sentences about invented towns, each with a question in other words.
SYLLABLES = "马洛奎尔东威塔恩奥德费罗林斯卡比芒福灰格"
TEMPLATES = (
    ("{}镇的灯塔高{}米。夜里很亮。", "{}镇的灯塔有多高"),
    ("{}镇的桥建于{}年。跃过河流。", "{}镇的桥是哪一年建的"),
    ("{}镇每年有{}名游客来参观博物馆。", "多少游客参观{}镇的博物馆"),
)


def test_chinese_is_searched_by_words():
    rng = np.random.default_rng(0)
    towns = list(dict.fromkeys("".join(rng.choice(list(SYLLABLES), 3)) for _ in range(120)))[:100]
    corpus, queries = {}, []
    for town in towns:
        for number, (sentence, question) in enumerate(TEMPLATES):
            corpus[f"{town}{number}"] = Passage("", sentence.format(town, rng.integers(1000, 9999)))
            queries.append(question.format(town))
    ids, _ = retrieval.search(retrieval.build_bm25(corpus), queries, 1)
    assert np.mean(ids[:, 0] == list(corpus)) > 0.9
    # Words as runs of letters, which was the fault: a sentence is a word, and no question has one of them.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bm25_module, "search_words", lambda text, language: re.findall(r"\b\w\w+\b", text))
        ids, _ = retrieval.search(retrieval.build_bm25(corpus), queries, 1)
    assert np.mean(ids[:, 0] == list(corpus)) < 0.3


def test_words_are_stemmed_in_the_language_of_the_corpus():
    corpus = {
        "a": Passage("", "Die H\u00e4user der Stadt sind alt und das Dorf ist nicht gro\u00df."),
        "b": Passage("", "Der Hafen und die Br\u00fccke von Kiel sind mit dem Meer zu sehen."),
    }
    index = retrieval.build_bm25(corpus)
    assert index.language == "german" and retrieval.build_bm25(CORPUS).language == "english"
    ids, _ = retrieval.search(index, ["Welches Haus?", "Br\u00fccken", "und die"], 2)
    assert retrieval.found(ids) == [["a"], ["b"], []]


def test_title_weight_decides_where_passages_do_not_name_their_document():
    corpus = {"lima": Passage("Peru", "capital Lima"), "note": Passage("Capital", "Peru quoted among capital cities")}
    first = {}
    for weight in (0, 3):
        ids, _ = retrieval.search(retrieval.build_bm25(corpus, title_weight=weight), ["Peru"], 1)
        first[weight] = ids[0, 0]
    assert first == {0: "note", 3: "lima"}


# What both return


def searches(encoder):
    bm25, dense = retrieval.build_bm25(CORPUS), retrieval.build_dense(encoder, CORPUS)
    return {
        "BM25": lambda questions, n_docs: retrieval.search(bm25, questions, n_docs),
        "Dense": lambda questions, n_docs: retrieval.search(DenseRetriever(dense, encoder), questions, n_docs),
    }


@pytest.mark.parametrize("method", ["BM25", "Dense"])
@pytest.mark.parametrize(("n_docs", "width"), [(1, 1), (3, 3), (5, 5), (50, 5)])
def test_search_returns_ids_and_scores_best_first(encoder, method, n_docs, width):
    ids, scores = searches(encoder)[method](QUESTIONS, n_docs)
    assert ids.shape == scores.shape == (len(QUESTIONS), width)
    assert ids.dtype.kind == "U" and scores.dtype == np.float32
    assert (scores[:, 1:] <= scores[:, :-1]).all()
    n_found = [[*row].index("") if "" in row else width for row in ids.tolist()]
    assert all(set(row[n:]) <= {""} for row, n in zip(ids.tolist(), n_found, strict=True))  # at the end only
    assert all(len({*row[:n]} & {*CORPUS}) == n for row, n in zip(ids.tolist(), n_found, strict=True))
    assert n_found == [width] * 5 if method == "Dense" else n_found[-1] == 0


@pytest.mark.parametrize("method", ["BM25", "Dense"])
def test_search_refuses_nothing(encoder, method):
    search = searches(encoder)[method]
    with pytest.raises(InputError, match="the list of questions is empty"):
        search([], 3)
    with pytest.raises(InputError, match="n_docs = 0: ask for at least 1 passage"):
        search(QUESTIONS, 0)


def test_passages_without_a_word_to_search_for_are_refused():
    with pytest.raises(InputError, match="no words to search for"):
        retrieval.build_bm25({"p1": Passage("", "a b"), "p2": Passage("", "the")})


def test_an_empty_corpus_or_list_is_refused(encoder):
    with pytest.raises(InputError, match="the corpus is empty"):
        retrieval.build_bm25({})
    with pytest.raises(InputError, match="the corpus is empty"):
        retrieval.build_dense(encoder, {})
    for encode in (models.encode, functools.partial(uncached, models.encode)):
        with pytest.raises(InputError, match="the list of texts is empty"):
            encode(encoder, [])


def test_dense_is_exact_inner_product_search(encoder):
    passages = models.encode(encoder, [f"{passage.title}. {passage.text}" for passage in CORPUS.values()])
    products = models.encode(encoder, QUESTIONS) @ passages.T
    ids, scores = retrieval.search(DenseRetriever(retrieval.build_dense(encoder, CORPUS), encoder), QUESTIONS, 3)
    order = np.argsort(-products, axis=1)[:, :3]
    assert ids.tolist() == np.array(list(CORPUS))[order].tolist()
    np.testing.assert_allclose(scores, np.take_along_axis(products, order, axis=1), atol=1e-5)


def test_inner_products_are_not_cosines_for_an_encoder_that_does_not_normalize(tmp_path):
    raw = load(checkpoints.minilm(tmp_path / "raw", normalize=False))
    _, scores = retrieval.search(DenseRetriever(retrieval.build_dense(raw, CORPUS), raw), QUESTIONS, 1)
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
        for text, ours in zip(texts, uncached(models.encode, encoder, texts), strict=True)
    ]
    assert min(cosines) >= 0.999, f"cosine {min(cosines):.4f} to float32, one text at a time"


def test_minilm_in_batches_is_minilm_one_at_a_time(minilm):
    vectors = uncached(models.encode, minilm, texts_of_mixed_length())
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
    together = uncached(models.encode, encoder, texts)
    order = np.random.default_rng(0).permutation(len(texts))
    substitute(monkeypatch, encoding_module, "BATCH_TOKENS", 300)  # other batches
    shuffled = uncached(models.encode, encoder, [texts[row] for row in order])
    assert (together[order] * shuffled).sum(axis=1).min() > cosine
    assert (together * shuffled).sum(axis=1).min() < 0.9


def test_batches_by_length():
    lengths = [3, 50, 7, 7, 120, 1, 0, 64, 9]
    batches = list(models.batches_by_length(lengths, 100))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    longest = [max(lengths[row] for row in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True) and longest[0] == 120
    for batch, length in zip(batches, longest, strict=True):
        assert len(batch) == 1 or len(batch) * length <= 100
    assert list(models.batches_by_length([], 100)) == []


# What is kept


def test_a_second_call_does_not_run_the_model(encoder, encodings, monkeypatch):
    first = models.encode(encoder, QUESTIONS)
    assert encodings == [QUESTIONS]
    substitute(monkeypatch, encoding_module, "_encode", lambda *arguments: pytest.fail("the model was run again"))
    np.testing.assert_array_equal(models.encode(encoder, QUESTIONS, "another label"), first)


def test_the_key_is_everything_that_the_vectors_depend_on(encoder, encodings):
    models.encode(encoder, QUESTIONS)
    variants = [
        (encoder, [*QUESTIONS[:-1], "unknown."]),
        (encoder, QUESTIONS[::-1]),
        (encoder, QUESTIONS[:-1]),
        (encoder, ["port ricedesert fish oil", *QUESTIONS[2:]]),
        (dataclasses.replace(encoder, sha256="0" * 64), QUESTIONS),
        (dataclasses.replace(encoder, max_length=4), QUESTIONS),
        (dataclasses.replace(encoder, pooling="cls"), QUESTIONS),
        (dataclasses.replace(encoder, normalize=False), QUESTIONS),
    ]
    for number, (variant, texts) in enumerate(variants, start=2):
        models.encode(variant, texts)
        assert len(encodings) == number, f"variant {number} was read from the cache"
    encoder.model.bfloat16()
    models.encode(encoder, QUESTIONS)
    assert len(encodings) == len(variants) + 2
    models.encode(dataclasses.replace(encoder, name="renamed"), QUESTIONS)  # the name is not what counts
    assert len(encodings) == len(variants) + 2


def test_a_search_without_the_cache_reads_and_leaves_nothing_there(encoder, encodings, cache_folder):
    """What a question costs must not be measured on vectors that are there already."""
    index = retrieval.build_dense(encoder, CORPUS)
    kept = retrieval.search(DenseRetriever(index, encoder), QUESTIONS, 3)
    before, n_files = len(encodings), len([*(cache_folder / "embeddings").iterdir()])
    for _ in range(2):
        fresh = uncached(retrieval.search, DenseRetriever(index, encoder), QUESTIONS, 3)
        assert all(np.array_equal(a, b) for a, b in zip(kept, fresh, strict=True))
    assert len(encodings) == before + 2
    assert len([*(cache_folder / "embeddings").iterdir()]) == n_files
    retrieval.search(DenseRetriever(index, encoder), QUESTIONS, 3)
    assert len(encodings) == before + 2


@pytest.mark.parametrize("damage", [lambda data: data[:-7], lambda data: b"", lambda data: b"nonsense"])
def test_a_damaged_file_is_computed_again(encoder, encodings, cache_folder, damage):
    first = models.encode(encoder, QUESTIONS)
    (file,) = (cache_folder / "embeddings").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    np.testing.assert_array_equal(models.encode(encoder, QUESTIONS), first)
    models.encode(encoder, QUESTIONS)
    assert len(encodings) == 2


def test_many_texts_are_kept_in_shards_and_resumed(encoder, encodings, cache_folder, monkeypatch):
    texts = [f"{question} {number}" for number in range(4) for question in QUESTIONS]
    whole = uncached(models.encode, encoder, texts)
    substitute(monkeypatch, encoding_module, "SHARD_SIZE", 8)
    encodings.clear()
    counted = encoding_module._encode

    def interrupted(encoder, texts, label):
        if len(encodings) == 2:
            raise KeyboardInterrupt
        return counted(encoder, texts, label)

    substitute(monkeypatch, encoding_module, "_encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        models.encode(encoder, texts)
    substitute(monkeypatch, encoding_module, "_encode", counted)
    np.testing.assert_allclose(models.encode(encoder, texts), whole, atol=1e-5)
    assert [len(shard) for shard in encodings] == [8, 8, 4]  # the first two were not encoded again
    assert len(list((cache_folder / "embeddings").iterdir())) == 3


def test_the_label_of_a_shard_says_where_it_is(monkeypatch):
    assert models.shard_label("passages", 0, 65_536) == "passages"
    assert models.shard_label("passages", 65_536, 70_000) == "passages 65,537 to 70,000 of 70,000"


# Approximate search


WIDTH, N_PASSAGES = 32, 4000


@pytest.fixture(scope="module")
def cloud():
    """(passage vectors, question vectors): 4000 and 100 points around 50 centres, of unequal length."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((50, WIDTH))
    vectors = centres[rng.integers(50, size=N_PASSAGES + 100)] + 0.7 * rng.standard_normal((N_PASSAGES + 100, WIDTH))
    return vectors[:N_PASSAGES].astype(np.float32), vectors[N_PASSAGES:].astype(np.float32)


@pytest.fixture
def clouded(encoder, cloud, monkeypatch):
    """An encoder whose passages and questions are the points of the cloud; `encodings` of a kind: the texts it saw."""
    seen = []

    def look_up(encoder, texts, label):
        seen.append(len(texts))
        rows = [int(text.rpartition(" ")[2]) for text in texts]
        return np.stack([cloud[text.startswith("Q")][row] for text, row in zip(texts, rows, strict=True)])

    substitute(monkeypatch, encoding_module, "_encode", look_up)
    return encoder, seen


POINTS = {f"p{number}": Passage("P", f"point {number}") for number in range(N_PASSAGES)}
ASKED = [f"Q {number}" for number in range(100)]


def recall(found, exact):
    return np.mean([len(set(row) & set(best)) / len(best) for row, best in zip(found, exact, strict=True)])


def require_recall(clouded, index, search_parameters, floor=0.95):
    encoder, _ = clouded
    exact, _ = retrieval.search(DenseRetriever(retrieval.build_dense(encoder, POINTS), encoder), ASKED, 10)
    built = retrieval.build_dense(encoder, POINTS, index, search_parameters)
    found, scores = retrieval.search(DenseRetriever(built, encoder), ASKED, 10)
    assert (np.diff(scores, axis=1) <= 0).all()
    reached = recall(found.tolist(), exact.tolist())
    assert reached >= floor, f"recall {reached:.2f} of exact search"
    return built


@pytest.mark.parametrize(
    ("index", "parameters"), [("IVF64,Flat", "nprobe=24"), ("HNSW32,Flat", "efSearch=64"), ("IVF64,SQ8", "nprobe=24")]
)
def test_an_approximate_index_finds_what_exact_search_does(clouded, cloud, index, parameters):
    built = require_recall(clouded, index, parameters)
    rows = np.array([3, 3999, 0])
    vectors = built.faiss_index.reconstruct_batch(rows)  # what training reads back
    np.testing.assert_allclose(vectors, cloud[0][rows], atol=0.05 if "SQ8" in index else 1e-6)


@pytest.mark.parametrize(("index", "parameters"), [("IVF16,Flat", "nprobe=1"), ("HNSW2,Flat", "efSearch=10")])
def test_a_broken_approximate_index_is_noticed(clouded, index, parameters):
    with pytest.raises(AssertionError, match="of exact search"):
        require_recall(clouded, index, parameters)


@pytest.mark.parametrize(("index", "parameters"), [("Flat", None), ("IVF64,Flat", "nprobe=24")])
def test_shards_make_the_same_index(clouded, monkeypatch, index, parameters):
    encoder, seen = clouded
    whole = retrieval.search(
        DenseRetriever(retrieval.build_dense(encoder, POINTS, index, parameters), encoder), ASKED, 10
    )
    substitute(monkeypatch, encoding_module, "SHARD_SIZE", 1500)
    seen.clear()
    parts = retrieval.search(
        DenseRetriever(retrieval.build_dense(encoder, POINTS, index, parameters), encoder), ASKED, 10
    )
    assert seen == [1500, 1500, 1000]
    assert (whole[0] == parts[0]).mean() > 0.99  # faiss adds up in another order


def test_an_index_is_built_once(clouded, monkeypatch, cache_folder):
    encoder, seen = clouded
    first = retrieval.build_dense(encoder, POINTS, "IVF64,Flat", "nprobe=4")
    assert seen == [N_PASSAGES]
    substitute(
        monkeypatch, faiss_index_module, "fill_index", lambda *arguments: pytest.fail("the index was built again")
    )
    again = retrieval.build_dense(encoder, POINTS, "IVF64,Flat", "nprobe=4")
    assert again.sha256 == first.sha256 and again.faiss_index.ntotal == N_PASSAGES
    np.testing.assert_array_equal(
        retrieval.search(DenseRetriever(again, encoder), ASKED, 5)[0],
        retrieval.search(DenseRetriever(first, encoder), ASKED, 5)[0],
    )
    # Other parameters are another search in the same index.
    wider = retrieval.build_dense(encoder, POINTS, "IVF64,Flat", "nprobe=8")
    assert (first.faiss_index.nprobe, wider.faiss_index.nprobe) == (4, 8) and wider.sha256 != first.sha256
    again.faiss_index.reconstruct_batch(np.array([5]))
    (file,) = (cache_folder / "indexes").iterdir()
    assert file.suffix == ".faiss"


def test_the_key_of_an_index_is_all_that_it_depends_on(clouded, cache_folder, monkeypatch):
    encoder, _ = clouded
    few = dict(list(POINTS.items())[:100])
    retrieval.build_dense(encoder, few, "IVF2,Flat", "nprobe=1")
    variants = [
        (encoder, few, "IVF4,Flat", 0),
        (encoder, few, "IVF2,Flat", 1),
        (encoder, dict(list(few.items())[:99]), "IVF2,Flat", 0),
        (dataclasses.replace(encoder, sha256="0" * 64), few, "IVF2,Flat", 0),
        (dataclasses.replace(encoder, title_separator=" "), few, "IVF2,Flat", 0),
    ]
    for number, (variant, corpus, index, seed) in enumerate(variants, start=2):
        retrieval.build_dense(variant, corpus, index, "nprobe=1", seed)
        assert len(list((cache_folder / "indexes").iterdir())) == number


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"nonsense" * 9]
)
def test_a_damaged_index_is_built_again(clouded, cache_folder, damage):
    encoder, _ = clouded
    first = retrieval.search(
        DenseRetriever(retrieval.build_dense(encoder, POINTS, "IVF64,Flat", "nprobe=8"), encoder), ASKED, 5
    )
    (file,) = (cache_folder / "indexes").iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    again = retrieval.search(
        DenseRetriever(retrieval.build_dense(encoder, POINTS, "IVF64,Flat", "nprobe=8"), encoder), ASKED, 5
    )
    np.testing.assert_array_equal(again[0], first[0])
    assert len(file.read_bytes()) == len(whole)


def test_too_small_search_parameters_are_no_wrong_passage(clouded):
    encoder, _ = clouded
    index = retrieval.build_dense(encoder, POINTS, "IVF64,Flat", "nprobe=1")
    with pytest.raises(
        InputError, match=r"found fewer than 900 passages for 100 of 100 questions: raise its search_parameters"
    ):
        retrieval.search(DenseRetriever(index, encoder), ASKED, 900)


@pytest.mark.parametrize(
    ("index", "parameters", "message"),
    [
        ("IVF64,Flat", None, "is approximate: give search_parameters='nprobe=N', the lists that are looked into"),
        ("HNSW16,Flat", None, "is approximate: give search_parameters='efSearch=N', the candidates that are kept"),
        ("HNSW16,Flat", "efSearch=0", "of at least 1"),
        ("IVF64,Flat", "nprobe=-1", "of at least 1"),
        ("IVF64,Flat", "efSearch=64", "give search_parameters='nprobe=N'"),
        ("IVF64,Flat", "nprobe=8,beam=3", r"'nprobe=8,beam=3' do not fit index 'IVF64,Flat': it has nprobe=N$"),
        ("HNSW16,Flat", "efSearch=8,nprobe", "do not fit index 'HNSW16,Flat': it has efSearch=N$"),
        ("IVF64_HNSW32,Flat", "nprobe=8,x=1", "it has nprobe=N, quantizer_efSearch=N$"),
        ("Flat", "nprobe=8", "'nprobe=8' do not fit index 'Flat': it has none, leave them out$"),
        ("IVF65536,SQ8", "nprobe=64", "has 65536 lists for 4000 passages: take fewer, or index='Flat'"),
        (
            "IVF,Flat",
            "nprobe=64",
            r"none that faiss can make over 32 numbers \(could not parse index string IVF,Flat\)",
        ),
        ("flat earth", None, "none that faiss can make"),
        ("NSG16,Flat", "efSearch=4", "is not supported: use Flat, IVF<lists>,<codes>, HNSW<links> or SQ8"),
    ],
)
def test_a_wrong_index_is_refused_before_anything_is_encoded(clouded, index, parameters, message):
    encoder, seen = clouded
    with pytest.raises(InputError, match=message) as caught:
        retrieval.build_dense(encoder, POINTS, index, parameters)
    assert seen == [] and "\n" not in str(caught.value)


def test_an_index_that_cannot_be_trained_is_one_line(clouded):
    encoder, _ = clouded
    few = dict(list(POINTS.items())[:20])
    with pytest.raises(InputError, match="'PQ4' cannot be trained on 20 vectors") as caught:
        retrieval.build_dense(encoder, few, "PQ4")
    assert "\n" not in str(caught.value)


# Memory


@pytest.mark.parametrize(
    "index", ["Flat", "SQ8", "IVF64,Flat", "IVF64,SQ8", "HNSW32,Flat", "HNSW64,Flat", "HNSW16,SQ8"]
)
def test_index_bytes_is_about_what_faiss_writes(clouded, cache_folder, index):
    import faiss

    encoder, _ = clouded
    parameters = {"IVF6": "nprobe=1", "HNSW": "efSearch=1"}.get(index[:4])
    built = retrieval.build_dense(encoder, POINTS, index, parameters)
    size = len(faiss.serialize_index(built.faiss_index))
    assert retrieval.index_bytes(N_PASSAGES, WIDTH, index) == pytest.approx(size, rel=0.1)
    assert retrieval.index_bytes(2 * N_PASSAGES, WIDTH, index) != pytest.approx(size, rel=0.1)


def test_index_bytes_of_wikipedia():
    n, width = 21_015_300, 768
    sizes = {index: retrieval.index_bytes(n, width, index) / 1e9 for index in ("Flat", "HNSW128,Flat", "IVF65536,SQ8")}
    assert sizes == pytest.approx({"Flat": 64.6, "HNSW128,Flat": 86.4, "IVF65536,SQ8": 16.7}, abs=0.1)


@pytest.mark.parametrize(
    ("index", "parameters"), [("Flat", None), ("HNSW32,Flat", "efSearch=24"), ("IVF64,Flat", "nprobe=24")]
)
def test_what_does_not_fit_is_refused_before_anything_is_encoded(clouded, monkeypatch, index, parameters):
    encoder, seen = clouded
    size = retrieval.index_bytes(N_PASSAGES, WIDTH, index)
    substitute(monkeypatch, faiss_index_module, "_free_memory", lambda: size)
    with pytest.raises(
        InputError, match=rf"index '{index}' over 4000 passages needs 0\.0 GB of memory, .* lower n_pass"
    ):
        retrieval.build_dense(encoder, POINTS, index, parameters)
    assert seen == []
    substitute(monkeypatch, faiss_index_module, "_free_memory", lambda: 4 * size)
    retrieval.build_dense(encoder, POINTS, index, parameters)


def test_free_memory_is_that_of_this_machine():
    assert 1e8 < faiss_index_module._free_memory() < 1e14


# DPR: two towers, and passages as pairs


@pytest.fixture
def towers(tmp_path):
    return [load(checkpoints.dpr(tmp_path / side, side, seed)) for seed, side in enumerate(("question", "context"))]


def test_questions_and_passages_have_encoders_of_their_own(towers):
    question_encoder, passage_encoder = towers
    index = retrieval.build_dense(passage_encoder, CORPUS)
    ids, scores = retrieval.search(DenseRetriever(index, question_encoder), QUESTIONS, 3)
    texts = [f"{passage.title} [SEP] {passage.text}" for passage in CORPUS.values()]
    products = models.encode(question_encoder, QUESTIONS) @ models.encode(passage_encoder, texts).T
    np.testing.assert_allclose(scores, -np.sort(-products, axis=1)[:, :3], atol=1e-4)
    same_tower, _ = retrieval.search(DenseRetriever(index, passage_encoder), QUESTIONS, 3)
    assert (same_tower != ids).any()


def test_a_passage_of_dpr_is_the_pair_of_title_and_text(towers, minilm):
    """Token for token what BERT's tokenizer makes of a pair, as DPR's passages were in training; cut or whole."""
    passage = Passage("Chad", "The capital of Chad is N'Djamena, and its official languages are French and Arabic.")
    text = retrieval.passage_text(passage, towers[1].title_separator)
    assert text == f"Chad [SEP] {passage.text}" and towers[0].title_separator == ". "
    bert = minilm.tokenizer  # that of DPR is the same
    for limit in (64, 12):
        ids = bert(text, truncation=True, max_length=limit)["input_ids"]
        assert ids == bert(passage.title, passage.text, truncation=True, max_length=limit)["input_ids"]
        assert len(ids) <= limit and ids.count(bert.sep_token_id) == 2
    assert bert(retrieval.passage_text(passage))["input_ids"] != bert(passage.title, passage.text)["input_ids"]
    index = retrieval.build_dense(towers[1], {"chad": passage})
    expected, joined = models.encode(towers[1], [text, retrieval.passage_text(passage)])
    np.testing.assert_allclose(index.faiss_index.reconstruct(0), expected, atol=1e-5)
    assert np.abs(joined - expected).max() > 0.01


def test_vectors_of_another_width_are_refused(towers, tmp_path):
    import transformers

    folder = checkpoints.dpr(tmp_path / "wide", "question")
    config = transformers.DPRConfig.from_pretrained(folder, projection_dim=48)
    transformers.DPRQuestionEncoder(config).save_pretrained(folder)
    wide = load(folder)
    assert (models.embedding_dim(wide), models.embedding_dim(towers[0])) == (48, 32)
    assert models.encode(wide, QUESTIONS).shape[1] == 48
    index = retrieval.build_dense(towers[1], CORPUS)
    with pytest.raises(
        InputError, match=r"wide makes vectors of 48 numbers, the index holds 32: take the encoder that belongs"
    ):
        retrieval.search(DenseRetriever(index, wide), QUESTIONS, 3)


# The whole way at scale `paper`, in small


@pytest.mark.parametrize(("index", "parameters"), [("IVF4,SQ8", "nprobe=2"), ("HNSW128,Flat", "efSearch=128")])
def test_from_files_in_the_hubs_schema_to_an_answer(towers, tmp_path, monkeypatch, index, parameters):
    """NQ-shaped questions, wiki_dpr-shaped passages, both towers of DPR, and a BART that reads what was found."""
    import datasets

    from nbutils import generation

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    lands = [("Peru", "Lima"), ("Chad", "N'Djamena"), ("France", "Paris"), ("Japan", "Tokyo")]
    questions = [{"question": f"what is the capital of {land}", "answer": [city]} for land, city in lands]
    passages = [
        {"id": str(number), "title": land, "text": f"The capital of {land} is {city}, number {number}."}
        for number, (land, city) in enumerate(lands * 40)
    ]
    for name, splits in (("nq", {"train": questions, "validation": questions}), ("wiki", {"train": passages})):
        for split, rows in splits.items():
            (tmp_path / name).mkdir(exist_ok=True)
            datasets.Dataset.from_list(rows).to_parquet(tmp_path / name / f"{split}.parquet")
    dataset = data.load_dataset(f"{tmp_path / 'nq'}+{tmp_path / 'wiki'}")
    texts = [question.query for question in dataset.examples if question.split == "test"]
    assert len(dataset.corpus) == 160 and len(texts) == 4

    question_encoder, passage_encoder = towers
    built = retrieval.build_dense(passage_encoder, dataset.corpus, index, parameters)
    ids, scores = retrieval.search(DenseRetriever(built, question_encoder), texts, 5)
    assert ids.shape == scores.shape == (4, 5) and np.isfinite(scores).all()
    with pytest.MonkeyPatch.context() as patch:
        substitute(patch, runtime_module, "pick_device", lambda: "cpu")
        generator = models.load_generator(checkpoints.bart(tmp_path / "bart"))
    prompts = [f"{dataset.corpus[row[0]].text} {text}" for row, text in zip(ids.tolist(), texts, strict=True)]
    answers = generation.generate(generator, prompts, max_new_tokens=4)
    assert len(answers) == 4 and all(isinstance(answer, str) for answer in answers)


# A negative control


def test_a_random_encoder_finds_nothing_where_minilm_does(encoder):
    minilm = models.load_encoder("minilm")  # in whatever precision is fast here
    factbook = data.load_dataset("factbook", n_countries=12)
    questions = [question for question in factbook.examples if question.task == "fact"][::8]

    def recall(encoder, n_docs):
        index = retrieval.build_dense(encoder, factbook.corpus)
        ids, _ = retrieval.search(DenseRetriever(index, encoder), [question.query for question in questions], n_docs)
        return np.mean(
            [len(set(row) & set(q.gold_passages)) > 0 for row, q in zip(ids.tolist(), questions, strict=True)]
        )

    chance = 10 / len(factbook.corpus)
    assert recall(minilm, 10) > 0.85
    assert recall(encoder, 10) < 4 * chance
    bm25 = retrieval.build_bm25(factbook.corpus)
    ids, _ = retrieval.search(bm25, [question.query for question in questions], 10)
    assert np.mean([q.gold_passages[0] in row for row, q in zip(ids.tolist(), questions, strict=True)]) > 0.7


# A memory that is swapped


def test_an_extended_index_is_one_built_over_all(encoder):
    old, new = dict(list(CORPUS.items())[:3]), dict(list(CORPUS.items())[3:])
    base = retrieval.build_dense(encoder, old)
    extended = retrieval.add_passages(base, encoder, new)
    whole = retrieval.build_dense(encoder, CORPUS)
    for ours, theirs in zip(
        retrieval.search(DenseRetriever(extended, encoder), QUESTIONS, 5),
        retrieval.search(DenseRetriever(whole, encoder), QUESTIONS, 5),
        strict=True,
    ):
        assert (ours == theirs).all() if ours.dtype.kind == "U" else np.allclose(ours, theirs, atol=1e-6)
    assert base.faiss_index.ntotal == 3 and list(base.passage_ids) == list(old)  # the one given is as it was
    other = retrieval.add_passages(base, encoder, {"p3": Passage("france", "bread"), "p4": CORPUS["p4"]})
    assert extended.sha256 != other.sha256


def test_what_cannot_be_added_is_refused(encoder):
    base = retrieval.build_dense(encoder, CORPUS)
    with pytest.raises(InputError, match="passage 'p1' is in the index already"):
        retrieval.add_passages(base, encoder, {"p1": CORPUS["p1"]})
    with pytest.raises(InputError, match="the corpus is empty"):
        retrieval.add_passages(base, encoder, {})
    import faiss

    narrow = dataclasses.replace(base, faiss_index=faiss.IndexFlatIP(7))
    with pytest.raises(InputError, match="the index holds 7"):
        retrieval.add_passages(narrow, encoder, {"p9": CORPUS["p1"]})


def test_dropout_changes_the_vectors_and_leaves_the_encoder_as_it_was(encoder):
    texts = ["lima is a port", "rice and fish"]
    clean = uncached(models.encode, encoder, texts)
    noisy = models.encode_with_dropout(encoder, texts, seed=0)
    assert np.abs(clean - noisy).max() > 1e-3 and not encoder.model.training
    assert np.array_equal(noisy, models.encode_with_dropout(encoder, texts, seed=0))
    assert not np.array_equal(noisy, models.encode_with_dropout(encoder, texts, seed=1))
    assert np.array_equal(clean, uncached(models.encode, encoder, texts))
