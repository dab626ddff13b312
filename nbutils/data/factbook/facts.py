"""All countries side by side: which values and sentences belong to one country alone."""

import re
from collections import defaultdict
from dataclasses import dataclass

from nbutils.data.factbook.country import Country, gives_away
from nbutils.data.factbook.tables import Field, load_tables
from nbutils.text import normalize, padded_words, sentences

_VAGUE = re.compile(
    r"(?:note|see|for|this|it|he|she|they|these|those|the latter|the former|the others?|other|another|others|over the "
    r"next|there (?:is|are|were)|also|include|includes|played)\b"
)


@dataclass(frozen=True)
class Facts:
    """All countries' values at once: which are unique, which can stand in for another."""

    texts: dict[str, list[tuple[str, str]]]  # leaf -> [(code, padded words of its text)]
    by_title: dict[str, Country]
    pools: dict[str, list[str]]  # field -> every value that some country has
    clues: dict[str, list[tuple[str, frozenset[str]]]]  # leaf -> [(code, words of a sentence)]


def collect_facts(everyone: list[Country]) -> Facts:
    """The facts of these countries; the data set takes them from all, so that a country's records fit every size."""
    tables = load_tables()
    texts = {
        leaf.key: [
            (country.code, padded_words(country.leaves[leaf.key])) for country in everyone if leaf.key in country.leaves
        ]
        for leaf in tables.leaves
    }
    pools = {
        row.key: sorted({value for country in everyone for value in country.values.get(row.key, ())})
        for row in tables.fields
    }
    clues = defaultdict(list)
    for country in everyone:
        for leaf in tables.clues:
            for sentence in clue_sentences(country, leaf):
                clues[leaf].append((country.code, frozenset(normalize(sentence).split())))
    return Facts(texts, {country.title: country for country in everyone}, pools, dict(clues))


def is_unique(value: str, country: Country, leaf: str, facts: Facts) -> bool:
    """True if no other country's text for this leaf contains the value."""
    needle = padded_words(value)
    return bool(needle.strip()) and not any(needle in t for code, t in facts.texts[leaf] if code != country.code)


def identifying_value(country: Country, row: Field, facts: Facts) -> str:
    """The first value that no other country shares and that does not give the country's name away, or ""."""
    if row.leaf in country.withheld or country.code in load_tables().excluded.get(f"{row.key}_reverse", ()):
        return ""
    for value in country.values.get(row.key, ()):
        if not gives_away(value, country) and is_unique(value, country, row.leaf, facts):
            return value
    return ""


def clue_sentences(country: Country, leaf: str) -> list[str]:
    """The sentences of 7 words or more that name neither the country nor its people and say something particular."""
    chosen = []
    for sentence in sentences(country.leaves.get(leaf, "")):
        sentence = re.sub(r"^(?:[a-z]+|[A-Z]\w+|note \d+): ", "", sentence).strip(" ;.")
        n_words = len(sentence.split())
        particular = re.search(r"(?<=\w )[A-Z]|\d|\"", sentence) or (leaf == "flag" and n_words >= 12)
        vague = not particular or _VAGUE.match(sentence)
        if n_words >= 7 and not vague and not gives_away(sentence, country, strict=True):
            chosen.append(sentence)
    return chosen
