"""Extractors for the section government: the capital, forms of government, the legislature, independence."""

import re

from nbutils.data.factbook.extractors.general import DATE, main_part


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


def independence(text: str) -> tuple[str, ...]:
    """The date where the source gives one plain date; further dates only if it calls them earlier ones."""
    match = re.match(rf"^({DATE}) (\d{{4}})(?: \(from ([^();]+)\))?(?:; (?:notable earlier|note\b).*)?$", text)
    if not match or not match.group(3):
        return ()
    day, month = match.group(1).split()
    year = match.group(2)
    return (f"{match.group(1)} {year}", f"{month} {day}, {year}", year)


def independence_from(text: str) -> tuple[str, ...]:
    """The state that the country left; nothing for trusteeships, unions and other long stories."""
    match = re.match(rf"^{DATE} \d{{4}} \(from (?:the )?([^();]+)\)(?:; (?:notable earlier|note\b).*)?$", text)
    if not match or not re.fullmatch(r"[A-Z][a-zA-Z]+(?: (?:[A-Z][a-z]+))*", match.group(1)):
        return ()
    return (match.group(1),)
