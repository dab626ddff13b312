"""Where a sentence ends."""

import re

_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"])(?:[A-Z]|ca|c|St|Ste|Mt|Dr|Mr|Mrs|Jr|Sr|Gen|Col|Lt|No|vs|etc|est|approx|Ft|e\.g|i\.e|[A-Z]\.[A-Z]|"
    r"B\.C|A\.D|U\.S|D\.C)\.$"
)

# Of `ends_sentence`: a stop (Latin, Chinese, Arabic, Urdu, Hindi, Khmer, Burmese, Ethiopic, Armenian), then closing
# quotation marks and brackets; "U.S.", "J.", "Dr."
_CLOSED = re.compile(
    r"[.!?\u2026\u3002\uff01\uff1f\u061f\u06d4\u0964\u0965\u17d4\u104b\u1362\u0589][\"'\u201d\u2019)\]]*$"
)
_TITLE = re.compile(r"^\W*((\w\.)+|(Mr|Mrs|Ms|Dr|Prof|Gen|Col|Lt|St|Sr|Jr|No|vs)\.)$")


def sentences(text: str) -> list[str]:
    """The text cut after each full stop, "!", "?" and semicolon that white space follows.

    Not after abbreviations and initials, not before a small letter (a full stop only), and not inside round brackets.
    """
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


def sentences_before_capitals(text: str) -> list[str]:
    """The text cut at each space between a full stop, "!" or "?" and a capital from A to Z, abbreviations or not."""
    return re.split(r"(?<=[.!?]) (?=[A-Z])", text)


def ends_sentence(word: str, following: str) -> bool:
    """True if a sentence of running text, Chinese and Japanese too, ends with the word and `following` begins another.

    Closing quotation marks and brackets may stand after the stop. Titles and initials ("Dr.", "U.S.") end none, nor
    does a word before a small letter.
    """
    if word[-1:].isalnum():  # as most words do: the quickest answer
        return False
    return bool(_CLOSED.search(word)) and not _TITLE.search(word) and not following[0].islower()
