"""Words as keyword search compares them: without endings and stop words, in the languages that these are known of.

Stemmers are Snowball's, stop words those of bm25s. A word in Arabic, Cyrillic, Devanagari, Greek, Armenian or Tamil
letters has the stemmer of its script. For Latin letters the language must be known: `latin_language` tells it from the
commonest words of a text.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterable

from nbutils.text.scripts import canonical, has_unspaced, pattern, split_unspaced, word_runs, words

# The commonest words of each language that are no usual word of English.
_COMMON_WORDS = {
    language: frozenset(common.split())
    for language, common in {
        "english": "the of and to in is was for that with by are from",
        "basque": "eta da ez du dira zen bat dute izan dela",
        "catalan": "el la els les i amb per una és que del dels va més",
        "czech": "se na je že v s z byl byla jsou který jako podle",
        "danish": "og af er det til en på som den ikke blev har ved",
        "dutch": "de het een van en niet dat zijn met voor op werd",
        "esperanto": "la kaj estas de al ne en kiu por estis",
        "estonian": "ja on ei et see kui oli ta mis ning aastal",
        "finnish": "ja on ei se oli että joka mutta hän myös ovat kun sen vuonna",
        "french": "le la les et des du est dans une un qui pour sur au par",
        "german": "der die das und ist nicht ein eine mit von zu den im wurde sie",
        "hungarian": "az és hogy nem egy is volt meg ez a",
        "indonesian": "yang dan di dari ini dengan untuk pada adalah itu",
        "irish": "agus na ar tá bhí sé go ag",
        "italian": "di il la che è e un del per non della una sono nel",
        "lithuanian": "ir yra kad iš su buvo kaip tai į",
        "norwegian": "og av er det til en på som den ikke ble har ved",
        "polish": "w i z na się nie jest że był jako oraz od",
        "portuguese": "de o e da que em um uma os não com foi dos no",
        "romanian": "și de la în cu din pe este un o care",
        "spanish": "de la el en y los que del las una por con es fue",
        "swedish": "och av är det till en på som den inte ett var",
        "turkish": "ve bir bu için ile olan da olarak çok sonra",
    }.items()
}
_STEMMER_OF_SCRIPT = {
    "Arabic": "arabic",
    "Cyrillic": "russian",
    "Devanagari": "hindi",
    "Greek": "greek",
    "Armenian": "armenian",
    "Tamil": "tamil",
}
_AND_THE = "^[وف](?=ال.{3})"  # "and" before the article, which Snowball's Arabic leaves with it
_CUT_BY_ICU = {
    "Chinese or Japanese": r"[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]",
    "Thai": r"\p{Script=Thai}",
    "Lao": r"\p{Script=Lao}",
    "Khmer": r"\p{Script=Khmer}",
    "Burmese": r"\p{Script=Myanmar}",
}
_SCRIPTS = (
    "Latin", "Han", "Hiragana", "Katakana", "Hangul", "Thai", "Lao", "Khmer", "Myanmar", "Arabic", "Hebrew", "Cyrillic",
    "Greek", "Armenian", "Georgian", "Ethiopic", "Devanagari", "Bengali", "Gurmukhi", "Gujarati", "Tamil", "Telugu",
    "Kannada", "Malayalam", "Sinhala",
)  # fmt: skip
_HANGUL = r"\p{Script=Hangul}"
_HAN = r"\p{Script=Han}"
_CHINESE_STOPS = frozenset("的了是在和与也都就着把被从到为以于这那它他她们之其而及或但对向由将不")  # those of English
_ASCII_WORD = re.compile(r"\w\w+")
_NOTED = 0.02  # share of the letters from which a script is worth a note
_SAMPLE = 200  # texts are looked at to tell a language


def latin_language(texts: Iterable[str]) -> str | None:
    """Language of the words in Latin letters, by Snowball's name, such as "english"; None where that stays open.

    The one of whose commonest words most occur. Another than English needs five of them, two of them different, a share
    of 4 % and half as many again as English has, so that a few short texts are not taken for a language they resemble.
    """
    counts = Counter(
        word for text in _sample(texts) for word in words(text.lower()) if pattern(r"\p{Script=Latin}").match(word)
    )
    hits = {language: sum(counts[word] for word in common) for language, common in _COMMON_WORDS.items()}
    best = max(hits, key=lambda language: hits[language])
    if best == "english":
        return best if hits[best] else None
    different = sum(counts[word] > 0 for word in _COMMON_WORDS[best])
    enough = hits[best] >= 5 and different >= 2 and hits[best] >= 0.04 * counts.total()
    return best if enough and hits[best] >= 1.5 * hits["english"] else None


def _sample(texts: Iterable[str]) -> list[str]:
    texts = list(texts)
    return texts[:: -(-len(texts) // _SAMPLE) or 1]


def search_words(text: str, language: str = "english") -> list[str]:
    """What keyword search counts of a text: its words in lower case, without stop words and endings, in order.

    `language` is that of the words in Latin letters. A single letter or digit is no word there; in scripts without
    spaces, which ICU cuts, it is one. Of Chinese letters each counts too, beside the words that they make: 过节 and
    节日 share one, and ICU does not know every name. Korean words are counted by pairs of syllables, since particles
    are written to them.
    """
    stops = _stop_words(language)
    if text.isascii():
        return [stem(word, language) for word in _ASCII_WORD.findall(text.lower()) if word not in stops]
    found = []
    for run in word_runs(canonical(text).lower()):
        if has_unspaced(run):
            found += _unspaced_words(run, language)
        elif pattern(_HANGUL).search(run):
            found += [run[i : i + 2] for i in range(max(1, len(run) - 1))]
        elif len(run) > 1 and run not in stops:
            found.append(stem(run, language))
    return found


def _unspaced_words(run: str, language: str) -> list[str]:
    found = []
    for word in split_unspaced(run):
        letters = pattern(_HAN).findall(word)
        found += [stem(word, language), *(letters if len(word) > 1 else ())]
    return [word for word in found if word not in _CHINESE_STOPS]


@functools.lru_cache(maxsize=500_000)
def stem(word: str, language: str = "english") -> str:
    """The word, in lower case, without its ending, where Snowball knows the language of its letters."""
    if not word.isascii() and not pattern(r"\p{Script=Latin}").search(word):
        language = next(
            (name for script, name in _STEMMER_OF_SCRIPT.items() if pattern(rf"\p{{Script={script}}}").search(word)), ""
        )
    stemmer = _stemmer(language)
    if language == "arabic":
        word = pattern(_AND_THE).sub("", word)
    return stemmer.stemWord(word) if stemmer else word


@functools.cache
def _stemmer(language: str):
    import Stemmer

    return Stemmer.Stemmer(language) if language in Stemmer.algorithms() else None


@functools.cache
def _stop_words(language: str) -> frozenset[str]:
    from bm25s import stopwords

    name = "EN" if language == "english" else language.upper()
    return frozenset(getattr(stopwords, f"STOPWORDS_{name}", _COMMON_WORDS.get(language, ())))


def language_notes(texts: Iterable[str]) -> list[str]:
    """What to know of keyword search and of comparing answers in the languages of the texts; nothing for English.

    Names the languages of which words or endings are known, and those of which they are not.
    """
    texts = _sample(texts)
    joined = canonical(" ".join(texts))
    n_letters = max(1, len(pattern(r"\p{L}").findall(joined)))

    def is_common(expression: str) -> bool:
        return len(pattern(rf"[{expression}&&\p{{L}}]").findall(joined)) >= _NOTED * n_letters

    notes = []
    cut = [name for name, letters in _CUT_BY_ICU.items() if is_common(letters)]
    if cut:
        notes.append(
            f"Words of {_listed(cut)} are found by ICU's dictionaries; answers there are compared by characters."
        )
    if is_common(_HANGUL):
        notes.append("Korean is searched by pairs of syllables; an answer may have a particle after it.")
    stemmed = [name for script, name in _STEMMER_OF_SCRIPT.items() if is_common(rf"\p{{Script={script}}}")]
    latin = latin_language(texts) if is_common(r"\p{Script=Latin}") else "english"
    if latin not in (None, "english"):
        stemmed.append(latin)
    if stemmed:
        rule = "are found without their endings, by Snowball's stemmers; irregular forms count as other words."
        notes.append(f"Words in {_listed([name.capitalize() for name in stemmed])} {rule}")
    unknown = ["Latin letters, in a language that was not recognized,"] if latin is None and len(texts) > 20 else []
    known = "".join(rf"\p{{Script={script}}}" for script in ("Latin", *_STEMMER_OF_SCRIPT)) + _HANGUL
    known += "".join(_CUT_BY_ICU.values())
    if is_common(rf"[\p{{L}}--[{known}]--\p{{Script=Common}}--\p{{Script=Inherited}}]"):
        unknown.append("other scripts")
    if unknown:
        rule = "are compared as they are written: their endings are not known, and scores by words are too low."
        notes.append(f"Words in {_listed(unknown)} {rule}")
    return notes


def script_shares(texts: Iterable[str]) -> dict[str, float]:
    """The scripts of the letters in the texts, most first, each with its share; those below a hundredth are left out.

    A script that is not among those of the commonest languages counts as "other".
    """
    joined = canonical(" ".join(_sample(texts)))
    counts = Counter(
        {script: len(pattern(rf"[\p{{Script={script}}}&&\p{{L}}]").findall(joined)) for script in _SCRIPTS}
    )
    n_letters = len(pattern(r"\p{L}").findall(joined))
    counts["other"] = n_letters - counts.total()
    return {script: n / n_letters for script, n in counts.most_common() if n >= max(1, 0.01 * n_letters)}


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " * (len(names) > 1) + names[-1]
