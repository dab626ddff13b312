"""Plain text in any script: sentences, words, and whether a text contains an answer or a value as whole words.

`comparisons` are for values that are written as the text writes them; `answers` compares what people and models write.
"""

from nbutils.text.answers import comparable, contains_answer, holding
from nbutils.text.comparisons import (
    contains_any,
    contains_exactly,
    contains_words,
    normalize,
    padded_words,
    pattern_of_any,
    pattern_of_whole,
    slugify,
)
from nbutils.text.languages import language_notes, latin_language, script_shares, search_words, stem
from nbutils.text.scripts import canonical, first_words, has_unspaced, word_spans, words
from nbutils.text.sentences import ends_sentence, sentences, sentences_before_capitals
