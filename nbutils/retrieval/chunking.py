"""Documents cut into chunks of at most so many tokens: between tokens or sentences, with or without overlap."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from nbutils import cache
from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.models import Encoder, encoder_fingerprint, quiet_transformers
from nbutils.retrieval.dense import encoder_text
from nbutils.text import ends_sentence, word_spans

BOUNDARIES = TOKEN, SENTENCE = ("token", "sentence")


@dataclass(frozen=True)
class Chunks:
    """The chunks of documents as passages, and where each stands."""

    corpus: dict[str, Passage]  # "Botswana#3", the third chunk of a document -> its title, and a slice of its text
    spans: dict[str, tuple[str, int, int]]  # chunk id -> document id, start and end in characters of its text
    n_tokens: dict[str, int]  # chunk id -> tokens that the encoder reads of it; title and special tokens included


@dataclass(frozen=True)
class _Tokens:
    """The tokens of a text, those of one character (bytes, compatibility forms) taken together: n units."""

    starts: list[int]  # (n + 1,) where each begins, never at white space; then the end of the text
    before: list[int]  # (n + 1,) tokens before each; then all of them


def chunk_documents(
    documents: Mapping[str, Passage],
    encoder: Encoder,
    size: int,
    overlap: int | float = 0,
    boundary: str = TOKEN,
) -> Chunks:
    """Chunks of at most `size` tokens of `encoder`'s tokenizer, as in Azure AI Search's study of chunking (2023).

    `size` counts what the encoder reads of a chunk, as its `max_length` does: the document's title, the prompt and the
    special tokens too. So chunks of at most `max_length` tokens are read whole, and recall at equal tokens counts the
    titles that small chunks repeat. A chunk is an exact slice of its document, without white space at its ends;
    together the chunks hold every other character of it.

    `boundary`: "token" fills each chunk to its size, which may cut a word in two. "sentence" fills it with whole
    sentences (`text.ends_sentence`, and the ends of paragraphs); one that is too long for a chunk is cut by tokens.
    `overlap`: what a chunk repeats of the end of the one before, at most, in tokens of the text, or as a share of
    `size` (a float, 0.25). By sentences these are whole ones, and none where the last one is longer than that.

    Kept by content, as vectors are. Raises InputError for a size below 1 or that a title fills, an overlap that leaves
    nothing new to a chunk, an unknown boundary, no documents, one without text, and a tokenizer that does not know
    where a token stands.
    """
    repeated = _checked_overlap(size, overlap)
    if boundary not in BOUNDARIES:
        raise InputError(f"boundary = {boundary!r}: use {' or '.join(map(repr, BOUNDARIES))}")
    if not documents:
        raise InputError("there are no documents to cut")
    for id_, document in documents.items():
        if not document.text.strip():
            raise InputError(f"document {id_!r} has no text, its chunk would be empty: leave it out")
    if not encoder.tokenizer.is_fast:
        raise InputError(f"{encoder.name}: its tokenizer does not say where tokens stand: take one with tokenizer.json")
    texts = (part for id_, document in documents.items() for part in (id_, document.title, document.text))
    settings = repr((size, repeated, boundary, encoder.title_separator))
    rows = cache.json_list(
        "chunks",
        cache.key(_cut_all, encoder_fingerprint(encoder), settings, *texts),
        lambda: _cut_all(documents, encoder, size, repeated, boundary),
    )
    chunks = Chunks({}, {}, {})
    for chunk, id_, start, end, n_tokens in rows:
        chunks.corpus[chunk] = Passage(documents[id_].title, documents[id_].text[start:end])
        chunks.spans[chunk] = (id_, start, end)
        chunks.n_tokens[chunk] = n_tokens
    return chunks


def chunks_with(chunks: Chunks, document_id: str, start: int, end: int) -> list[str]:
    """Ids of the chunks that hold the whole span [start, end) of the document, in order: the gold ones of an answer.

    None, an empty list, where every chunk that reaches it is cut inside it: such an answer is lost to a search over
    these chunks, and counts as not found. Overlap is there to make these fewer; with it several chunks can be gold.
    Raises InputError for a document that was not cut, and for an empty span.
    """
    if f"{document_id}#1" not in chunks.spans:
        raise InputError(f"document {document_id!r} has no chunks: cut it along with the others")
    if not 0 <= start < end:
        raise InputError(f"span {start} to {end} of {document_id!r} is empty: give the place of an answer")
    found, number = [], 1
    while (chunk := f"{document_id}#{number}") in chunks.spans:
        _, first, last = chunks.spans[chunk]
        if first <= start and end <= last:
            found.append(chunk)
        number += 1
    return found


def _checked_overlap(size: int, overlap: int | float) -> int:
    """The overlap in tokens."""
    if size < 1:
        raise InputError(f"size = {size}: a chunk has at least 1 token")
    if isinstance(overlap, float) and not 0 <= overlap < 1:
        raise InputError(f"overlap = {overlap}: give a share of the size below 1, or tokens as a whole number")
    n_tokens = int(overlap * size) if isinstance(overlap, float) else overlap
    if not 0 <= n_tokens < size:
        raise InputError(f"overlap = {overlap} of chunks of {size} tokens: give at least 0 and fewer than the size")
    return n_tokens


def _cut_all(
    documents: Mapping[str, Passage], encoder: Encoder, size: int, overlap: int, boundary: str
) -> list[tuple[str, str, int, int, int]]:
    """Id, document id, start, end and tokens of each chunk."""
    rows = []
    with quiet_transformers():  # which warns of texts longer than the model reads
        for id_, document in documents.items():
            cuts = _cut(id_, document, encoder, size, overlap, boundary)
            rows += [(f"{id_}#{number}", id_, *cut) for number, cut in enumerate(cuts, 1)]
    return rows


def _cut(
    id_: str, document: Passage, encoder: Encoder, size: int, overlap: int, boundary: str
) -> list[tuple[int, int, int]]:
    """Start, end and tokens of each chunk of one document."""
    text = document.text
    tokens = _tokens(encoder, text)

    @lru_cache(maxsize=4)  # the one that is tried last is the one that is taken
    def span(first: int, last: int) -> tuple[int, int, int]:
        """The slice from one unit to before another, and its tokens: cut in two, a word may have others than whole."""
        start, end = tokens.starts[first], tokens.starts[last]
        end = start + len(text[start:end].rstrip())
        return start, end, _n_tokens(encoder, Passage(document.title, text[start:end]))

    def fits(first: int, last: int) -> bool:
        return span(first, last)[2] <= size

    room = size - _n_tokens(encoder, Passage(document.title, "a")) + 1
    if room < 1 or overlap >= room:
        what = f"an overlap of {overlap} of them is too much" if room > 0 else "take a larger size"
        raise InputError(f"document {id_!r}: its title leaves {max(room, 0)} of {size} tokens to the text: {what}")
    n_units = len(tokens.starts) - 1
    edges = list(range(n_units + 1)) if boundary == TOKEN else _sentence_edges(text, tokens.starts)
    spans, first, reached = [], 0, 0
    while reached < n_units:
        last = _fill(edges, first, tokens.before, room, fits)
        if last == first:  # a sentence, too long for a chunk; a character of several tokens, if any
            units = range(edges[first], edges[first + 1] + 1)
            n_fitting = _fill(units, 0, tokens.before, room, fits)
            if n_fitting == 0:
                raise InputError(f"document {id_!r}: {size} tokens do not hold its title and a character: take more")
            last = first + 1
            edges.insert(last, units[n_fitting])
        if edges[last] <= reached:  # nothing new, as the part that is repeated fills it: repeat less
            first += 1
            continue
        reached = edges[last]
        spans.append(span(edges[first], reached))
        overlapping = (i for i in range(first + 1, last) if tokens.before[reached] - tokens.before[edges[i]] <= overlap)
        first = next(overlapping, last)
    return spans


def _fill(edges, first: int, before: list[int], room: int, fits: Callable[[int, int], bool]) -> int:
    """The last of the `edges` (units) to which a chunk from edge `first` reaches; `first` itself where none fits."""
    # By their numbers in the whole text first: usually that is right, and each try takes the tokenizer's time.
    last = bisect_right(edges, room, key=lambda unit: before[unit] - before[edges[first]]) - 1
    last = min(max(last, first + 1), len(edges) - 1)
    while last > first and not fits(edges[first], edges[last]):
        last -= 1
    return last


def _n_tokens(encoder: Encoder, passage: Passage) -> int:
    return len(encoder.tokenizer(encoder_text(encoder, passage), truncation=False)["input_ids"])


def _tokens(encoder: Encoder, text: str) -> _Tokens:
    offsets = encoder.tokenizer(text, add_special_tokens=False, truncation=False, return_offsets_mapping=True)[
        "offset_mapping"
    ]
    starts, before, reached = [], [], 0
    for number, (start, end) in enumerate(offsets):
        start = end - len(text[start:end].lstrip())  # some tokens begin with a space
        if reached <= start < end:
            starts.append(start)
            before.append(number)
        reached = max(reached, end)
    if not starts:  # signs that the tokenizer leaves out, and nothing else
        starts, before = [0], [0]
    starts[0] = len(text) - len(text.lstrip())
    return _Tokens([*starts, len(text)], [*before, len(offsets)])


def _sentence_edges(text: str, starts: list[int]) -> list[int]:
    """The units with which sentences begin, from 0 on; then their number."""
    edges = {0, len(starts) - 1}
    for (start, end), (following, until) in pairwise(word_spans(text)):
        if "\n\n" in text[end:following] or ends_sentence(text[start:end], text[following:until]):
            edges.add(bisect_left(starts, following))
    return sorted(edges)
