"""Documents joined, cut into chunks and read under a budget: by hand, and properties over several tokenizers."""

from dataclasses import replace

import checkpoints
import numpy as np
import pytest
from substitution import substitute

from nbutils import data, metrics, models, retrieval
from nbutils.data import Dataset, Example, Passage
from nbutils.errors import InputError
from nbutils.retrieval import chunking as chunking_module

# Every word is a token of the tiny encoder. It reads "[CLS] peru . ... [SEP]": 4 tokens besides the text's.
PERU = Passage("Peru", "Lima is the capital of Peru. Chad is the largest country.")
BESIDE = 4


@pytest.fixture(autouse=True)
def own_cache(cache_folder):
    pass


@pytest.fixture(scope="module")
def encoder(checkpoint):
    return checkpoints.load_on_cpu(models.load_encoder, checkpoint("minilm"))


def texts(chunks):
    return [passage.text for passage in chunks.corpus.values()]


# By hand


def test_token_boundaries(encoder):
    chunks = retrieval.chunk_documents({"P": PERU}, encoder, BESIDE + 5)
    assert texts(chunks) == ["Lima is the capital of", "Peru. Chad is the", "largest country."]
    assert chunks.n_tokens == {"P#1": 9, "P#2": 9, "P#3": 7}
    assert chunks.spans == {"P#1": ("P", 0, 22), "P#2": ("P", 23, 40), "P#3": ("P", 41, 57)}
    assert {passage.title for passage in chunks.corpus.values()} == {"Peru"}
    assert PERU.text[23:40] == "Peru. Chad is the"


def test_overlap_in_tokens_and_as_a_share(encoder):
    chunks = retrieval.chunk_documents({"P": PERU}, encoder, BESIDE + 5, overlap=2)
    assert texts(chunks) == [
        "Lima is the capital of", "capital of Peru. Chad", ". Chad is the largest", "the largest country.",
    ]  # fmt: skip
    assert retrieval.chunk_documents({"P": PERU}, encoder, BESIDE + 5, overlap=0.25) == chunks  # 2 of 9
    assert retrieval.chunk_documents({"P": PERU}, encoder, BESIDE + 5, overlap=0.0) != chunks


def test_sentence_boundaries(encoder):
    whole = ["Lima is the capital of Peru.", "Chad is the largest country."]
    assert texts(retrieval.chunk_documents({"P": PERU}, encoder, BESIDE + 12, boundary="sentence")) == whole
    assert texts(retrieval.chunk_documents({"P": PERU}, encoder, BESIDE + 13, boundary="sentence")) == [PERU.text]
    by_tokens = retrieval.chunk_documents({"P": PERU}, encoder, BESIDE + 12)
    assert texts(by_tokens) != whole
    # A sentence that is too long is cut by tokens; what is left of it is a part like any other.
    short = retrieval.chunk_documents({"P": PERU}, encoder, BESIDE + 5, boundary="sentence")
    assert texts(short) == ["Lima is the capital of", "Peru.", "Chad is the largest country", "."]
    assert texts(retrieval.chunk_documents({"P": PERU}, encoder, BESIDE + 6, boundary="sentence")) == [
        "Lima is the capital of Peru", ".", "Chad is the largest country.",
    ]  # fmt: skip


def test_overlap_of_whole_sentences(encoder):
    text = "Lima is the capital. Chad is the largest. Lima is. Peru is the country."  # 5 + 5 + 3 + 5 tokens

    def cut(overlap):
        chunks = retrieval.chunk_documents({"P": Passage("Peru", text)}, encoder, BESIDE + 10, overlap, "sentence")
        return texts(chunks)

    assert cut(0) == ["Lima is the capital. Chad is the largest.", "Lima is. Peru is the country."]
    assert cut(4) == cut(0)  # the last sentence is longer than that
    assert cut(5) == [
        "Lima is the capital. Chad is the largest.", "Chad is the largest. Lima is.", "Lima is. Peru is the country.",
    ]  # fmt: skip
    # What is repeated would fill the chunk with the sentence after it: less is repeated, and each chunk has news.
    assert cut(8)[1:] == ["Chad is the largest. Lima is.", "Lima is. Peru is the country."]


def test_a_paragraph_ends_a_sentence(encoder):
    document = {"P": Passage("Peru", "Lima is the capital\n\nchad is the largest")}
    assert texts(retrieval.chunk_documents(document, encoder, BESIDE + 5, boundary="sentence")) == [
        "Lima is the capital", "chad is the largest",
    ]  # fmt: skip
    joined = {"P": Passage("Peru", "Lima is the capital chad is the largest")}
    assert texts(retrieval.chunk_documents(joined, encoder, BESIDE + 5, boundary="sentence"))[0].endswith("chad")


def test_the_chunks_that_hold_an_answer(encoder):
    start = PERU.text.index("of Peru")
    span = ("P", start, start + len("of Peru"))
    parted = retrieval.chunk_documents({"P": PERU}, encoder, BESIDE + 5)
    assert retrieval.chunks_with(parted, *span) == []  # the cut goes through it
    assert retrieval.chunks_with(parted, "P", 0, 4) == ["P#1"]
    assert retrieval.chunks_with(parted, "P", 23, 40) == ["P#2"]
    overlapping = retrieval.chunk_documents({"P": PERU}, encoder, BESIDE + 5, overlap=2)
    assert retrieval.chunks_with(overlapping, *span) == ["P#2"]
    chad = PERU.text.index("Chad")
    assert retrieval.chunks_with(overlapping, "P", chad, chad + 4) == ["P#2", "P#3"]
    with pytest.raises(InputError, match="'Q' has no chunks"):
        retrieval.chunks_with(parted, "Q", 0, 1)
    with pytest.raises(InputError, match="span 3 to 3 of 'P' is empty"):
        retrieval.chunks_with(parted, "P", 3, 3)


# Properties


def metaspace_tokenizer():
    """SentencePiece's kind: tokens begin with the space before them, and one character can be several letters."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast

    letters = sorted(set("".join(checkpoints.SENTENCES) + "\u2581\u2044éöß。東京は日本の首都です12") - {" ", "\n"})
    pieces = [("<unk>", 0.0), *((letter, -5.0) for letter in letters)]
    pieces += [(f"\u2581{word}", -3.0) for word in ("the", "capital", "of", "Lima", "Chad", "is")]
    tokenizer = Tokenizer(Unigram(pieces, 0, False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<unk>")


@pytest.fixture(scope="module")
def encoders(encoder, checkpoint):
    from transformers import AutoTokenizer

    byte_level = AutoTokenizer.from_pretrained(checkpoint("llama"))
    return {
        "WordPiece": encoder,
        "byte-level BPE": replace(encoder, tokenizer=byte_level, sha256="bytes"),
        "Unigram": replace(encoder, tokenizer=metaspace_tokenizer(), sha256="unigram"),
        "with a prompt": replace(encoder, passage_prompt="passage: "),
    }


WORDS = [
    "Lima", "capital", "of", "the", "Chad.", "N'Djamena", "unknownword", "café", "½", "東京は日本の首都です。", "🙂",
    "a\u200bb", "\u200b", "naïve", "(see", "U.S.", "Peru)", "12,5", "end!", "Mr.", "x" * 70,
]  # fmt: skip
SPACES = [" ", " ", " ", "\n", "\n\n", "  ", "\u00a0"]


def random_text(rng):
    parts = [rng.choice(choices) for _ in range(rng.integers(1, 120)) for choices in (WORDS, SPACES)]
    return rng.choice(["", " ", "\n"]) + "".join(parts)


def faults(documents, chunks, encoder, size):
    """What is wrong with chunks, whatever the boundary."""
    found = []
    for id_, document in documents.items():
        spans = [span[1:] for span in chunks.spans.values() if span[0] == id_]
        covered = np.zeros(len(document.text), dtype=bool)
        for start, end in spans:
            covered[start:end] = True
        found += ["not covered"] * any(
            not character.isspace() for character, inside in zip(document.text, covered, strict=True) if not inside
        )
        found += ["out of order"] * (
            spans != sorted(set(spans)) or [e for _, e in spans] != sorted({e for _, e in spans})
        )
    for chunk, passage in chunks.corpus.items():
        id_, start, end = chunks.spans[chunk]
        read = encoder.tokenizer(retrieval.encoder_text(encoder, passage))["input_ids"]
        found += ["no slice"] * (documents[id_].text[start:end] != passage.text)
        found += ["empty"] * (not passage.text or passage.text != passage.text.strip())
        found += ["too long"] * (len(read) > size)
        found += ["wrong count"] * (len(read) != chunks.n_tokens[chunk])
    return found


@pytest.mark.parametrize("kind", ["WordPiece", "byte-level BPE", "Unigram", "with a prompt"])
def test_chunks_hold_everything_and_no_more_than_their_size(encoders, kind):
    encoder, rng = encoders[kind], np.random.default_rng(0)
    for trial in range(12):
        documents = {f"d{i}": Passage("Peru", random_text(rng)) for i in range(3)}
        size, overlap = [(24, 0), (40, 5), (60, 0.25), (200, 60)][trial % 4]
        for boundary in retrieval.BOUNDARIES:
            chunks = retrieval.chunk_documents(documents, encoder, size, overlap, boundary)
            assert faults(documents, chunks, encoder, size) == [], (trial, boundary)


def test_faulty_chunks_would_be_noticed(encoder):
    documents = {"P": PERU}
    chunks = retrieval.chunk_documents(documents, encoder, BESIDE + 5)
    assert faults(documents, chunks, encoder, BESIDE + 5) == []
    assert faults(documents, chunks, encoder, BESIDE + 4) == ["too long"] * 2
    without = {id_: span for id_, span in chunks.spans.items() if id_ != "P#2"}
    kept = {id_: chunks.corpus[id_] for id_ in without}
    assert faults(documents, replace(chunks, spans=without, corpus=kept), encoder, 9) == ["not covered"]
    shifted = chunks.spans | {"P#1": ("P", 1, 22)}
    assert faults(documents, replace(chunks, spans=shifted), encoder, 9) == ["not covered", "no slice"]
    assert faults(documents, replace(chunks, n_tokens=dict.fromkeys(chunks.n_tokens, 9)), encoder, 9) == ["wrong count"]


def test_chunks_are_as_long_as_their_size_lets_them(encoders):
    """By tokens: one more word would be too much, and as many tokens are repeated as were asked for."""
    encoder, rng = encoders["WordPiece"], np.random.default_rng(1)
    words = [str(word) for word in rng.choice(["lima", "is", "the", "capital", "of", "chad"], 200)]
    documents = {"d": Passage("Peru", " ".join(words))}
    for overlap in (0, 3, 11):
        chunks = retrieval.chunk_documents(documents, encoder, BESIDE + 12, overlap)
        step = 12 - overlap
        expected = [words[start : start + 12] for start in range(0, 200 - overlap, step)]
        assert [text.split() for text in texts(chunks)] == expected


def test_sentences_stay_whole(encoders):
    """Each chunk has as many sentences as fit, and repeats as many as the overlap lets it."""
    encoder, rng = encoders["WordPiece"], np.random.default_rng(2)
    lengths = rng.integers(3, 12, 60)  # in tokens, the full stop included
    sentences = [" ".join(["Lima", *["is"] * (n - 2)]) + "." for n in lengths]
    ends = np.cumsum([len(sentence) + 1 for sentence in sentences]) - 1
    starts = [end - len(sentence) for end, sentence in zip(ends, sentences, strict=True)]
    chunks = retrieval.chunk_documents({"d": Passage("Peru", " ".join(sentences))}, encoder, BESIDE + 20, 8, "sentence")
    read, n_repeated = 0, 0  # sentences up to here
    for _, start, end in chunks.spans.values():
        first, last = starts.index(start), ends.tolist().index(end) + 1
        assert first <= read < last
        assert sum(lengths[first:read]) <= 8 and sum(lengths[first:last]) <= 20
        assert last == 60 or sum(lengths[first : last + 1]) > 20
        more = sum(lengths[first - 1 : read])
        assert read == 0 or more > 8 or more + lengths[read] > 20
        n_repeated += read - first
        read = last
    assert read == 60 and n_repeated > 10


def test_kept_by_content(encoder, monkeypatch):
    calls, cut = [], chunking_module._cut_all
    substitute(monkeypatch, chunking_module, "_cut_all", lambda *given: calls.append(given[2:]) or cut(*given))
    first = retrieval.chunk_documents({"P": PERU}, encoder, 9)
    assert retrieval.chunk_documents({"P": PERU}, encoder, 9) == first and calls == [(9, 0, "token")]
    retrieval.chunk_documents({"P": PERU}, encoder, 10)
    retrieval.chunk_documents({"P": PERU}, encoder, 9, 1)
    retrieval.chunk_documents({"P": PERU}, encoder, 9, boundary="sentence")
    retrieval.chunk_documents({"P": replace(PERU, title="Chad")}, encoder, 9)
    retrieval.chunk_documents({"P": PERU}, replace(encoder, title_separator=" "), 9)
    assert len(calls) == 6


# What is refused


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": 0}, "size = 0: a chunk has at least 1 token"),
        ({"overlap": 9}, "overlap = 9 of chunks of 9 tokens: give at least 0 and fewer"),
        ({"overlap": -1}, "overlap = -1 of chunks of 9 tokens"),
        ({"overlap": 1.0}, r"overlap = 1\.0: give a share of the size below 1"),
        ({"overlap": 5}, "'P': its title leaves 5 of 9 tokens to the text: an overlap of 5 of them is too much"),
        ({"size": 4}, "'P': its title leaves 0 of 4 tokens to the text: take a larger size"),
        ({"boundary": "word"}, "boundary = 'word': use 'token' or 'sentence'"),
        ({"documents": {}}, "there are no documents to cut"),
        ({"documents": {"P": PERU, "E": Passage("Chad", " \n")}}, "document 'E' has no text, its chunk would be empty"),
    ],
)
def test_bad_input(encoder, given, message):
    given = {"documents": {"P": PERU}, "size": 9} | given
    with pytest.raises(InputError, match=message) as caught:
        retrieval.chunk_documents(given.pop("documents"), encoder, **given)
    assert "\n" not in str(caught.value)


def test_a_character_of_more_tokens_than_a_chunk(encoders):
    with pytest.raises(InputError, match="'d': 3 tokens do not hold its title and a character"):
        retrieval.chunk_documents({"d": Passage("", "a 🙂🙂")}, encoders["byte-level BPE"], 3)


def test_a_tokenizer_that_does_not_say_where_tokens_stand(encoder):
    class Slow:
        is_fast = False

    with pytest.raises(InputError, match=r"its tokenizer does not say where tokens stand"):
        retrieval.chunk_documents({"P": PERU}, replace(encoder, tokenizer=Slow()), 9)


# One vector per document


@pytest.mark.parametrize("normalize", [True, False])
def test_the_vector_of_a_document_is_the_mean_of_its_windows(encoder, normalize):
    encoder = replace(encoder, max_length=BESIDE + 5, normalize=normalize)
    documents = {"Q": Passage("Peru", "Lima is"), "P": PERU}
    vectors = retrieval.document_vectors(encoder, documents)
    windows = ["Peru. Lima is the capital of", "Peru. Peru. Chad is the", "Peru. largest country."]
    expected = np.average(models.encode(encoder, windows), axis=0, weights=[9, 9, 7])
    if normalize:
        expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(vectors[1], expected, atol=1e-6)
    np.testing.assert_allclose(vectors[0], models.encode(encoder, ["Peru. Lima is"])[0], atol=1e-6)
    assert vectors.dtype == np.float32 and vectors.shape == (2, 32)
    truncated = models.encode(encoder, [retrieval.encoder_text(encoder, PERU)])[0]
    assert np.abs(truncated - vectors[1]).max() > 0.01  # reads the first window only
    unweighted = np.mean(models.encode(encoder, windows), axis=0)
    assert np.abs(unweighted / (np.linalg.norm(unweighted) if normalize else 1) - vectors[1]).max() > 1e-4
    index = retrieval.build_dense(encoder, documents, vectors=vectors)
    _, scores = retrieval.search(retrieval.DenseRetriever(index, encoder), ["Lima"], 2)
    np.testing.assert_allclose(np.sort(scores[0]), np.sort(vectors @ models.encode(encoder, ["Lima"])[0]), rtol=1e-5)


# Documents of a data set


def question(id_, answers, gold, task="fact"):
    return Example(id_, task, "?", "?", answers, gold)


def test_passages_become_documents_again():
    corpus = {
        "o1": Passage("Oman", "Oman and Man. Man is 3."),
        "c1": Passage("Chad", "Lake."),
        "o2": Passage("Oman", "Muscat is its capital, 1,350 m high."),
    }
    examples = [
        question("whole word", ("Man",), ("o1",)),
        question("later passage", ("Muscat",), ("o2",)),
        question("second answer", ("Mascat", "Muscat"), ("o2",), "open"),
        question("second passage", ("Lake",), ("o2", "c1"), "multi_hop"),
        question("no part of a number", ("1",), ("o2",)),
        question("in other words", ("three",), ("o1",), "open"),
        question("in another passage", ("Lake",), ("o1",)),
        question("claim", ("Lake",), ("c1",), "verification"),
    ]
    joined = data.join_documents(Dataset("own", corpus, examples))
    text = "Oman and Man. Man is 3.\n\nMuscat is its capital, 1,350 m high."
    assert joined.documents == {"Oman": Passage("Oman", text), "Chad": Passage("Chad", "Lake.")}
    assert joined.spans == {
        "whole word": ("Oman", 9, 12),
        "later passage": ("Oman", 25, 31),
        "second answer": ("Oman", 25, 31),
        "second passage": ("Chad", 0, 4),
    }
    assert text[25:31] == "Muscat"
    assert joined.without_span == {"fact": 2, "open": 1}


def test_a_passage_without_a_title_is_a_document_of_its_own():
    corpus = {
        "p": Passage("", "Lima it is."),
        "a": Passage("Peru", "x"),
        "q": Passage("", "y"),
        "b": Passage("Peru", "z"),
    }
    asked = data.question_example("one", "Which city?", ("Lima",), ("p",))
    joined = data.join_documents(Dataset("own", corpus, [asked]))
    assert joined.documents == {"p": corpus["p"], "Peru": Passage("Peru", "x\n\nz"), "q": corpus["q"]}
    assert joined.spans == {"one": ("p", 0, 4)}


def test_the_factbooks_countries(factbook_of_12, encoder):
    joined = data.join_documents(factbook_of_12)
    assert len(joined.documents) == 12
    examples = {example.id: example for example in data.questions(factbook_of_12.examples)}
    assert len(joined.spans) + sum(joined.without_span.values()) == len(examples)
    assert len(joined.spans) > 0.9 * len(examples)
    for id_, (document, start, end) in joined.spans.items():
        assert joined.documents[document].text[start:end] in examples[id_].answers
        assert factbook_of_12.corpus[examples[id_].gold_passages[0]].title == document or examples[id_].task != "fact"


# Recall at equal tokens


def test_recall_under_a_budget_by_hand():
    n_tokens = {"a": 40, "b": 70, "c": 10, "d": 100}
    ids = [["a", "b", "c"], ["c", "a", "b"], ["d", "", ""], ["a", "c", "b"]]
    gold = [["c"], ["b", "a"], ["d"], []]
    budgets = [9, 50, 60, 110, 120]
    expected = [
        [0, 0, 0, 0, 1],  # at 60 b is not read, nor c after it, which would fit
        [0, 1, 1, 1, 1],  # either of two is enough
        [0, 0, 0, 1, 1],
        [0, 0, 0, 0, 0],  # its answer was cut in two
    ]
    assert metrics.recall_at_tokens(ids, gold, n_tokens, budgets).tolist() == expected
    assert metrics.recall_at_tokens(np.array(ids), gold, n_tokens, budgets).tolist() == expected


def test_with_one_token_for_each_it_is_recall_at_k():
    rng = np.random.default_rng(0)
    names = np.array([f"c{i}" for i in range(40)])
    ids = np.array([rng.permutation(names)[:10] for _ in range(50)])
    gold = [[name] for name in rng.choice(names, 50)]
    curve = metrics.recall_curve(ids, gold, [1, 3, 9])
    ones = dict.fromkeys(names.tolist(), 1)
    np.testing.assert_array_equal(metrics.recall_at_tokens(ids, gold, ones, [1, 3, 9]), curve)
    assert 0 < curve.mean() < 1
    halved = metrics.recall_at_tokens(ids, gold, {name: 2 for name in ones}, [2, 6, 18])
    np.testing.assert_array_equal(halved, curve)


@pytest.mark.parametrize(
    ("ids", "gold", "budgets", "message"),
    [
        ([], [], [10], "0 rankings and 0 sets of gold chunks"),
        ([["a"]], [], [10], "1 rankings and 0 sets"),
        ([["a"]], [["a"]], [], r"budgets is \[\]: give numbers"),
        ([["a"]], [["a"]], [0], r"budgets is \[0\]"),
        ([["x"]], [["a"]], [5], "chunk 'x' of question 0 has no number of tokens"),
        ([["a"]], [["x"]], [5], "chunk 'x' of question 0 has no number of tokens"),
        ([["a", "b"]], [["a"]], [120], "the 2 chunks of question 0 have 110 of 120 tokens: retrieve more"),
    ],
)
def test_budgets_that_are_refused(ids, gold, budgets, message):
    with pytest.raises(InputError, match=message):
        metrics.recall_at_tokens(ids, gold, {"a": 40, "b": 70, "c": 10}, budgets)


def test_a_budget_that_no_further_chunk_fits_into_is_spent():
    n_tokens = {"a": 40, "b": 70, "c": 10}
    assert metrics.recall_at_tokens([["a", "b"]], [["b"]], n_tokens, [119]).tolist() == [[1]]
    assert metrics.recall_at_tokens([["a", "b", "c"]], [["b"]], n_tokens, [999]).tolist() == [[1]]  # all there is


def test_a_document_is_in_the_split_of_its_questions(factbook_of_12):
    corpus = {
        "a1": Passage("A", "one"),
        "a2": Passage("A", "two"),
        "b1": Passage("B", "three"),
        "c1": Passage("", "four"),
    }
    asked = [
        data.question_example("q1", "?", ("one",), ("a1",), split="train"),
        data.question_example("q2", "?", ("two",), ("a2", "b1"), split="dev"),
        data.question_example("q3", "?", ("two",), ("a2",), split="test"),
    ]
    assert data.document_splits(Dataset("own", corpus, asked)) == {"A": "test", "B": "dev"}
    assert (
        data.document_splits(Dataset("own", corpus, [data.question_example("q", "?", ("x",), (), split="test")])) == {}
    )
    split_of = data.document_splits(factbook_of_12)
    assert {q.subject: q.split for q in factbook_of_12.examples if q.task == "fact"}.items() <= split_of.items()
