"""Extractors for the section economy: trade partners and the currency."""

import re

from nbutils.data.factbook.extractors.general import main_part

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
