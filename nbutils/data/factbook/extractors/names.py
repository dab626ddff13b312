"""Extractors for names: those of a country, of its office holders, symbols, holidays and sites."""

import re

from nbutils.data.factbook.extractors.general import DATE, main_part, split_items, strip_brackets
from nbutils.data.factbook.surnames import is_roman_numeral

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


def office_holder(text: str) -> tuple[str, ...]:
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
    words = re.findall(r"[^\s,\"]+", name)
    surname = " ".join(w for w in words if w.upper() == w and "." not in w and not is_roman_numeral(w))
    if len(surname) > 3 and surname != name and surname in name:
        spellings.append(surname)
    return tuple(spellings)


def official_name(text: str) -> tuple[str, ...]:
    """The conventional long form."""
    return () if "prior to" in text else (re.split(r"[;,]? note\b|;", text)[0].strip(),)


def local_names(text: str) -> tuple[str, ...]:
    """Every local name."""
    found = [n.strip() for n in re.split(r"/| or ", strip_brackets(text))]
    return tuple(n for n in found if n and n.lower() != "none" and len(n.split()) <= 5)


def former_names(text: str) -> tuple[str, ...]:
    """Every former name in a plain list of names."""
    if re.search(r"former|sometimes|\[|Districts?\b", text):
        return ()
    found = [strip_brackets(part) for part in split_items(text)]
    return tuple(
        n for n in found if re.match(r"[A-Z]", n) and len(n.split()) <= 6 and not re.search(r"\d|Autonomous", n)
    )


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


def colors(text: str) -> tuple[str, ...]:
    """The list of colours as one answer."""
    return (text,) if not re.search(r"[;():\d]|note|none", text) and len(text.split()) <= 8 else ()


def holiday(text: str) -> tuple[str, ...]:
    """The name of the one national holiday."""
    match = re.match(rf"^([^,;(]+?)(?: \(([^()]*)\))?, {DATE}(?: \([^()]*\))?$", main_part(text))
    if not match or len(match.group(1).split()) > 8:
        return ()
    other = re.sub(r"^or ", "", match.group(2) or "")
    is_name = bool(re.fullmatch(r"(?:[\w'.]+ )*(?:Day|Holiday)", other))
    return (match.group(1), other) if is_name else (match.group(1),)


def holiday_date(text: str) -> tuple[str, ...]:
    """The day and month of the one national holiday."""
    match = re.match(rf"^[^,;(]+(?: \([^()]*\))?, ({DATE})(?: \([^()]*\))?$", main_part(text))
    if not match:
        return ()
    day, month = match.group(1).split()
    return (match.group(1), f"{month} {day}")


def sites(text: str) -> tuple[str, ...]:
    """Every World Heritage Site listed that has a name of at most eight words."""
    return tuple(p for p in split_items(main_part(text), ";") if re.match(r"[^\W\d_]", p) and len(p.split()) <= 8)
