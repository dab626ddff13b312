"""Heads of state and of government in 2015 and in 2025: the swapped memory of Lewis et al. 2020, section 4.5.

The same offices as passages and as questions of either year, and a corpus that tells of no other office holder.
"""

import csv
import functools
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbutils import paths
from nbutils.data.factbook import countries, load_tables, with_article
from nbutils.data.schema import Example, Passage
from nbutils.data.tasks import question_example
from nbutils.errors import InputError
from nbutils.text import contains_any, normalize, padded_words, sentences, slugify

YEARS = (2015, 2025)
OFFICES = ("chief of state", "head of government")
COLUMNS = ("country", "office", "name_2015", "since_2015", "name_2025", "since_2025", "changed", "independent")

_OFFICE_ITEM = re.compile(r"(?:Chief of state|Head of government)(?: \(continued\))?: ")
_PARTICLES = frozenset(("al", "bin", "da", "de", "del", "den", "der", "dos", "el", "la", "le", "van", "von"))


@dataclass(frozen=True)
class Office:
    """One office of one country and the person who held it in each of the two years."""

    country: str  # the title of its passages in the Factbook
    office: str  # one of OFFICES
    name_2015: str
    since_2015: int  # year
    name_2025: str
    since_2025: int  # year
    changed: bool  # another person in 2025
    independent: bool  # False: a dependency

    def holder(self, year: int) -> str:
        return self.name_2015 if _checked(year) == 2015 else self.name_2025

    def since(self, year: int) -> int:
        return self.since_2015 if _checked(year) == 2015 else self.since_2025


def _checked(year: int) -> int:
    if year not in YEARS:
        raise InputError(f"no office holders of {year!r}: the years are {YEARS[0]} and {YEARS[1]}")
    return year


def load_office_holders(path: Path | None = None) -> list[Office]:
    """Every office of `data/leaders.csv` (or of `path`), in the order of the file.

    Raises InputError with file and line for a missing or unknown column, an empty cell, an office that is not one of
    OFFICES or occurs twice, a year that is none, and a `changed` that contradicts the two names.
    """
    path = path or paths.DATA / "leaders.csv"
    if not path.is_file():
        raise InputError(f"no file {path}: it lists the office holders of {YEARS[0]} and {YEARS[1]}")
    offices: list[Office] = []
    lines: dict[tuple[str, str], int] = {}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if sorted(header) != sorted(COLUMNS):
                odd = sorted(set(header) ^ set(COLUMNS)) or ["one that occurs twice"]
                raise InputError(f"{path}, line 1: unknown or missing column {odd[0]!r}; use {', '.join(COLUMNS)}")
            for cells in reader:
                where = f"{path}, line {reader.line_num}"
                if len(cells) != len(COLUMNS):
                    raise InputError(f"{where}: {len(cells)} cells, not {len(COLUMNS)}; give one for each column")
                office = _office(where, dict(zip(header, cells, strict=True)))
                first = lines.setdefault((office.country, office.office), reader.line_num)
                if first != reader.line_num:
                    raise InputError(f"{where}: {office.office} of {office.country} stands on line {first} already")
                offices.append(office)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    if not offices:
        raise InputError(f"{path}: no offices; give one line for each")
    return offices


def _office(where: str, row: Mapping[str, str]) -> Office:
    for column, cell in row.items():
        if not cell or cell != cell.strip():
            raise InputError(f"{where}: {column} is {cell!r}; give a text without spaces around it")
        if column.startswith("since") and not re.fullmatch(r"(?:19|20)\d\d", cell):
            raise InputError(f"{where}: {column} is {cell!r}; give a year")
        if column in ("changed", "independent") and cell not in ("true", "false"):
            raise InputError(f"{where}: {column} is {cell!r}; give true or false")
    if row["office"] not in OFFICES:
        raise InputError(f"{where}: office is {row['office']!r}; use {' or '.join(OFFICES)}")
    if (row["changed"] == "true") != (row["name_2015"] != row["name_2025"]):
        raise InputError(
            f"{where}: changed is {row['changed']}, but the names are {row['name_2015']!r} and {row['name_2025']!r}"
        )
    values = {column: int(cell) if column.startswith("since") else cell for column, cell in row.items()}
    return Office(**{**values, "changed": row["changed"] == "true", "independent": row["independent"] == "true"})


def office_holder_passages(offices: Sequence[Office], year: int) -> dict[str, Passage]:
    """{id: passage}, one for each country, that names the holders of its offices in `year` as the Factbook does.

    An id ("leaders-albania") is the same in both years. Raises InputError for a year that is not one of YEARS.
    """
    items: dict[str, list[str]] = {}
    for office in offices:
        item = f"{office.office.capitalize()}: {office.holder(year)} (since {office.since(year)})."
        items.setdefault(office.country, []).append(item)
    return {
        _passage_id(country): Passage(country, " ".join(["Executive branch.", *texts]))
        for country, texts in items.items()
    }


def office_holder_questions(offices: Sequence[Office], year: int) -> list[Example]:
    """One question an office, Lewis's template "Who is {position}?": "Who is the head of government of Albania?".

    Text, id and gold passage are the same in both years, the answers are those of `year`. The split is that of the
    country in the Factbook. Accepted are the name as the Factbook writes it, and shorter forms that fit no other holder
    in `offices` in either year: without initials, nickname, "Jr." and regnal number ("Donald Trump"), first and last
    word ("Joao Lourenco" of "Joao Manuel Goncalves Lourenco"), the last word alone if it is not very short ("Lourenco";
    a particle goes with it, "Van der Bellen"), and each of these without accents. Not accepted are titles ("King
    Charles III") and a family name that stands first ("Xi"): the file does not say which word is the family name.
    Raises InputError for a year that is not one of YEARS and for a country that the Factbook does not have.
    """
    splits = _splits()
    people = {name for office in offices for name in (office.name_2015, office.name_2025)}
    words_of = {name: set(normalize(name).split()) for name in people}
    questions = []
    for office in offices:
        if office.country not in splits:
            raise InputError(f"the Factbook has no country {office.country!r}: use the title of its passages")
        name = office.holder(year)
        others = [words for person, words in words_of.items() if person != name]
        answers = [name]
        for form in _short_forms(name):
            if not any(set(normalize(form).split()) <= words for words in others):
                answers.append(form)
        answers += [_without_accents(answer) for answer in answers]
        passage = _passage_id(office.country)
        field = office.office.replace(" ", "_")
        questions.append(
            question_example(
                id=f"{passage}-{field}",
                text=f"Who is the {office.office} of {with_article(office.country)}?",
                answers=tuple(dict.fromkeys(answers)),
                gold_passages=(passage,),
                task="fact",
                split=splits[office.country],
                field=field,
                subject=office.country,
                template=0,
            )
        )
    return questions


def swap_office_holders(corpus: Mapping[str, Passage], passages: Mapping[str, Passage]) -> dict[str, Passage]:
    """The Factbook's `corpus` with what it tells of present office holders replaced by `passages`.

    The items "Chief of state: ..." and "Head of government: ..." are cut out of the passages, also of countries that
    `passages` leave out; a passage that held nothing else is dropped, and all others are the same objects as before.
    Other text that mentions a person, such as a country's history, stays as it is: see `without_mentions`.
    Raises InputError when an id of `passages` is taken, and when the corpus has no such item.
    """
    taken = sorted(passages.keys() & corpus.keys())
    if taken:
        raise InputError(f"passage {taken[0]!r} is in the corpus already: swap into the original corpus")
    swapped: dict[str, Passage] = {}
    n_cut = 0
    for id_, passage in corpus.items():
        items = _item_start().split(passage.text)
        kept = [item for item in items if not _OFFICE_ITEM.match(item)]
        if len(kept) == len(items):
            swapped[id_] = passage
            continue
        n_cut += 1
        if text := "".join(kept).strip():
            swapped[id_] = Passage(passage.title, text)
    if not n_cut:
        raise InputError("the corpus tells of no office holder ('Chief of state: ...'): swap takes the Factbook's")
    return {**swapped, **passages}


def without_mentions(corpus: Mapping[str, Passage], offices: Sequence[Office]) -> dict[str, Passage]:
    """`corpus` without the sentences in which a country's own passages name someone who held one of its `offices`.

    A country's history tells of many presidents, of 2015 and of today: cut both, then swap, and only the swapped
    passages name them. A name counts with its short forms, whatever its case. The items about present holders, which
    `swap_office_holders` replaces, stay. Passages without such a name are the same objects as before.
    """
    needles: dict[str, set[str]] = {}
    for office in offices:
        for name in (office.name_2015, office.name_2025):
            forms = {padded_words(form) for form in (name, *_short_forms(name))}
            needles.setdefault(office.country, set()).update(forms)
    kept: dict[str, Passage] = {}
    for id_, passage in corpus.items():
        named = functools.partial(contains_any, padded=needles.get(passage.title, set()))
        if not named(passage.text):
            kept[id_] = passage
            continue
        items = [item if _OFFICE_ITEM.match(item) else _cut(item, named) for item in _item_start().split(passage.text)]
        if text := " ".join(item.strip() for item in items if item):
            kept[id_] = Passage(passage.title, text)
    return kept


@functools.cache
def _item_start() -> re.Pattern:
    """Matches before every item of a passage ("Capital: ...")."""
    labels = sorted((leaf.label for leaf in load_tables().leaves), key=lambda label: -len(label))
    return re.compile(rf"(?<!\S)(?=(?:{'|'.join(map(re.escape, labels))})(?: \(continued\))?: )")


def _cut(item: str, named: Callable[[str], bool]) -> str:
    """The item ("Background: ...") without the sentences that name someone; "" when none is left."""
    label, colon, body = item.partition(": ")
    left = [sentence for sentence in sentences(body) if not named(sentence)]
    return label + colon + " ".join(left) if left else ""


def _passage_id(country: str) -> str:
    return f"leaders-{slugify(country)}"


@functools.cache
def _splits() -> dict[str, str]:
    """{country: split}, of all countries: a smaller Factbook holds each in the same split. Reading it takes 1.5 s."""
    return {country.title: country.split for country in countries()}


def _short_forms(name: str) -> list[str]:
    plain = re.sub(r"\"[^\"]+\" |\b(?:[A-Z]\.)+ |,? (?:Jr|Sr)\.$", "", name)
    words = plain.split()
    if len(words) > 1 and re.fullmatch(r"[IVX]+", words[-1]):
        words = words[:-1]
    start = len(words) - 1  # of the last word, with its particles
    while start > 1 and words[start - 1].casefold() in _PARTICLES:
        start -= 1
    last = words[start:]
    forms = [plain, " ".join(words), " ".join([words[0], *last]) if start else "", " ".join(last)]
    return [form for form in dict.fromkeys(forms) if len(form) > 3 and form != name]


def _without_accents(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.replace("\u2019", "'"))
    return "".join(character for character in decomposed if not unicodedata.combining(character))
