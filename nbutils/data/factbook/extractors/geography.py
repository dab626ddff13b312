"""Extractors for the section geography: elevations, borders, rivers."""

import re

from nbutils.data.factbook.extractors.general import main_part, split_items, strip_brackets


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


def border_countries(text: str) -> tuple[str, ...]:
    """Every country named with the length of its border."""
    found = [strip_brackets(part) for part in re.findall(r"([A-Z][^;,\d]*?) [\d.,]+ km", text)]
    return tuple(dict.fromkeys(n for n in found if n and "Base" not in n and len(n.split()) <= 6))


def rivers(text: str) -> tuple[str, ...]:
    """Every major river, each with its name in brackets as another spelling."""
    found = []
    for part in split_items(main_part(text), ";"):
        match = re.match(r"^([^(]+?)(?: \(([A-Z][^()]*)\))?(?: river| \(shared| - )", part + " - ")
        if match and len(match.group(1).split()) <= 4 and re.match(r"[A-Z]", match.group(1)):
            found += [match.group(1), *filter(None, [match.group(2)])]
    return tuple(found)
