"""Fusion against values by hand and exact fractions, and hybrid search against the rankings that it is made of."""

import warnings
from fractions import Fraction

import checkpoints
import numpy as np
import pytest
from substitution import substitute

from nbutils import metrics, models, retrieval
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.retrieval import DenseRetriever, HybridRetriever, fuse
from nbutils.retrieval import dense as dense_module

pytestmark = pytest.mark.usefixtures("cache_folder")


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def ranking(*rows, scores=None):
    """Rows of ids, one letter each, "." for a place without a passage; scores fall by 1 where they are not given."""
    ids = np.array([["" if id_ == "." else id_ for id_ in row] for row in rows], dtype=str).reshape(len(rows), -1)
    if scores is None:
        scores = np.where(ids == "", -np.inf, -np.arange(ids.shape[1], dtype=float))
    return ids, np.array(scores, dtype=np.float32).reshape(ids.shape)


def by_name(fused, row=0):
    return {id_: float(score) for id_, score in zip(fused[0][row], fused[1][row], strict=True) if id_}


def order(fused, row=0):
    return "".join(fused[0][row])


# Reciprocal ranks


def test_the_passage_that_both_found_is_first():
    fused = fuse([ranking("pqr"), ranking("str")])
    assert order(fused) == "rpsqt"
    expected = {"r": 0.031746, "p": 0.016393, "s": 0.016393, "q": 0.016129, "t": 0.016129}  # 2/63, 1/61, 1/62
    assert by_name(fused) == pytest.approx(expected, abs=1e-6)
    assert fused[1].dtype == np.float32 and fused[0].shape == fused[1].shape == (1, 5)
    run = {"q": [id_ for id_ in fused[0][0].tolist() if id_]}
    assert metrics.retrieval_scores(["RR@3"], run, {"q": {"r": 1}})["RR@3"] == [1.0]


def test_three_lists():
    """a: ranks 1, 2, 3; b: 3, 1, 2; c: 2 and 3; d: 1. a and b have the same sum, and best rank 1: a's list is first."""
    fused = fuse([ranking("acb"), ranking("bac"), ranking("dba")])
    assert order(fused) == "abcd"
    both = 1 / 61 + 1 / 62 + 1 / 63
    assert by_name(fused) == pytest.approx({"a": both, "b": both, "c": 1 / 62 + 1 / 63, "d": 1 / 61}, abs=1e-6)
    assert fused[1][0, 0] == fused[1][0, 1]


@pytest.mark.parametrize("empty", [ranking("..."), ranking(".", scores=[0]), ranking("")], ids=["3", "1", "0"])
@pytest.mark.parametrize("method", ["rrf", "minmax"])
def test_an_empty_ranking_changes_nothing(empty, method):
    first, second = ranking("pqr"), ranking("str", scores=[5, 2, 1])
    expected = fuse([first, second], method)
    for rankings in ([empty, first, second], [first, empty, second], [first, second, empty]):
        ids, scores = fuse(rankings, method)
        assert ids.tolist() == expected[0].tolist() and scores.tolist() == expected[1].tolist()
    ids, scores = fuse([empty, empty], method)
    assert retrieval.found(ids) == [[]] and ids.shape == empty[0].shape and (scores == 0).all()
    ids, _ = fuse([first, empty], method)
    assert order((ids, None)) == "pqr"


def test_questions_of_their_own():
    """What is empty for one question is not for another; places left are as `search` leaves them."""
    fused = fuse([ranking("ab", "..", "..", "c."), ranking("ba", "ab", "..", "..")])
    assert [order(fused, row) for row in range(4)] == ["ab", "ab", "", "c"]
    both, single = 1 / 61 + 1 / 62, [1 / 61, 1 / 62]
    expected = [[both, both], single, [0, 0], [1 / 61, -np.inf]]
    np.testing.assert_allclose(fused[1], expected, atol=1e-6)


def test_a_place_without_a_passage_has_no_rank():
    """Wherever it stands, and whether an empty id or the score -inf says so."""
    plain = by_name(fuse([ranking("ab"), ranking("b")]))
    assert by_name(fuse([ranking("a.b"), ranking(".b")])) == plain
    masked = ranking("axb", scores=[3, -np.inf, 1])
    assert by_name(fuse([masked, ranking("b")])) == plain
    assert by_name(fuse([ranking("axb"), ranking("b")])) != plain
    assert retrieval.found(fuse([ranking("ab", scores=[-np.inf, -np.inf])])[0]) == [[]]


def test_weights():
    first, second = ranking("pqr"), ranking("str")
    assert by_name(fuse([first, second], weights=(0.5, 2))) == pytest.approx(
        {"p": 0.5 / 61, "q": 0.5 / 62, "r": 2.5 / 63, "s": 2 / 61, "t": 2 / 62}, abs=1e-6
    )
    # Weight 0: as if it were not there, in the list too; only its width is kept.
    for weights, alone in (((1, 0), first), ((0, 1), second)):
        for method in ("rrf", "minmax"):
            fused = fuse([first, second], method, weights=weights)
            expected = fuse([alone], method)
            assert fused[0].tolist() == expected[0].tolist() and fused[1].tolist() == expected[1].tolist()
    wide = fuse([ranking("pqr"), ranking("s")], weights=(0, 1))
    assert order(wide) == "s" and wide[0].shape == (1, 3)


@pytest.mark.parametrize("k", [0, 2, 60, 0.5])
def test_k(k):
    assert by_name(fuse([ranking("pq"), ranking("q")], k=k)) == pytest.approx(
        {"p": 1 / (k + 1), "q": 1 / (k + 2) + 1 / (k + 1)}, rel=1e-6
    )


def exactly_fused(rankings, weights, k=60):
    """The definition for one question, in fractions: [(id, score)], best first."""
    scores, best = {}, {}
    for number, (ids, weight) in enumerate(zip(rankings, weights, strict=True)):
        for rank, id_ in enumerate((id_ for id_ in ids if id_), start=1):
            scores[id_] = scores.get(id_, 0) + Fraction(weight) / (k + rank)
            best[id_] = min(best.get(id_, (rank, number)), (rank, number))
    return [(id_, scores[id_]) for id_ in sorted(scores, key=lambda id_: (-scores[id_], best[id_]))]


def random_rankings(rng, n_rankings, n_questions=20, n_passages=70, depth=50):
    """Rankings that overlap and end early, with places left."""
    rankings = []
    for _ in range(n_rankings):
        ids = np.array([rng.permutation(n_passages)[:depth] for _ in range(n_questions)]).astype(str)
        ids[np.arange(depth) >= rng.integers(0, depth + 1, n_questions)[:, None]] = ""
        scores = np.where(ids == "", -np.inf, -np.sort(rng.normal(size=ids.shape), axis=1))
        rankings.append((ids, scores))
    return rankings


@pytest.mark.parametrize("n_rankings", [1, 2, 3, 4])
def test_rrf_is_its_definition(n_rankings):
    rng = np.random.default_rng(n_rankings)
    rankings = random_rankings(rng, n_rankings)
    for weights in (None, tuple(range(1, n_rankings + 1))):
        ids, scores = fuse(rankings, weights=weights)
        for row in range(len(ids)):
            expected = exactly_fused([r[0][row] for r in rankings], weights or [1] * n_rankings)
            assert retrieval.found(ids)[row] == [id_ for id_, _ in expected]
            np.testing.assert_allclose(scores[row][ids[row] != ""], [float(s) for _, s in expected], rtol=1e-6)
        wrong = exactly_fused([r[0][0] for r in rankings], [1] * n_rankings, k=59)
        assert by_name((ids, scores)) != pytest.approx({id_: float(s) for id_, s in wrong}, rel=1e-6)


def test_sums_that_are_equal_are_equal():
    """1/90 + 1/110 = 2/99: ranks 30 and 50 against 39 and 39. In double precision the second sum is the greater."""
    assert 1 / 90 + 1 / 110 < 2 / 99 and Fraction(1, 90) + Fraction(1, 110) == Fraction(2, 99)
    first, second = ([f"{name}{rank}" for rank in range(50)] for name in "fs")
    first[29] = second[49] = "uneven"
    first[38] = second[38] = "even"
    for rankings in ([first, second], [second, first]):
        fused = fuse([(np.array([ids]), -np.arange(50.0)[None]) for ids in rankings])
        assert fused[0][0, :2].tolist() == ["uneven", "even"] and fused[1][0, 0] == fused[1][0, 1]


@pytest.mark.parametrize("method", ["rrf", "minmax"])
def test_renaming_the_passages_changes_nothing(method):
    rng = np.random.default_rng(0)
    rankings = random_rankings(rng, 3)
    rankings = [(ids, np.round(scores)) for ids, scores in rankings]  # many equal ones
    ids, scores = fuse(rankings, method)
    names = {"": "", **{str(i): f"{name:03}x{i}" for i, name in enumerate(rng.permutation(70))}}
    renamed = [(np.vectorize(names.get)(r_ids), r_scores) for r_ids, r_scores in rankings]
    new_ids, new_scores = fuse(renamed, method)
    assert new_ids.tolist() == np.vectorize(names.get)(ids).tolist() and new_scores.tolist() == scores.tolist()
    assert len(np.unique(scores[0])) < scores.shape[1]  # there were ties to break
    # An order by id would be another one.
    row = sorted(zip(-scores[0], ids[0].tolist(), strict=True))
    assert [id_ for _, id_ in row] != ids[0].tolist()


# Scores


def test_a_list_of_one_passage_counts():
    fused = fuse([ranking("a", scores=[7.3]), ranking("bac", scores=[0.8, 0.5, 0.2])], "minmax", weights=(0.5, 0.5))
    assert order(fused) == "abc"
    assert by_name(fused) == pytest.approx({"a": 0.75, "b": 0.5, "c": 0}, abs=1e-6)


@pytest.mark.parametrize("value", [2.0, 0.0, -3.0])
def test_equal_scores_are_one_each(value):
    fused = fuse([ranking("abc", scores=[value] * 3)], "minmax")
    assert order(fused) == "abc" and fused[1].tolist() == [[1, 1, 1]]
    fused = fuse(
        [ranking("ab..", "a...", scores=[[value, value, -np.inf, -np.inf], [value] + [-np.inf] * 3])], "minmax"
    )
    assert [by_name(fused, row) for row in (0, 1)] == [{"a": 1, "b": 1}, {"a": 1}]
    both = fuse([ranking("abc", scores=[value] * 3), ranking("cb", scores=[9, 8])], "minmax")
    assert by_name(both) == {"c": 2, "a": 1, "b": 1} and order(both) == "cab"  # a has rank 1, b rank 2


def test_minmax_is_its_definition():
    rankings = random_rankings(np.random.default_rng(5), 3)
    weights = (0.2, 0.5, 0.3)
    ids, scores = fuse(rankings, "minmax", weights=weights)
    for row in range(len(ids)):
        expected = {}
        for (r_ids, r_scores), weight in zip(rankings, weights, strict=True):
            found = {id_: score for id_, score in zip(r_ids[row], r_scores[row], strict=True) if id_}
            least, greatest = min(found.values(), default=0), max(found.values(), default=0)
            for id_, score in found.items():
                share = (score - least) / (greatest - least) if greatest > least else 1
                expected[id_] = expected.get(id_, 0) + weight * share
        assert by_name((ids, scores), row) == pytest.approx(expected, abs=1e-6)
        found = scores[row][ids[row] != ""]
        assert (np.diff(found) <= 0).all() and found.min(initial=0) >= 0 and found.max(initial=0) <= 1


def test_another_scale_changes_nothing():
    first, second = random_rankings(np.random.default_rng(6), 2)
    expected = fuse([first, second], "minmax")
    scaled = fuse([(first[0], 40 * first[1] - 7), second], "minmax")
    assert scaled[0].tolist() == expected[0].tolist()
    np.testing.assert_allclose(scaled[1], expected[1], atol=1e-6)


@pytest.mark.parametrize("method", ["rrf", "minmax"])
@pytest.mark.parametrize(("n_docs", "width"), [(1, 1), (3, 3), (5, 5), (9, 5), (None, 5)])
def test_n_docs(method, n_docs, width):
    rankings = [ranking("pqr", "a..", "..."), ranking("str", "a..", "...")]
    copies = [(ids.copy(), scores.copy()) for ids, scores in rankings]
    ids, scores = fuse(rankings, method, n_docs=n_docs)
    whole = fuse(rankings, method)
    assert ids.shape == scores.shape == (3, width)
    assert ids.tolist() == whole[0][:, :width].tolist() and scores.tolist() == whole[1][:, :width].tolist()
    for given, copy in zip(rankings, copies, strict=True):
        assert all((array == kept).all() for array, kept in zip(given, copy, strict=True))


@pytest.mark.parametrize(
    ("rankings", "options", "message"),
    [
        ([], {}, "nothing to fuse: give at least one ranking"),
        ([ranking("ab"), ranking("ab", "cd")], {}, "rankings of 1, 2 questions"),
        ([ranking("ab"), ranking("xyx")], {}, "ranking 2 has passage 'x' twice for question 0"),
        ([ranking("ab", "cc")], {"weights": (1,)}, "ranking 1 has passage 'c' twice for question 1"),
        ([ranking("ab"), ranking("xx")], {"weights": (1, 0)}, "ranking 2 has passage 'x' twice"),
        ([ranking("ab", scores=[np.nan, 1])], {}, "ranking 1 has a score that is not a number"),
        ([ranking("ab", scores=[np.inf, 1])], {"method": "minmax"}, "ranking 1 has a score that is not a number"),
        ([(["a"], [1.0])], {}, r"ranking 1: ids \(1,\) and scores \(1,\)"),
        ([([["a", "b"]], [[1.0]])], {}, r"ranking 1: ids \(1, 2\) and scores \(1, 1\)"),
        ([([["a", "b"], ["a"]], [[1.0, 0.0], [1.0]])], {}, "ranking 1 has rows of different lengths"),
        ([ranking("ab")], {"method": "max"}, "fusion method 'max' is unknown: use rrf or minmax"),
        ([ranking("ab")], {"weights": (1, 1)}, "2 weights for 1 rankings"),
        ([ranking("ab"), ranking("b")], {"weights": (1, -1)}, "not 0 to all"),
        ([ranking("ab"), ranking("b")], {"weights": (0, 0)}, "not 0 to all"),
        ([ranking("ab")], {"weights": (np.nan,)}, "not 0 to all"),
        ([ranking("ab")], {"k": -1}, "k = -1: give a number of at least 0"),
        ([ranking("ab")], {"k": np.nan}, "k = nan"),
        ([ranking("ab")], {"n_docs": 0}, "n_docs = 0: ask for at least 1 passage"),
    ],
)
def test_what_cannot_be_fused_is_refused(rankings, options, message):
    with pytest.raises(InputError, match=message) as error:
        fuse(rankings, **options)
    assert "\n" not in str(error.value)


# Hybrid search

CORPUS = {"a": Passage("", "port"), "b": Passage("", "wine"), "c": Passage("", "desert"), "d": Passage("", "oil")}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return checkpoints.load_on_cpu(models.load_encoder, checkpoints.minilm(tmp_path_factory.mktemp("minilm")))


@pytest.fixture
def vector_search(encoder, monkeypatch):
    """A dense retriever that ranks d, c, b, a for every question."""
    direction = np.eye(models.embedding_dim(encoder), dtype=np.float32)[0]
    vectors = np.outer([0.2, 0.4, 0.6, 0.8], direction).astype(np.float32)
    index = retrieval.build_dense(encoder, CORPUS, vectors=vectors)
    substitute(monkeypatch, dense_module, "encode", lambda encoder, texts, label: np.tile(direction, (len(texts), 1)))
    return DenseRetriever(index, encoder)


@pytest.mark.parametrize("method", ["rrf", "minmax"])
@pytest.mark.parametrize("question", ["unknown", "the of", ""], ids=["unknown", "stop words", "nothing"])
def test_what_keyword_search_does_not_match_is_left_to_the_vectors(vector_search, method, question):
    bm25 = retrieval.build_bm25(CORPUS)
    assert retrieval.found(retrieval.search(bm25, [question], 4)[0]) == [[]]
    fused = retrieval.search(HybridRetriever((bm25, vector_search), method), [question], 4)
    assert order(fused) == "dcba"
    assert fused[1][0, 0] == pytest.approx(1 / 61 if method == "rrf" else 1, abs=1e-6)
    # As it was met: the keyword list filled up with what matches nothing, in the order of the corpus.
    filled = ranking("abcd", scores=[0, 0, 0, 0])
    wrong = fuse([filled, retrieval.search(vector_search, [question], 4)])
    assert by_name(wrong)["a"] == by_name(wrong)["d"] == pytest.approx(0.032018, abs=1e-6)


def test_a_word_that_stands_in_one_passage_lists_one_passage(vector_search):
    bm25 = retrieval.build_bm25(CORPUS)
    assert retrieval.found(retrieval.search(bm25, ["ports", "the"], 4)[0]) == [["a"], []]
    fused = retrieval.search(HybridRetriever((bm25, vector_search)), ["ports", "the"], 4)
    assert [order(fused, row) for row in (0, 1)] == ["adcb", "dcba"]
    assert by_name(fused) == pytest.approx({"a": 1 / 61 + 1 / 64, "d": 1 / 61, "c": 1 / 62, "b": 1 / 63}, abs=1e-6)


def test_hybrid_search_fuses_what_each_finds(vector_search):
    bm25 = retrieval.build_bm25(CORPUS)
    queries = ["port wine", "oil", "unknown"]
    for options in ({}, {"method": "minmax", "weights": (0.3, 0.7)}, {"k": 2}):
        hybrid = HybridRetriever((bm25, vector_search, bm25)[: 3 if not options else 2], depth=2, **options)
        rankings = [retrieval.search(part, queries, 2) for part in hybrid.retrievers]
        for n_docs in (1, 2):
            expected = fuse(rankings, **options, n_docs=n_docs)
            ids, scores = retrieval.search(hybrid, queries, n_docs)
            assert ids.tolist() == expected[0].tolist() and scores.tolist() == expected[1].tolist()
            assert ids.shape == (3, n_docs) and scores.dtype == np.float32


def test_hybrid_search_is_as_wide_as_any_other(vector_search):
    """K is smaller than n_docs only where the corpus is, also where little is found; a hybrid of hybrids too."""
    bm25 = retrieval.build_bm25(CORPUS)
    keywords = HybridRetriever((bm25, bm25))
    assert retrieval.search(keywords, ["port"], 3)[0].tolist() == [["a", "", ""]]
    for hybrid in (keywords, HybridRetriever((bm25, vector_search)), HybridRetriever((keywords, vector_search))):
        assert [retrieval.search(hybrid, ["port", "the"], n)[0].shape for n in (1, 3, 4, 50)] == [
            (2, 1), (2, 3), (2, 4), (2, 4),
        ]  # fmt: skip
    nothing = retrieval.search(keywords, ["the"], 3)
    assert nothing[0].tolist() == [["", "", ""]] and nothing[1].tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("options", "n_docs", "message"),
    [
        ({"depth": 20}, 21, "n_docs = 21, but only the 20 best are fused: raise depth, or lower n_docs"),
        ({"retrievers": ()}, 1, "nothing to fuse"),
        ({"method": "mean"}, 1, "fusion method 'mean' is unknown"),
        ({"weights": (1,)}, 1, "1 weights for 2 rankings"),
        ({"k": -1}, 1, "k = -1"),
        ({"retrievers": (HybridRetriever((None,), depth=10), None)}, 1, "n_docs = 50, but only the 10 best are fused"),
    ],
)
def test_what_hybrid_search_refuses_it_refuses_before_it_searches(options, n_docs, message):
    with pytest.raises(InputError, match=message):
        retrieval.search(HybridRetriever(**{"retrievers": (None, None), **options}), ["port"], n_docs)
