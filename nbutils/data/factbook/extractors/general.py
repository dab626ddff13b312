"""Extractors for more than one field, and how the source writes lists, brackets and notes."""

import re
from collections.abc import Sequence

from nbutils.text import sentences

DATE = r"\d{1,2} (?:January|February|March|April|May|June|July|August|September|October|November|December)"
_VAGUE = re.compile(
    r"(and|other|others|some|small|smaller|limited|potential|possible|unexploited|undeveloped|large|extensive|poor|"
    r"modest|minor|including|includes|especially|mainly|mostly|primarily|about|various|none|no|each|which|with|"
    r"also|but|as|less|more|most|all|many|few|several|negl|na|two|three|former|formerly|sometimes|light|heavy|"
    r"related|similar|such|deposits|reserves|associated|miscellaneous|assorted|undetermined|the|in|a|an|to|there|"
    r"significant|sizable|substantial|abundant|vast|rich|low-grade|possibly|likely|major|negligible|locally|offshore|"
    r"outstanding|fertile plains|fishing|minerals|beaches|pleasant|white sandy)\b|.*(potential|foster|other)",
    re.IGNORECASE,
)


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


def pattern(text: str, regex: str, spellings: Sequence[str] = ()) -> tuple[str, ...]:
    """The first group of `regex`, matched at the start; `spellings` are further ways to write it.

    In a spelling, {} stands for the matched text and {n} for its number alone.
    """
    match = re.match(regex, text)
    if not match:
        return ()
    value = match.group(1)
    number = re.search(r"[\d.,]*\d", value)
    others = (s.format(value, n=number.group(0) if number else value) for s in spellings)
    return (value, *others)


def list_items(text: str, max_words: int = 5) -> tuple[str, ...]:
    """Every short item of an enumeration; vague ones ("other", "small deposits of") are left out."""
    found = []
    for part in split_items(main_part(text)):
        item = strip_brackets(part).strip(" .")
        if item and not _VAGUE.match(item) and len(item.split()) <= max_words and not re.search(r"[\d:%()]", item):
            found.append(item)
    return tuple(dict.fromkeys(found))


def first_sentences(text: str, min_words: int, max_words: int) -> tuple[str, ...]:
    """The first whole sentences as one answer, `min_words` to `max_words` words of them."""
    chosen: list[str] = []
    for sentence in sentences(text):
        if len(" ".join([*chosen, sentence]).split()) > max_words:
            break
        chosen.append(sentence)
    answer = " ".join(chosen).rstrip(" ;.")
    return (answer,) if len(answer.split()) >= min_words else ()
