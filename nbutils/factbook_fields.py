"""The tables behind `factbook`: which parts of an entry make up the corpus, and which questions are asked of them.

`LEAVES` lists what an entry contributes to the corpus, in reading order; `FIELDS` has one row per question field.
An extractor takes the text of one leaf and returns the answer strings, the one that stands in the text first, or
nothing where the text does not answer the question plainly: a doubtful cell is dropped, not guessed.

Placeholders in templates: {c} the country with its article ("the Gambia"), {C} the same at the start of a sentence,
{place} "country" or "territory", {a} the answer, {the_a}, {The_a} and {an_a} the answer with its article.
The last wording of every `questions` and `reverse` is held out: it is used in the test split only.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

# --- names ------------------------------------------------------------------------------------------------------

# Aggregates, not places that a question about "the country" could mean.
SKIPPED = ("xx", "ee")

# Entries whose "conventional short form" is missing, or is not the name one would use in a question.
TITLES = {
    "ae": "United Arab Emirates",
    "ck": "Cocos (Keeling) Islands",
    "bf": "Bahamas",
    "cf": "Republic of the Congo",
    "cg": "Democratic Republic of the Congo",
    "ct": "Central African Republic",
    "dr": "Dominican Republic",
    "fk": "Falkland Islands",
    "fm": "Micronesia",
    "ga": "Gambia",
    "gz": "Gaza Strip",
    "io": "British Indian Ocean Territory",
    "sh": "Saint Helena, Ascension, and Tristan da Cunha",
    "sv": "Svalbard",
    "sx": "South Georgia and the South Sandwich Islands",
    "um": "United States Pacific Island Wildlife Refuges",
    "vq": "US Virgin Islands",
    "vt": "Vatican City",
}

WITH_ARTICLE = {
    "Bahamas",
    "British Indian Ocean Territory",
    "British Virgin Islands",
    "Cayman Islands",
    "Central African Republic",
    "Cocos (Keeling) Islands",
    "Comoros",
    "Cook Islands",
    "Coral Sea Islands",
    "Democratic Republic of the Congo",
    "Dominican Republic",
    "Falkland Islands",
    "Faroe Islands",
    "French Southern and Antarctic Lands",
    "Gambia",
    "Gaza Strip",
    "Isle of Man",
    "Maldives",
    "Marshall Islands",
    "Netherlands",
    "Northern Mariana Islands",
    "Paracel Islands",
    "Philippines",
    "Pitcairn Islands",
    "Republic of the Congo",
    "Seychelles",
    "Solomon Islands",
    "Spratly Islands",
    "Turks and Caicos Islands",
    "US Virgin Islands",
    "United Arab Emirates",
    "United Kingdom",
    "United States",
    "United States Pacific Island Wildlife Refuges",
    "West Bank",
    # how the source writes them when they are the answer
    "Malaysian Federation",
    "Ottoman Empire",
    "Soviet Union",
    "UAE",
    "UK",
    "US",
    "USA",
}

# Entries that are neither independent states nor dependencies, and aliases that the entries do not give.
NEUTRAL = ("ay", "gz", "pf", "pg", "tw", "um", "we", "wi")
ALIASES = {
    "bm": ("Myanmar",),
    "cf": ("Congo-Brazzaville",),
    "cg": ("DRC", "DR Congo", "Congo-Kinshasa"),
    "ct": ("CAR",),
    "cv": ("Cape Verde",),
    "ez": ("Czech Republic",),
    "fk": ("Islas Malvinas", "Falklands"),
    "gz": ("Gaza",),
    "iv": ("Ivory Coast", "Cote d'Ivoire"),
    "mk": ("Macedonia",),
    "rs": ("Russian Federation",),
    "sh": ("Saint Helena", "St. Helena"),
    "tt": ("East Timor",),
    "tu": ("Türkiye", "Turkiye"),
    "ae": ("UAE", "Emirates"),
    "uk": ("UK", "Britain", "Great Britain"),
    "us": ("USA", "US", "U.S.", "America", "United States of America"),
    "vq": ("Virgin Islands", "United States Virgin Islands"),
    "vt": ("Holy See", "Vatican"),
    "wz": ("Swaziland",),
}

# What the source gives as names and nobody uses as such.
NOT_NAMES = ("", "Dominican", "Gaza, Gaza Strip")

# Other spellings of a value, accepted beside the one in the source.
SAME_VALUE = {
    "Buddhist": ("Buddhism", "Buddhists"),
    "Afghan Persian": ("Persian",),
    "Bahasa Indonesia": ("Indonesian",),
    "Bahasa Malaysia": ("Malay",),
    "Bangla": ("Bengali",),
    "Bokmal Norwegian": ("Norwegian", "Bokmål"),
    "Burma": ("Myanmar",),
    "Castilian Spanish": ("Spanish", "Castilian"),
    "Catholic": ("Catholicism", "Roman Catholic", "Catholics"),
    "Christian": ("Christianity", "Christians"),
    "Communaute Financiere Africaine francs": ("CFA francs", "CFA franc", "West African CFA franc"),
    "Comptoirs Francais du Pacifique francs": ("CFP francs", "CFP franc"),
    "Cooperation Financiere en Afrique Centrale francs": ("CFA francs", "CFA franc", "Central African CFA franc"),
    "Coopération Financière en Afrique Centrale francs": ("CFA francs", "CFA franc", "Central African CFA franc"),
    "Cote d'Ivoire": ("Côte d'Ivoire", "Ivory Coast"),
    "Czechia": ("Czech Republic",),
    "DRC": ("Democratic Republic of the Congo",),
    "Hindu": ("Hinduism", "Hindus"),
    "Jewish": ("Jews",),
    "Kiswahili": ("Swahili",),
    "Kyiv": ("Kiev",),
    "Lamaistic Buddhist": ("Buddhist", "Buddhism"),
    "Mandarin": ("Putonghua", "Chinese"),
    "Moldovan": ("Romanian",),
    "Orthodox": ("Orthodox Christian", "Eastern Orthodox"),
    "Persian Farsi": ("Persian", "Farsi"),
    "Muslim": ("Islam", "Muslims"),
    "Protestant": ("Protestantism", "Protestants"),
    "Putonghua": ("Mandarin", "Chinese"),
    "Roman Catholic": ("Roman Catholicism", "Catholic", "Catholicism", "Roman Catholics"),
    "Renminbi yuan": ("renminbi", "yuan"),
    "Soviet Union": ("USSR",),
    "Sunni Muslim": ("Sunni Islam", "Islam", "Muslim"),
    "Turkey": ("Türkiye",),
    "UAE": ("United Arab Emirates",),
    "UK": ("United Kingdom", "Britain", "Great Britain"),
    "US": ("United States", "USA", "United States of America"),
    "USA": ("United States", "US", "United States of America"),
    "Washington, D.C.": ("Washington, DC", "Washington"),
    "euros": ("euro",),
    "konvertibilna markas": ("convertible marka", "convertible mark"),
}

# --- extractors ---------------------------------------------------------------------------------------------------


def split_items(text: str, separators: str = ",;") -> list[str]:
    """The parts of an enumeration, split outside brackets (and not inside numbers such as 1,234)."""
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char in "([") - (char in ")]")
        inside_number = text[i - 1 : i].isdigit() and text[i + 1 : i + 2].isdigit()
        if char in separators and depth <= 0 and not inside_number:
            parts.append(text[start:i])
            start = i + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def strip_brackets(text: str) -> str:
    """The text without anything in (nested) round or square brackets."""
    while (shorter := re.sub(r"\s*[(\[][^()\[\]]*[)\]]", "", text)) != text:
        text = shorter
    return text.strip()


def main_part(text: str) -> str:
    """The text up to its first note."""
    return re.split(r"[;,.]?\s*\bnote\b", text)[0].strip()


def pattern(regex: str, *spellings: str) -> Callable[[str], tuple[str, ...]]:
    """An extractor for the first group of `regex`, matched at the start; `spellings` are further ways to write it.

    In a spelling, {} stands for the matched text and {n} for its number alone.
    """
    compiled = re.compile(regex)

    def extract(text: str) -> tuple[str, ...]:
        match = compiled.match(text)
        if not match:
            return ()
        value = match.group(1)
        number = re.search(r"[\d.,]*\d", value)
        others = (s.format(value, n=number.group(0) if number else value) for s in spellings)
        return (value, *others)

    return extract


def items(max_words: int = 5) -> Callable[[str], tuple[str, ...]]:
    """An extractor for every short item of an enumeration; vague ones ("other", "small deposits of") are left out."""
    vague = re.compile(
        r"(and|other|others|some|small|smaller|limited|potential|possible|unexploited|undeveloped|large|extensive|poor|"
        r"modest|minor|including|includes|especially|mainly|mostly|primarily|about|various|none|no|each|which|with|"
        r"also|but|as|less|more|most|all|many|few|several|negl|na|two|three|former|formerly|sometimes|light|heavy|"
        r"related|similar|such|deposits|reserves|associated|miscellaneous|assorted|undetermined|the|in|a|an|to|there|"
        r"significant|sizable|substantial|abundant|vast|rich|low-grade|possibly|likely|major|negligible|locally|offshore|"
        r"outstanding|fertile plains|fishing|minerals|beaches|pleasant|white sandy)\b|.*(potential|foster|other)",
        re.IGNORECASE,
    )

    def extract(text: str) -> tuple[str, ...]:
        found = []
        for part in split_items(main_part(text)):
            item = strip_brackets(part).strip(" .")
            if item and not vague.match(item) and len(item.split()) <= max_words and not re.search(r"[\d:%()]", item):
                found.append(item)
        return tuple(dict.fromkeys(found))

    return extract


def capital(text: str) -> tuple[str, ...]:
    """The one capital; nothing where several cities share the role."""
    main = main_part(text)
    if re.search(r";|\),|capital\)|\baka\b|administered|center|^no\b", main):
        return ()
    match = re.match(r"^(.+?)(?: in Romanian)?(?: \((.+)\))?$", main)
    name, bracket = match.group(1), match.group(2) or ""
    others = [part for part in re.split(r"[,/]\s*", re.split(r" is the | in ", bracket)[0]) if re.match(r"[A-Z]", part)]
    if re.match(r"(on|located)\b|city$", bracket):
        others = []
    return (name, *others)


def _elevation(text: str) -> tuple[str, str] | None:
    """(name, "4,810 m") of a named point, or None."""
    match = re.match(r"^([^;]+?),? (-?\d[\d,.]*\d|-?\d)( m\b|$| note\b|;)", main_part(text))
    if not match:
        return None
    name, height = match.group(1), match.group(2) + (" m" if match.group(3) == " m" else "")
    vague = r"\d|unnamed|near |junction|reclaimed|ocean-side|as sarawat range"
    if (
        name.count("(") != name.count(")")
        or re.match(vague, name, re.IGNORECASE)
        or re.search(r"unnamed|height|Hill on .* and |below sea|, and ", name)
    ):
        return None
    return name, height


def highest(text: str) -> tuple[str, ...]:
    """The name of the highest point, and the name in brackets when it is another name."""
    found = _elevation(text)
    if found is None:
        return ()
    base = strip_brackets(found[0])
    others = [b.replace("aka ", "") for b in re.findall(r"\(([^()]+)\)", found[0])]
    others = [b for b in others if re.match(r"[A-Z]", b) and len(b.split()) <= 4 and " for " not in b]
    bare = re.match(r"(.+?) (?:on|in) (?:the )?[A-Z]", base)
    return (base, *([bare.group(1)] if bare else []), *others)


def lowest(text: str) -> tuple[str, ...]:
    """The name of the lowest point unless that is the sea level."""
    found = _elevation(text)
    if found is None or found[1] in ("0 m", "0") or re.search(r"Sea$|Ocean| and ", found[0]):
        return ()
    return highest(text)


def elevation(text: str) -> tuple[str, ...]:
    """The elevation of a named point: "4,810 m"."""
    found = _elevation(text)
    if found is None:
        return ()
    number = found[1].removesuffix(" m")
    spellings = (f"{number} m", f"{number} metres", f"{number} meters", number)
    return tuple(dict.fromkeys((found[1], *spellings)))


_DATE = r"\d{1,2} (?:January|February|March|April|May|June|July|August|September|October|November|December)"


def independence(text: str) -> tuple[str, ...]:
    """The date where the source gives one plain date; further dates only if it calls them earlier ones."""
    match = re.match(rf"^({_DATE}) (\d{{4}})(?: \(from ([^();]+)\))?(?:; (?:notable earlier|note\b).*)?$", text)
    if not match or not match.group(3):
        return ()
    day, month = match.group(1).split()
    year = match.group(2)
    return (f"{match.group(1)} {year}", f"{month} {day}, {year}", year)


def independence_from(text: str) -> tuple[str, ...]:
    """The state that the country left; nothing for trusteeships, unions and other long stories."""
    match = re.match(rf"^{_DATE} \d{{4}} \(from (?:the )?([^();]+)\)(?:; (?:notable earlier|note\b).*)?$", text)
    if not match or not re.fullmatch(r"[A-Z][a-zA-Z]+(?: (?:[A-Z][a-z]+))*", match.group(1)):
        return ()
    return (match.group(1),)


_SINGULARS = {
    "bolivianos": "boliviano",
    "colones": "colon",
    "emalangeni": "lilangeni",
    "guilders": "guilder",
    "koruny": "koruna",
    "kroner": "krone",
    "kronor": "krona",
    "kronur": "krona",
    "leke": "lek",
    "leones": "leone",
    "leva": "lev",
    "lei": "leu",
    "maloti": "loti",
    "meticais": "metical",
    "quetzales": "quetzal",
    "zlotych": "zloty",
}


def currency(text: str) -> tuple[str, ...]:
    """The currency as the source writes it, usually in the plural, then its singular and its code."""
    match = re.match(r"^([^()]+?)(?: \(([A-Z]{2,3})(?:/[A-Z]{3})?\))?$", text)
    if not match:
        return ()
    names = []
    for name in re.split(r"/| or ", match.group(1)):
        *front, last = name.split()
        singular = _SINGULARS.get(last, last[:-1] if last.endswith("s") else last)
        names += [name, " ".join([*front, singular])]
    if len(names) > 2:
        names.insert(0, match.group(1))
    return tuple(dict.fromkeys([*names, *filter(None, [match.group(2)])]))


_TITLE = re.compile(
    r"^(?:(?:interim|acting|caretaker|transitional|transition|CNSP|GNU|GNU interim|state affairs commission|"
    r"presidential leadership council|supreme people's assembly)\s+)*"
    r"(?:sultan and prime minister|prime minister and (?:foreign minister|co-vice president)|crown prince and prime "
    r"minister|prime minister crown prince|president of (?:china|the swiss confederation|french polynesia|the "
    r"government(?: of spain)?(?: \(prime minister-equivalent\))?|(?:the )?council of ministers|(?:the )?territorial "
    r"(?:council|assembly)|the national council for the safeguard of the homeland)|(?:chairman|chairperson) of the "
    r"(?:cabinet of ministers|council of ministers)|mayor and chairman of the island council|minister of state|"
    r"secretary of state for foreign and political affairs|lord of mann king|grand duke|supreme leader|taliban leader|"
    r"prime minister|chief minister|chief executive|lieutenant governor|governor|president|premier|chancellor|"
    r"taoiseach|king|queen|emperor|sultan|amir|pope|prince|administrator|commissioner|chairperson)\s+"
    r"(?:(?:\((?:CNSP|prime minister)\)|sir|ratu|dr\.|gen\.|general|sr\. gen\.|col\.|capt\.|dame|king|sultan|"
    r"air vice-marshal)\s+)*",
    re.IGNORECASE,
)
_TITLE_WORD = re.compile(
    r"\b(?:president|minister|king|queen|governor|council|republic|general|head|chair\w*|leader|deputy|vice|"
    r"commander\w*|forces|prefect|secretary|of|and|for|the|state|government|vacant|former)\b",
    re.IGNORECASE,
)


def leader(text: str) -> tuple[str, ...]:
    """The name of the one office holder: "President Emmanuel MACRON (since 14 May 2017)" gives "Emmanuel MACRON"."""
    match = re.match(r"^(.+?)(?:; also spelled [^(]+)? \(since [^()]*\d{4}[^()]*\)", text)
    if not match or re.match(r"(?i)vice president|co-prince|co-chiefs", text):
        return ()
    rest = match.group(1).replace(" (Ret.)", "")
    rest = re.sub(r" of (?:the Netherlands|Norway|Denmark)$| \(also spelled [^()]*\)", "", rest)
    name = _TITLE.sub("", rest).strip()
    if _TITLE_WORD.search(name) or re.search(r"[;:()\d]", name) or not re.search(r"[^\W\d_a-z]{2}", name):
        return ()
    spellings = [name]
    plain = re.sub(r",? (?:Jr|Sr)\.|\"[^\"]+\" | [A-Z]\.(?= )", "", name)
    if plain != name:
        spellings.append(plain)
    surname = " ".join(w for w in re.findall(r"[^\s,\"]+", name) if w.upper() == w and "." not in w and not _roman(w))
    if len(surname) > 3 and surname != name and surname in name:
        spellings.append(surname)
    return tuple(spellings)


def _roman(word: str) -> bool:
    return bool(re.fullmatch(r"[IVX]+", word))


def anthem(text: str) -> tuple[str, ...]:
    """The title, and its translation when the source gives one."""
    match = re.match(r"^[\"“]([^\"”“]+?)[\"”]?\s*(?:\(([^()]+)\)?)?$", text)
    if not match:
        return ()
    title, translation = match.group(1).strip(), (match.group(2) or "").strip(' "“”')
    return (title, translation) if translation else (title,)


def symbols(text: str) -> tuple[str, ...]:
    """Every national symbol; the whole text as one when it is a single list of parts ("rifle, hoe, and book")."""
    text = main_part(text).split(";")[0]
    if re.match(r"no\b|none\b", text) or "(Scotland)" in text or "(all of" in text:
        return ()
    parts = split_items(text, ",")
    if any(part.startswith("and ") for part in parts):
        return (text,) if len(text.split()) <= 8 else ()
    found = [re.sub(r"^(?:a|an|the) ", "", strip_brackets(p)) for p in parts if not re.match(r"(each|which|with)\b", p)]
    return tuple(p for p in found if p and len(p.split()) <= 9)


def colours(text: str) -> tuple[str, ...]:
    """The list of colours as one answer."""
    return (text,) if not re.search(r"[;():\d]|note|none", text) and len(text.split()) <= 8 else ()


def holiday(text: str) -> tuple[str, ...]:
    """The name of the one national holiday."""
    match = re.match(rf"^([^,;(]+?)(?: \(([^()]*)\))?, {_DATE}(?: \([^()]*\))?$", main_part(text))
    if not match or len(match.group(1).split()) > 8:
        return ()
    other = re.sub(r"^or ", "", match.group(2) or "")
    is_name = bool(re.fullmatch(r"(?:[\w'.]+ )*(?:Day|Holiday)", other))
    return (match.group(1), other) if is_name else (match.group(1),)


def holiday_date(text: str) -> tuple[str, ...]:
    """The day and month of the one national holiday."""
    match = re.match(rf"^[^,;(]+(?: \([^()]*\))?, ({_DATE})(?: \([^()]*\))?$", main_part(text))
    if not match:
        return ()
    day, month = match.group(1).split()
    return (match.group(1), f"{month} {day}")


def government_type(text: str) -> tuple[str, ...]:
    """The kind of republic, monarchy or other system, when the source names one kind."""
    kind = re.split(r"[;(]", text)[0].strip()
    known = r"(?:[a-z-]+ )*(?:republic|monarchy|monarchies|democracy|federation|state)"
    return (kind,) if re.fullmatch(known, kind) and len(kind.split()) <= 7 else ()


def government_class(kind: str) -> str:
    """What rules the others out: an absolute or another monarchy, or a republic by who heads the executive."""
    if "monarch" in kind:
        return "absolute" if kind.startswith("absolute") else "monarchy"
    match = re.search(r"(semi-presidential|presidential|parliamentary) republic$", kind)
    return match.group(1) if match else ""


def demonym(text: str) -> tuple[str, ...]:
    """The word for one person, then for several; nothing where the source has one word per sex or per island."""
    match = re.match(
        r"^([^\s(,;/]+(?: [^\s(,;/]+){0,2}?)(\(s\)| \(singular and plural\)| \(singular\), (\S+) \(plural\)|$)", text
    )
    if not match:
        return ()
    rest = text[match.end() :]
    if rest and not re.match(r" \(US nationals|; note", rest):
        return ()
    plural = match.group(3) or (match.group(1) + "s" if match.group(2) == "(s)" else match.group(1))
    return tuple(dict.fromkeys((match.group(1), plural)))


def official_language(text: str) -> tuple[str, ...]:
    """Every language that the source marks as official for the whole country."""
    found = []
    for part in split_items(main_part(text)):
        match = re.match(
            r"^(.+?)\s*\((?:[^()]*; )?official(?: national language| language| nationwide| and [a-z ]+)?[,;)]", part
        )
        if match and "only in" not in part[match.end() :]:
            name = re.sub(r"\s*[<\d.]+%.*|\bonly$", "", strip_brackets(match.group(1))).strip()
            found += [n.strip() for n in re.split(r"/| or ", name) if re.match(r"[A-Za-z]", n.strip())]
    return tuple(n for n in found if len(n.split()) <= 3 and "(" not in n and n != "other")


def majority(text: str) -> tuple[str, ...]:
    """The group with more than half of the population, by the percentages in the text."""
    match = re.match(r"^([A-Z][^(),;:%]*?)(?: \((?:[^()]|\([^()]*\))*\))? (\d[\d.]*)%", main_part(text))
    if not match or float(match.group(2)) <= 50 or re.search(r" and | at |\d|(\S+ ){4}", match.group(1)):
        return ()
    return (match.group(1),)


def largest_city(text: str) -> tuple[str, ...]:
    """The most populous of the urban areas listed; nothing where the source lists only one."""
    found = re.findall(r"(\d[\d.,]*\d|\d+)( million)?\s+([^\d,;()]+?)\s*(?=\(|,|;|$)", main_part(text))
    sizes = [float(n.replace(",", "")) * (1e6 if million else 1) for n, million, _ in found]
    if len(sizes) < 2 or sizes.count(max(sizes)) > 1 or min(sizes) < 100 or max(sizes) > 1e8:
        return ()
    name = found[sizes.index(max(sizes))][2]
    return (name,) if len(name.split()) <= 4 else ()


def top_partner(text: str) -> tuple[str, ...]:
    """The partner with the largest percentage; nothing where two share the first place."""
    found = re.findall(r"([A-Z][^,;%()\d]*?) (\d[\d.]*)%", main_part(text))
    if (
        not found
        or found[0][0] in ("The", "Bahamas")
        or (len(found) > 1 and float(found[0][1]) <= max(float(share) for _, share in found[1:]))
    ):
        return ()
    return (found[0][0],)


def border_countries(text: str) -> tuple[str, ...]:
    """Every country named with the length of its border."""
    found = [strip_brackets(part) for part in re.findall(r"([A-Z][^;,\d]*?) [\d.,]+ km", text)]
    return tuple(dict.fromkeys(n for n in found if n and "Base" not in n and len(n.split()) <= 6))


def river(text: str) -> tuple[str, ...]:
    """Every major river, each with its name in brackets as another spelling."""
    found = []
    for part in split_items(main_part(text), ";"):
        match = re.match(r"^([^(]+?)(?: \(([A-Z][^()]*)\))?(?: river| \(shared| - )", part + " - ")
        if match and len(match.group(1).split()) <= 4 and re.match(r"[A-Z]", match.group(1)):
            found += [match.group(1), *filter(None, [match.group(2)])]
    return tuple(found)


def former_names(text: str) -> tuple[str, ...]:
    """Every former name in a plain list of names."""
    if re.search(r"former|sometimes|\[|Districts?\b", text):
        return ()
    found = [strip_brackets(part) for part in split_items(text)]
    return tuple(
        n for n in found if re.match(r"[A-Z]", n) and len(n.split()) <= 6 and not re.search(r"\d|Autonomous", n)
    )


def local_names(text: str) -> tuple[str, ...]:
    """Every local name."""
    found = [n.strip() for n in re.split(r"/| or ", strip_brackets(text))]
    return tuple(n for n in found if n and n.lower() != "none" and len(n.split()) <= 5)


def official_name(text: str) -> tuple[str, ...]:
    """The conventional long form."""
    return () if "prior to" in text else (re.split(r"[;,]? note\b|;", text)[0].strip(),)


def legislature(text: str) -> tuple[str, ...]:
    """Its name; where the English one is just "Parliament", the local name comes first."""
    match = re.match(r"^([A-Z][^()/]*?)(?: \(([^()/]+)\))?$", text)
    if not match or " - " in text or len(match.group(1).split()) > 7:
        return ()
    name, local = match.group(1), match.group(2)
    if name in ("Parliament", "Legislature", "Congress"):
        return (local, name) if local else ()
    return (*name.split(" or "), *filter(None, [local]), *([name[4:]] if name.startswith("The ") else []))


def chambers(text: str) -> tuple[str, ...]:
    """Unicameral or bicameral."""
    return {"unicameral": ("unicameral", "one", "1"), "bicameral": ("bicameral", "two", "2")}.get(text, ())


def sites(text: str) -> tuple[str, ...]:
    """Every World Heritage Site listed that has a name of at most eight words."""
    return tuple(p for p in split_items(main_part(text), ";") if re.match(r"[^\W\d_]", p) and len(p.split()) <= 8)


def opening(low: int, high: int) -> Callable[[str], tuple[str, ...]]:
    """An extractor for the first whole sentences, `low` to `high` words of them."""

    def extract(text: str) -> tuple[str, ...]:
        chosen: list[str] = []
        for sentence in sentences(text):
            if len(" ".join([*chosen, sentence]).split()) > high:
                break
            chosen.append(sentence)
        answer = " ".join(chosen).rstrip(" ;.")
        return (answer,) if len(answer.split()) >= low else ()

    return extract


_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"])(?:[A-Z]|ca|c|St|Ste|Mt|Dr|Mr|Mrs|Jr|Sr|Gen|Col|Lt|No|vs|etc|est|approx|Ft|e\.g|i\.e|[A-Z]\.[A-Z]|"
    r"B\.C|A\.D|U\.S|D\.C)\.$"
)


def sentences(text: str) -> list[str]:
    """The text cut after each full stop (not after abbreviations and initials) and each semicolon."""
    parts, start = [], 0
    for match in re.finditer(r"(?<=[.;!?])[\"”)]?\s+(?=\S)", text):
        part = text[start : match.end()].strip()
        stop = part.rstrip('"”)')[-1:] if part else ""
        opens = text[match.end() : match.end() + 1]
        inside = text[: match.end()].count("(") > text[: match.end()].count(")")
        if inside or (stop == "." and (_ABBREVIATION.search(part.rstrip('"”)')) or opens.islower())):
            continue
        parts.append(part)
        start = match.end()
    parts.append(text[start:].strip())
    return [part for part in parts if part]


# --- what an entry contributes to the corpus ----------------------------------------------------------------------


@functools.lru_cache(maxsize=10_000)
def plain_names(text: str) -> str:
    """The text with surnames in capitals written as names: "Emmanuel MACRON" becomes "Emmanuel Macron"."""
    text = text.replace("XI Jinping", "Xi Jinping")
    text = re.sub(r"[^\W\d_][\w'\u2019-]*(?: (?:DE|DEL|DER|DOS|DA|BIN|LA|ES)(?= [^\W\d_a-z]{2}))*", _plain_words, text)
    return text.replace("-Au-", "-au-").replace("-Of-", "-of-")


_KEPT_CAPITALS = {
    "UK",
    "US",
    "UAE",
    "GNU",
    "CNSP",
    "BFC",
    "RN",
    "NA",
    "II",
    "DPRK",
    "TRNC",
    "EU",
    "ANZAC",
    "USSR",
    "PLC",
}


def _plain_words(match: re.Match) -> str:
    first, *particles = match.group(0).split(" ")
    return " ".join([_plain_word(first), *(p.lower() if first.isupper() else p.capitalize() for p in particles)])


def _plain_word(word: str) -> str:
    letters = re.sub(r"[^\w]|[\d_]", "", word)
    if letters in _KEPT_CAPITALS or _roman(letters):
        return word
    return re.sub(r"[^\W\d_]+", lambda m: _plain_part(word, m.start(), m.group(0)), word)


def _plain_part(word: str, at: int, part: str) -> str:
    """One run of letters of a word, which may be in capitals as a whole or after "Mc"."""
    if part.isupper() and (len(part) > 1 or (at > 1 and word[:at].isupper())):
        # A capital after a hyphen or after "O'" stays: Diaz-Canel, O'Neill; not after a glottal stop: Muli'aka'aka.
        return part.capitalize() if _starts_name(word, at) else part.lower()
    if re.fullmatch(r"Ma?c[A-Z]{3,}", part):
        prefix = part[: part.index("c") + 1]
        return prefix + part[len(prefix) :].capitalize()
    return part


def _starts_name(word: str, at: int) -> bool:
    return at == 0 or word[at - 1] == "-" or (at == 2 and word[1] in "'\u2019" and word[0] in "ODN")


@dataclass(frozen=True)
class Leaf:
    """One value of an entry: where it stands in the source, and how it appears in the corpus."""

    key: str
    section: str
    label: str
    paths: tuple[str, ...]  # "section > field > subfield", tried in order
    drop: str = ""  # regular expression for what is cut out of the text
    names: bool = False  # surnames in capitals are written as names


def _year_paths(field: str, section: str = "Economy") -> tuple[str, ...]:
    return tuple(f"{section} > {field} > {field} {year}" for year in (2024, 2023))


_GOV, _GEO, _PEOPLE, _ECO = "Government", "Geography", "People and Society", "Economy"

LEAVES = (
    Leaf("background", "introduction", "Background", ("Introduction > Background",)),
    Leaf("location", "geography", "Location", (f"{_GEO} > Location",)),
    Leaf("area", "geography", "Total area", (f"{_GEO} > Area > total",)),
    Leaf("compare", "geography", "Area compared", (f"{_GEO} > Area - comparative",)),
    Leaf("borders", "geography", "Border countries", (f"{_GEO} > Land boundaries > border countries",)),
    Leaf("coastline", "geography", "Coastline", (f"{_GEO} > Coastline",)),
    Leaf("climate", "geography", "Climate", (f"{_GEO} > Climate",)),
    Leaf("terrain", "geography", "Terrain", (f"{_GEO} > Terrain",)),
    Leaf("highest", "geography", "Highest point", (f"{_GEO} > Elevation > highest point",)),
    Leaf("lowest", "geography", "Lowest point", (f"{_GEO} > Elevation > lowest point",)),
    Leaf("mean_elevation", "geography", "Mean elevation", (f"{_GEO} > Elevation > mean elevation",)),
    Leaf("resources", "geography", "Natural resources", (f"{_GEO} > Natural resources",)),
    Leaf(
        "rivers",
        "geography",
        "Major rivers",
        (f"{_GEO} > Major rivers (by length in km)",),
        drop=r"\s*note: \[s\].*| \[[ms/]+\]",
    ),
    Leaf(
        "population_distribution",
        "geography",
        "Population distribution",
        (f"{_GEO} > Population distribution",),
        drop=r",? as shown in this (?:population distribution )?map",
    ),
    Leaf("hazards", "geography", "Natural hazards", (f"{_GEO} > Natural hazards",)),
    Leaf("geography_note", "geography", "Geography note", (f"{_GEO} > Geography - note",)),
    Leaf("issues", "geography", "Environmental issues", ("Environment > Environmental issues",)),
    Leaf("population", "people", "Population", (f"{_PEOPLE} > Population > total", f"{_PEOPLE} > Population")),
    Leaf("demonym", "people", "Nationality", (f"{_PEOPLE} > Nationality > noun",)),
    Leaf("adjective", "people", "Nationality (adjective)", (f"{_PEOPLE} > Nationality > adjective",)),
    Leaf("ethnic", "people", "Ethnic groups", (f"{_PEOPLE} > Ethnic groups",)),
    Leaf("languages", "people", "Languages", (f"{_PEOPLE} > Languages > Languages", f"{_PEOPLE} > Languages")),
    Leaf("religions", "people", "Religions", (f"{_PEOPLE} > Religions",)),
    Leaf("median_age", "people", "Median age", (f"{_PEOPLE} > Median age > total",)),
    Leaf("urban", "people", "Urban population", (f"{_PEOPLE} > Urbanization > urban population",)),
    Leaf("cities", "people", "Major urban areas", (f"{_PEOPLE} > Major urban areas - population",), names=True),
    Leaf("life", "people", "Life expectancy at birth", (f"{_PEOPLE} > Life expectancy at birth > total population",)),
    Leaf("official_name", "government", "Official name", (f"{_GOV} > Country name > conventional long form",)),
    Leaf("local_name", "government", "Local name", (f"{_GOV} > Country name > local short form",)),
    Leaf("former", "government", "Former names", (f"{_GOV} > Country name > former",)),
    Leaf("etymology", "government", "Origin of the name", (f"{_GOV} > Country name > etymology",)),
    Leaf("government", "government", "Form of government", (f"{_GOV} > Government type",)),
    Leaf("capital", "government", "Capital", (f"{_GOV} > Capital > name",)),
    Leaf("capital_etymology", "government", "Origin of the capital's name", (f"{_GOV} > Capital > etymology",)),
    Leaf("legal", "government", "Legal system", (f"{_GOV} > Legal system",)),
    Leaf("suffrage", "government", "Suffrage", (f"{_GOV} > Suffrage",)),
    Leaf("chief", "government", "Chief of state", (f"{_GOV} > Executive branch > chief of state",), names=True),
    Leaf("head", "government", "Head of government", (f"{_GOV} > Executive branch > head of government",), names=True),
    Leaf("legislature", "government", "Legislature", (f"{_GOV} > Legislative branch > legislature name",)),
    Leaf("chambers", "government", "Chambers", (f"{_GOV} > Legislative branch > legislative structure",)),
    Leaf("independence", "government", "Independence", (f"{_GOV} > Independence",)),
    Leaf("holiday", "government", "National holiday", (f"{_GOV} > National holiday",), names=True),
    Leaf("flag", "government", "Flag", (f"{_GOV} > Flag",), drop=r"^description: "),
    Leaf("symbols", "government", "National symbols", (f"{_GOV} > National symbol(s)",)),
    Leaf("colours", "government", "National colors", (f"{_GOV} > National color(s)",)),
    Leaf("anthem", "government", "National anthem", (f"{_GOV} > National anthem(s) > title",)),
    Leaf("anthem_history", "government", "Anthem history", (f"{_GOV} > National anthem(s) > history",)),
    Leaf(
        "heritage_count",
        "government",
        "Number of World Heritage Sites",
        (f"{_GOV} > National heritage > total World Heritage Sites",),
    ),
    Leaf(
        "heritage",
        "government",
        "World Heritage Sites",
        (f"{_GOV} > National heritage > selected World Heritage Site locales",),
        drop=r" ?\([cnm]\)",
    ),
    Leaf("economy", "economy", "Economic overview", (f"{_ECO} > Economic overview",)),
    Leaf("gdp", "economy", "GDP (official exchange rate)", (f"{_ECO} > GDP (official exchange rate)",)),
    Leaf("gdp_per_person", "economy", "Real GDP per capita", _year_paths("Real GDP per capita")),
    Leaf("crops", "economy", "Agricultural products", (f"{_ECO} > Agricultural products",)),
    Leaf("industries", "economy", "Industries", (f"{_ECO} > Industries",)),
    Leaf("unemployment", "economy", "Unemployment rate", _year_paths("Unemployment rate")),
    Leaf("export_partners", "economy", "Export partners", (f"{_ECO} > Exports - partners",)),
    Leaf("exports", "economy", "Main exports", (f"{_ECO} > Exports - commodities",)),
    Leaf("import_partners", "economy", "Import partners", (f"{_ECO} > Imports - partners",)),
    Leaf("imports", "economy", "Main imports", (f"{_ECO} > Imports - commodities",)),
    Leaf("currency", "economy", "Currency", (f"{_ECO} > Exchange rates > Currency",), drop=r" per US dollar.*"),
    Leaf("domain", "economy", "Internet country code", ("Communications > Internet country code",)),
    Leaf("internet", "economy", "Internet users", ("Communications > Internet users > percent of population",)),
)


# --- what is asked ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """One question field; see the module's docstring for the placeholders."""

    key: str
    leaf: str
    extract: Callable[[str], tuple[str, ...]]
    questions: tuple[str, ...]
    claim: str = ""  # no claim where the source's list is open, so that a swapped value could be true
    reverse: tuple[str, ...] = ()
    many: bool = False  # the answers are different true values, any of which is right
    long_form: bool = False
    withhold: bool = False  # a few cells are kept out of the corpus: their claims cannot be decided
    claim_class: Callable[[str], str] | None = None  # two values clash only if their classes differ and are not ""


FIELDS = (
    Field(
        "capital",
        "capital",
        capital,
        (
            "What is the capital of {c}?",
            "Name the capital of {c}.",
            "Which place is the capital of {c}?",
            "What is the capital city of {c} called?",
        ),
        "The capital of {c} is {a}.",
        ("{a} is the capital of which {place}?", "Which {place} has {a} as its capital?"),
    ),
    Field(
        "highest",
        "highest",
        highest,
        (
            "What is the highest point of {c}?",
            "Name the highest point in {c}.",
            "Where is the highest elevation in {c}?",
            "At which place does {c} reach its greatest height above the sea?",
        ),
        "The highest point of {c} is {a}.",
        ("{a} is the highest point of which {place}?", "In which {place} is {a} the highest point?"),
        withhold=True,
    ),
    Field(
        "highest_elevation",
        "highest",
        elevation,
        (
            "How high is the highest point of {c}?",
            "What is the elevation of the highest point in {c}?",
            "How many metres above the sea is the highest point of {c}?",
        ),
        "The highest point of {c} has an elevation of {a}.",
    ),
    Field(
        "lowest",
        "lowest",
        lowest,
        (
            "What is the lowest point of {c}?",
            "Name the lowest point in {c}.",
            "Where is the lowest elevation in {c}?",
        ),
        "The lowest point of {c} is {the_a}.",
        ("{The_a} is the lowest point of which {place}?", "In which {place} is {the_a} the lowest point?"),
        withhold=True,
    ),
    Field(
        "area",
        "area",
        pattern(r"^([\d,.]+(?: million)? sq km)$", "{n} square kilometres", "{n} square kilometers", "{n}"),
        (
            "What is the total area of {c}?",
            "How large is the area of {c}?",
            "How many square kilometres does {c} cover?",
        ),
        "The total area of {c} is {a}.",
        withhold=True,
    ),
    Field(
        "borders",
        "borders",
        border_countries,
        (
            "Which country shares a land border with {c}?",
            "Name a country that borders {c}.",
            "Name a land neighbour of {c}.",
        ),
        "{C} shares a land border with {the_a}.",
        many=True,
    ),
    Field(
        "coastline",
        "coastline",
        pattern(r"^([1-9][\d,.]* km)(?: \(|$)", "{n} kilometres", "{n} kilometers", "{n}"),
        (
            "How long is the coastline of {c}?",
            "What is the length of the coast of {c}?",
            "How many kilometres of coast does {c} have?",
        ),
        "The coastline of {c} is {a} long.",
        withhold=True,
    ),
    Field(
        "mean_elevation",
        "mean_elevation",
        pattern(r"^([\d,.]+ m)$", "{n} metres", "{n} meters", "{n}"),
        (
            "What is the mean elevation of {c}?",
            "How high above sea level is {c} on average?",
            "What is the average elevation of {c}?",
        ),
        "The mean elevation of {c} is {a}.",
        withhold=True,
    ),
    Field(
        "resources",
        "resources",
        items(),
        (
            "Name a natural resource of {c}.",
            "What is one of the natural resources of {c}?",
            "Which natural resource is found in {c}?",
        ),
        many=True,
    ),
    Field(
        "rivers",
        "rivers",
        river,
        (
            "Name a major river of {c}.",
            "What is one of the major rivers of {c}?",
            "Which major river is found in {c}?",
        ),
        many=True,
    ),
    Field(
        "population",
        "population",
        pattern(r"^(\d[\d,]{2,}) \("),
        (
            "What is the population of {c}?",
            "How many people live in {c}?",
            "How many inhabitants does {c} have?",
        ),
        "The population of {c} is {a}.",
        withhold=True,
    ),
    Field(
        "demonym",
        "demonym",
        demonym,
        (
            "What do you call a person from {c}?",
            "What is the demonym for people from {c}?",
            "What is a citizen of {c} called?",
        ),
        "A person from {c} is called {an_a}.",
    ),
    Field(
        "language",
        "languages",
        official_language,
        (
            "Name an official language of {c}.",
            "Which language has official status in {c}?",
            "What is an official language of {c}?",
        ),
        "{a} is an official language of {c}.",
        ("In which {place} is {a} an official language?", "{a} is an official language of which {place}?"),
        many=True,
    ),
    Field(
        "religion",
        "religions",
        majority,
        (
            "What is the majority religious group in {c}?",
            "To which religious group do most people in {c} belong?",
            "Which religious group makes up more than half of the population of {c}?",
        ),
    ),
    Field(
        "ethnic_group",
        "ethnic",
        majority,
        (
            "What is the majority ethnic group in {c}?",
            "Which ethnic group makes up most of the population of {c}?",
            "To which ethnic group do more than half of the people of {c} belong?",
        ),
    ),
    Field(
        "median_age",
        "median_age",
        pattern(r"^([\d.]+ years)", "{n}"),
        (
            "What is the median age in {c}?",
            "What is the median age of the population of {c}?",
            "Half of the people of {c} are older than what age?",
        ),
        "The median age in {c} is {a}.",
        withhold=True,
    ),
    Field(
        "urban",
        "urban",
        pattern(r"^([\d.]+%) of total population", "{n} percent", "{n} per cent", "{n}"),
        (
            "What share of the population of {c} is urban?",
            "What percentage of people in {c} live in urban areas?",
            "How much of the population of {c} lives in towns and cities?",
        ),
        "{a} of the population of {c} is urban.",
        withhold=True,
    ),
    Field(
        "largest_city",
        "cities",
        largest_city,
        (
            "What is the largest urban area in {c}?",
            "Which city in {c} has the most inhabitants?",
            "Name the most populous city of {c}.",
        ),
        "{a} is the largest urban area in {c}.",
        ("{a} is the largest urban area of which {place}?", "In which {place} is {a} the most populous city?"),
    ),
    Field(
        "life_expectancy",
        "life",
        pattern(r"^([\d.]+ years)", "{n}"),
        (
            "What is the life expectancy in {c}?",
            "How long do people in {c} live on average?",
            "What age can a newborn in {c} expect to reach?",
        ),
        "Life expectancy at birth in {c} is {a}.",
        withhold=True,
    ),
    Field(
        "official_name",
        "official_name",
        official_name,
        (
            "What is the official name of {c}?",
            "What is {c} officially called?",
            "What is the full formal name of {c}?",
        ),
    ),
    Field(
        "local_name",
        "local_name",
        local_names,
        (
            "What is the local name of {c}?",
            "What is {c} called by the people who live there?",
            "Under which name is {c} known locally?",
        ),
        "",
        ("Which {place} is locally called {a}?", "{a} is the local name of which {place}?"),
        many=True,
    ),
    Field(
        "former_name",
        "former",
        former_names,
        (
            "What was {c} formerly called?",
            "What is a former name of {c}?",
            "Under which name was {c} known in the past?",
        ),
        "{C} was formerly called {a}.",
        ("Which {place} was formerly called {a}?", "{a} is a former name of which {place}?"),
        many=True,
    ),
    Field(
        "government",
        "government",
        government_type,
        (
            "What is the form of government of {c}?",
            "What type of government does {c} have?",
            "Which political system does {c} have?",
        ),
        "The form of government of {c} is {an_a}.",
        withhold=True,
        claim_class=government_class,
    ),
    Field(
        "voting_age",
        "suffrage",
        pattern(r"^((?:16|17|18|20|21) years of age)(?:[;,] universal(?: and compulsory)?)?$", "{n} years", "{n}"),
        (
            "What is the voting age in {c}?",
            "How old must a voter be in {c}?",
            "From what age may people vote in {c}?",
        ),
        "People in {c} may vote from {a}.",
        withhold=True,
    ),
    Field(
        "chief_of_state",
        "chief",
        leader,
        (
            "Who is the chief of state of {c}?",
            "Who is the head of state of {c}?",
            "Name the head of state of {c}.",
            "Which person holds the highest office of state in {c}?",
        ),
        "{a} is the chief of state of {c}.",
        ("{a} is the head of state of which {place}?", "Which {place} has {a} as its head of state?"),
    ),
    Field(
        "head_of_government",
        "head",
        leader,
        (
            "Who is the head of government of {c}?",
            "Who leads the government of {c}?",
            "Name the head of government of {c}.",
            "Which person is in charge of the government of {c}?",
        ),
        "{a} is the head of government of {c}.",
        ("{a} is the head of government of which {place}?", "Which {place} has {a} as its head of government?"),
    ),
    Field(
        "legislature",
        "legislature",
        legislature,
        (
            "What is the legislature of {c} called?",
            "What is the name of the legislature of {c}?",
            "Which body makes the laws of {c}?",
        ),
    ),
    Field(
        "chambers",
        "chambers",
        chambers,
        (
            "Is the legislature of {c} unicameral or bicameral?",
            "Does {c} have a unicameral or a bicameral legislature?",
            "Does the legislature of {c} have one chamber or two: is it unicameral or bicameral?",
        ),
        "The legislature of {c} is {a}.",
        withhold=True,
    ),
    Field(
        "independence",
        "independence",
        independence,
        (
            "When did {c} become independent?",
            "On what date did {c} gain independence?",
            "What is the date of the independence of {c}?",
        ),
        "{C} became independent on {a}.",
    ),
    Field(
        "independence_from",
        "independence",
        independence_from,
        (
            "From which country did {c} gain independence?",
            "{C} became independent from which country?",
            "Which country did {c} leave when it became independent?",
        ),
        "{C} gained independence from {the_a}.",
    ),
    Field(
        "holiday",
        "holiday",
        holiday,
        (
            "What is the national holiday of {c} called?",
            "Which holiday is the national holiday of {c}?",
            "Name the national day of {c}.",
        ),
    ),
    Field(
        "holiday_date",
        "holiday",
        holiday_date,
        (
            "When is the national holiday of {c}?",
            "On what day does {c} celebrate its national holiday?",
            "What is the date of the national day of {c}?",
        ),
        "The national holiday of {c} is on {a}.",
        withhold=True,
    ),
    Field(
        "symbol",
        "symbols",
        symbols,
        (
            "What is a national symbol of {c}?",
            "Name a national symbol of {c}.",
            "Which animal, plant or object is a national symbol of {c}?",
        ),
        many=True,
    ),
    Field(
        "colours",
        "colours",
        colours,
        (
            "What are the national colours of {c}?",
            "Which colours are the national colours of {c}?",
            "Name the national colours of {c}.",
        ),
        "The national colours of {c} are {a}.",
        withhold=True,
    ),
    Field(
        "anthem",
        "anthem",
        anthem,
        (
            "What is the national anthem of {c} called?",
            "What is the title of the national anthem of {c}?",
            "Which song is the national anthem of {c}?",
            "Name the anthem of {c}.",
        ),
        'The national anthem of {c} is called "{a}".',
        ('"{a}" is the national anthem of which {place}?', 'Which {place} has "{a}" as its national anthem?'),
        withhold=True,
    ),
    Field(
        "heritage_count",
        "heritage_count",
        pattern(r"^(\d+)\b"),
        (
            "How many World Heritage Sites are there in {c}?",
            "How many World Heritage Sites does {c} have?",
            "What is the number of World Heritage Sites in {c}?",
        ),
    ),
    Field(
        "heritage",
        "heritage",
        sites,
        (
            "Name a World Heritage Site in {c}.",
            "What is one of the World Heritage Sites of {c}?",
            "Which World Heritage Site can be visited in {c}?",
        ),
        "",
        (
            "In which {place} is the World Heritage Site {a}?",
            "The World Heritage Site {a} lies in which {place}?",
        ),
        many=True,
    ),
    Field(
        "gdp",
        "gdp",
        pattern(r"^(\$[\d.,]+ (?:tr|b|m)illion)"),
        (
            "What is the GDP of {c} at the official exchange rate?",
            "How large is the gross domestic product of {c} in US dollars?",
            "How many US dollars is the yearly output of the economy of {c} worth?",
        ),
        "The GDP of {c} at the official exchange rate is {a}.",
        withhold=True,
    ),
    Field(
        "gdp_per_person",
        "gdp_per_person",
        pattern(r"^(\$[\d.,]+) \("),
        (
            "What is the real GDP per capita of {c}?",
            "How high is the real GDP per person in {c}?",
            "What is the real gross domestic product per head in {c}?",
        ),
        "The real GDP per capita of {c} is {a}.",
        withhold=True,
    ),
    Field(
        "crops",
        "crops",
        items(),
        (
            "Name one of the top agricultural products of {c}.",
            "What is one of the main agricultural products of {c}?",
            "What do farmers in {c} produce?",
        ),
        many=True,
    ),
    Field(
        "unemployment",
        "unemployment",
        pattern(r"^([\d.]+%)", "{n} percent", "{n} per cent", "{n}"),
        (
            "What is the unemployment rate in {c}?",
            "How high is unemployment in {c}?",
            "What share of the labour force of {c} is out of work?",
        ),
        "The unemployment rate in {c} is {a}.",
        withhold=True,
    ),
    Field(
        "export_partner",
        "export_partners",
        top_partner,
        (
            "Which country buys the largest share of the exports of {c}?",
            "What is the largest export partner of {c}?",
            "Where does the largest part of the exports of {c} go?",
        ),
        "The largest export partner of {c} is {the_a}.",
    ),
    Field(
        "exports",
        "exports",
        items(),
        (
            "Name one of the main exports of {c}.",
            "What is one of the main export commodities of {c}?",
            "Which product is among the top exports of {c}?",
        ),
        many=True,
    ),
    Field(
        "import_partner",
        "import_partners",
        top_partner,
        (
            "Which country supplies the largest share of the imports of {c}?",
            "What is the largest import partner of {c}?",
            "Where does the largest part of the imports of {c} come from?",
        ),
        "The largest import partner of {c} is {the_a}.",
    ),
    Field(
        "imports",
        "imports",
        items(),
        (
            "Name one of the main imports of {c}.",
            "What is one of the main import commodities of {c}?",
            "Which product is among the top imports of {c}?",
        ),
        many=True,
    ),
    Field(
        "currency",
        "currency",
        currency,
        (
            "What is the currency of {c}?",
            "Which currency is used in {c}?",
            "What money do people pay with in {c}?",
        ),
        "People in {c} pay in {a}.",
        ("In which {place} do people pay in {a}?", "Which {place} uses {a} as its currency?"),
        withhold=True,
    ),
    Field(
        "domain",
        "domain",
        pattern(r"^(\.[a-z]{2})$"),
        (
            "What is the internet country code of {c}?",
            "Which top-level internet domain belongs to {c}?",
            "With which country code do web addresses from {c} end?",
        ),
        "The internet country code of {c} is {a}.",
        ("Which {place} has the internet country code {a}?", "{a} is the internet country code of which {place}?"),
        withhold=True,
    ),
    Field(
        "internet",
        "internet",
        pattern(r"^([\d.]+%)", "{n} percent", "{n} per cent", "{n}"),
        (
            "What share of the population of {c} uses the internet?",
            "What percentage of people in {c} are internet users?",
            "How many per cent of the people of {c} are online?",
        ),
        "{a} of the population of {c} uses the internet.",
        withhold=True,
    ),
    Field(
        "about_history",
        "background",
        opening(20, 80),
        ("What is the historical background of {c}?", "Give a short account of the history of {c}."),
        long_form=True,
    ),
    Field(
        "about_economy",
        "economy",
        opening(10, 80),
        ("What is the economy of {c} like?", "Describe the economy of {c}."),
        long_form=True,
    ),
    Field(
        "about_flag",
        "flag",
        opening(12, 80),
        ("What does the flag of {c} look like?", "Describe the flag of {c}."),
        long_form=True,
    ),
    Field(
        "about_name",
        "etymology",
        opening(8, 60),
        ("Where does the name of {c} come from?", "How did {c} get its name?"),
        long_form=True,
    ),
    Field(
        "about_capital_name",
        "capital_etymology",
        opening(8, 60),
        ("Where does the name of the capital of {c} come from?", "How did the capital of {c} get its name?"),
        long_form=True,
    ),
    Field(
        "about_people",
        "population_distribution",
        opening(10, 60),
        ("How is the population of {c} distributed?", "Where do most people in {c} live?"),
        long_form=True,
    ),
    Field(
        "about_geography",
        "geography_note",
        opening(8, 60),
        ("What is notable about the geography of {c}?", "What is geographically special about {c}?"),
        long_form=True,
    ),
    Field(
        "about_location",
        "location",
        opening(8, 40),
        ("Where is {c}?", "Describe the location of {c}."),
        long_form=True,
    ),
    Field(
        "about_climate",
        "climate",
        opening(5, 40),
        ("What is the climate of {c} like?", "What kind of weather does {c} have?"),
        long_form=True,
    ),
    Field(
        "about_terrain",
        "terrain",
        opening(5, 40),
        ("What is the terrain of {c} like?", "Describe the landscape of {c}."),
        long_form=True,
    ),
    Field(
        "about_hazards",
        "hazards",
        opening(5, 50),
        ("Which natural hazards threaten {c}?", "What natural disasters can strike {c}?"),
        long_form=True,
    ),
    Field(
        "about_environment",
        "issues",
        opening(5, 50),
        ("What environmental issues does {c} face?", "Which environmental problems does {c} have?"),
        long_form=True,
    ),
)

# Multi-hop: the bridge field identifies the country, the target field asks for one of its other values.
BRIDGES = {
    "capital": ("the {place} whose capital is {a}", "{a} is the capital of a {place}."),
    "highest": ("the {place} whose highest point is {a}", "{a} is the highest point of a {place}."),
    "lowest": ("the {place} whose lowest point is {the_a}", "{The_a} is the lowest point of a {place}."),
    "anthem": ('the {place} whose national anthem is "{a}"', '"{a}" is the national anthem of a {place}.'),
    "former_name": ("the {place} that was formerly called {a}", "{a} is a former name of a {place}."),
    "heritage": (
        "the {place} in which the World Heritage Site {a} lies",
        "The World Heritage Site {a} lies in a certain {place}.",
    ),
    "head_of_government": (
        "the {place} whose head of government is {a}",
        "{a} is the head of government of a {place}.",
    ),
    "currency": ("the {place} where people pay in {a}", "People pay in {a} in a certain {place}."),
}
MULTI_HOP = (
    ("highest", "capital"),
    ("anthem", "capital"),
    ("former_name", "currency"),
    ("heritage", "capital"),
    ("currency", "capital"),
    ("lowest", "capital"),
    ("capital", "currency"),
    ("highest", "currency"),
    ("capital", "highest"),
    ("capital", "anthem"),
    ("capital", "export_partner"),
    ("heritage", "currency"),
    ("head_of_government", "anthem"),
    ("head_of_government", "highest"),
)

# Clues: a sentence of one of these leaves that does not name the country, after the words that say what it is about.
CLUES = {
    "etymology": "The name of this {place}",
    "capital_etymology": "The name of the capital of this {place}",
    "flag": "The flag of this {place}",
    "geography_note": "The geography of this {place}",
    "anthem_history": "The national anthem of this {place}",
}

# Cells that an extractor reads rightly but that the source states wrongly or not for this question, by entry.
EXCLUDED = {
    # royal anthem used beside the national anthem, which the source does not name
    "anthem": (
        "ac",
        "as",
        "bf",
        "bh",
        "bp",
        "ca",
        "ck",
        "cw",
        "gj",
        "kt",
        "lu",
        "ne",
        "nf",
        "no",
        "nz",
        "sc",
        "st",
        "sw",
        "th",
        "tl",
        "tv",
        "vc",
    ),
    # named after the island's people as a whole, in the source "St. Helena 82.1%"
    "ethnic_group": ("sh",),
    # territories claimed, a city, and a larger country that this one was a part of: not its own former names
    "former_name": ("ec", "mo", "nn", "uc"),
    # from British India, which is not a country that rules another
    "independence_from": ("pk",),
    # the brackets hold another name than the legislature's
    "legislature": ("mc",),
    # the Holy See is not the state's name
    "official_name": ("vt",),
    # the same mountain under another name is the highest point of a neighbour, too
    "highest_reverse": ("cg", "fr", "gv", "it", "iv", "ug"),
    "lowest_reverse": ("mo", "wi"),
    # the same site under another name stands in a neighbour's list
    "heritage_reverse": ("mk",),
}
