"""Extractors for the section people and society: groups, languages, cities."""

import re

from nbutils.data.factbook.extractors.general import main_part, split_items, strip_brackets


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


def majority_group(text: str) -> tuple[str, ...]:
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
