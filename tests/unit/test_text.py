"""Sentences and words: what each comparison minds, and what it does not."""

import pytest

from nbutils import text


def test_sentences_keep_abbreviations_and_brackets_together():
    history = 'founded ca. 965 by St. Olaf (d. 1030; buried in Oslo); named "Town of A. Smith"; Old. New.'
    assert text.sentences(history) == [
        "founded ca. 965 by St. Olaf (d. 1030; buried in Oslo);",
        'named "Town of A. Smith";',
        "Old.",
        "New.",
    ]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", []),
        ("One", ["One"]),
        ("Who? He! So.", ["Who?", "He!", "So."]),
        ("It rose 3.5 percent. then fell", ["It rose 3.5 percent. then fell"]),
        ("one; two", ["one;", "two"]),
        ('He said "go." Then he left.', ['He said "go."', "Then he left."]),
    ],
)
def test_where_sentences_end(written, expected):
    assert text.sentences(written) == expected
    assert " ".join(expected) == written  # nothing is lost


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("  The  C\u00f4te d'Ivoire (CIV) ", "the cote divoire civ"),
        ("a_b-c/1,234.5", "a b c 1 234 5"),
        ("Stra\u00dfe, \ufb01sh", "strasse fish"),
        ("\u2014 ... !", ""),
    ],
)
def test_normalize(written, normal):
    assert text.normalize(written) == text.normalize(normal) == normal
    assert text.padded_words(written) == f" {normal} "


def test_contains_words_asks_for_whole_words_and_minds_nothing_else():
    assert text.contains_words("in C\u00f4te d\u2019Ivoire.", "COTE D'IVOIRE")
    assert text.contains_words("a (b)", "A, b") and text.contains_words("A.B", "b")
    assert not text.contains_words("Nigeria", "Niger") and not text.contains_words("a c b", "a b")
    assert not text.contains_words("a text", "...") and text.contains_words("!", "...")


def test_contains_exactly_asks_for_whole_words_letter_by_letter():
    assert text.contains_exactly("in Niger.", "Niger") and not text.contains_exactly("in Nigeria", "Niger")
    assert text.contains_exactly("code: .fr.", ".fr") and not text.contains_exactly("15 July", "5 July")
    assert text.contains_exactly("Nigeria, Niger", "Niger")  # the second time it is a word
    assert not text.contains_exactly("in niger", "Niger") and not text.contains_exactly("C\u00f4te", "Cote")


def test_pattern_of_whole_minds_case_and_the_rest_of_a_number():
    assert text.pattern_of_whole("3").search("3, not 4") and text.pattern_of_whole("Man").search("Isle of Man.")
    for longer in ("1,350", "1.3", "3.5", "13", "3rd"):
        assert not text.pattern_of_whole("3").search(longer), longer
    assert not text.pattern_of_whole("Man").search("Oman, man, Manx")
    assert text.pattern_of_whole("a+b").sub("x", "a+b. aab") == "x. aab"


def test_pattern_of_any_minds_letters_but_not_case():
    words = text.pattern_of_any(["Niger", " St. Lucia "])
    assert words.search("in NIGER,") and words.search("(st. lucia)") and words.search("3.niger")
    assert not words.search("Nigeria") and not words.search("St Lucia") and not words.search("niger_1")


def test_contains_any_compares_as_contains_words():
    padded = {text.padded_words(name) for name in ("C\u00f4te d'Ivoire", "Niger")}
    assert text.contains_any("to COTE D\u2019IVOIRE.", padded) and not text.contains_any("Nigeria", padded)
    assert not text.contains_any("anything", ())


def test_sentences_before_capitals_minds_no_abbreviation():
    written = "By St. Olaf. then? No; yes! \u00c9tat. It"
    assert text.sentences_before_capitals(written) == ["By St.", "Olaf. then?", "No; yes! \u00c9tat.", "It"]


@pytest.mark.parametrize(
    ("word", "following", "ends"),
    [
        ("end.", "The", True),
        ("end.\u201d)", "2", True),
        ("\u7d42\u3002", "\u6b21", True),
        ("end.", "then", False),
        ("end;", "The", False),
        ("Dr.", "Who", False),
        ("(U.S.", "Army", False),
        ("J.", "Smith", False),
    ],
)
def test_where_a_sentence_of_running_text_ends(word, following, ends):
    assert text.ends_sentence(word, following) is ends


def test_slugify():
    assert text.slugify("Cote d'Ivoire") == "cote-divoire"
    assert (
        text.slugify("Saint Helena, Ascension, and Tristan da Cunha") == "saint-helena-ascension-and-tristan-da-cunha"
    )
