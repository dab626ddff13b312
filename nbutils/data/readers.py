"""The forms that rows of questions with passages have in the wild, told apart by their keys.

SQuAD's articles and paragraphs (MRQA's too), flat rows of a question with one passage or some, DPR, HotpotQA (2Wiki),
MuSiQue, TriviaQA with evidence, KILT with texts.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from nbutils.data.documents import Place
from nbutils.data.forms import (
    Fault,
    Item,
    Text,
    answer_key,
    answers_of,
    asked,
    detected_answers,
    objects,
    pairs,
    title_of,
)
from nbutils.data.records import checked_text, is_blank
from nbutils.errors import InputError

WANTED = "question, answers and passage (or context); or SQuAD's data, paragraphs, context, qas"
_DPR_LISTS = {"positive_ctxs": "marked", "negative_ctxs": "none", "hard_negative_ctxs": "none"}
_TEXT_LISTS = ("context", "contexts", "passages")
_EVIDENCE = {"entity_pages": "wiki_context", "search_results": "search_context"}

Reader = Callable[[Place, dict], Iterator[Item]]


def reader_of(row: dict) -> Reader | None:
    """How rows like this one are read; None where the form is unknown or holds no passages."""
    if isinstance(row.get("paragraphs"), list) and "question" not in row:
        return read_article
    if "qas" in row:
        return lambda at, row: read_paragraph(at, row, row)
    if any(key in row for key in ("positive_ctxs", "ctxs")):
        return _read_dpr
    if isinstance(row.get("paragraphs"), list):
        return _read_musique
    if _is_hotpot(_hotpot_context(row)) and "question" in row:
        return _read_hotpot
    if isinstance(row.get("question"), str) and any(isinstance(row.get(key), dict) for key in _EVIDENCE):
        return _read_trivia
    if isinstance(row.get("output"), list) and any("text" in p for p in _provenance(row)):
        return _read_kilt
    answer = row.get(answer_key(row), "")
    if "question" not in row or isinstance(answer, bool):
        return None
    if any(_are_texts(row.get(key)) for key in _TEXT_LISTS):
        return _read_texts
    text = row.get("passage", row.get("context"))
    return _read_flat if {"passage", "context"} & row.keys() and (text is None or isinstance(text, str)) else None


def read_article(at: Place, row: dict) -> Iterator[Item]:
    """SQuAD: {title, paragraphs: [{context, qas: [{id, question, answers: [{text, answer_start}]}]}]}."""
    try:
        title_of(row)
    except InputError as error:
        yield Fault(at, str(error))
        return
    for place, paragraph in objects(row, at, "paragraphs"):
        yield from [paragraph] if isinstance(paragraph, Fault) else read_paragraph(place, paragraph, row)


def read_paragraph(at: Place, row: dict, article: dict) -> Iterator[Item]:
    """A context with its questions; MRQA's rows are such, with the places of the answers in `detected_answers`."""
    try:
        text = Text(title_of(article).replace("_", " "), checked_text(row, "context", ""))
    except InputError as error:
        yield Fault(at, str(error))
        return
    yield text
    for place, qa in objects(row, at, "qas"):
        if isinstance(qa, Fault):
            yield qa
            continue
        answers, marks = answers_of(qa, answer_key(qa))
        marks += tuple(detected_answers(qa))
        yield asked(place, qa, answers, marks, (text,), answers is None and "plausible_answers" in qa)


def _read_flat(at: Place, row: dict) -> Iterator[Item]:
    """A question and the text that answers it, as `datasets` has SQuAD, or as our own JSONL does."""
    key = "context" if "context" in row and "passage" not in row else "passage"
    answers, marks = answers_of(row, answer_key(row))
    marks += tuple(detected_answers(row))
    try:
        title = title_of(row)
        if isinstance(row.get("answers"), dict):  # SQuAD, which writes titles as in addresses
            title = title.replace("_", " ")
        texts = (Text(title, checked_text(row, key, "")),)
    except InputError as error:
        yield Fault(at, str(error))
        return
    yield asked(at, row, answers, marks, texts)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def _read_texts(at: Place, row: dict) -> Iterator[Item]:
    """{question, answers, contexts: [text, ...]}: gold are those that hold an answer."""
    found = next((row[key] for key in _TEXT_LISTS if _are_texts(row.get(key))), [])
    texts = tuple(Text("", text, "found") for text in found if not is_blank(text))
    yield asked(at, row, *answers_of(row, answer_key(row)), texts)


def _read_dpr(at: Place, row: dict) -> Iterator[Item]:
    """{question, answers, positive_ctxs, negative_ctxs, hard_negative_ctxs} or {question, answers, ctxs}."""
    texts = []
    for key, gold in {**_DPR_LISTS, "ctxs": ""}.items():
        for place, ctx in objects(row, at, key) if key in row else ():
            if isinstance(ctx, Fault):
                yield ctx
                continue
            has_answer = ctx.get("has_answer")
            found = "marked" if has_answer is True else "none" if has_answer is False else "found"
            try:
                texts.append(Text(title_of(ctx), checked_text(ctx, "text", ""), gold or found))
            except InputError as error:
                yield Fault(place, str(error))
    yield asked(at, row, *answers_of(row, answer_key(row)), tuple(texts))


def _read_hotpot(at: Place, row: dict) -> Iterator[Item]:
    """{question, answer, supporting_facts: [[title, number]], context: [[title, [sentence, ...]]]}, or as columns."""
    try:
        named = _parsed(row.get("supporting_facts") or _metadata(row).get("supporting_facts"))
        facts, texts = {*pairs(named, ("title", "sent_id"))}, []
        titles = {title for title, _ in facts}
        for title, sentences in pairs(_hotpot_context(row), ("title", "sentences", "content")):
            if not isinstance(title, str) or not all(isinstance(sentence, str) for sentence in sentences):
                raise InputError(": context must be pairs of a title and a list of sentences")
            joined = "" if all(s[:1].isspace() for s in sentences[1:]) else " "
            spans, text = [], ""
            for number, sentence in enumerate(sentences):
                text += joined * (number > 0)
                if (title, number) in facts:
                    spans.append((len(text), len(text) + len(sentence)))
                text += sentence
            if text.strip():
                # Some facts name a sentence that the text has not.
                texts.append(Text(title, text, tuple(spans) or ("marked" if title in titles else "none")))
    except (InputError, TypeError, ValueError) as error:
        message = str(error) if isinstance(error, InputError) else ": context or supporting_facts is not HotpotQA's"
        yield Fault(at, message)
        return
    yield asked(at, row, *answers_of(row, answer_key(row)), tuple(texts))


def _read_musique(at: Place, row: dict) -> Iterator[Item]:
    """{question, answer, answer_aliases, answerable, paragraphs: [{title, paragraph_text, is_supporting}]}."""
    texts = []
    for place, paragraph in objects(row, at, "paragraphs"):
        if isinstance(paragraph, Fault):
            yield paragraph
            continue
        try:
            text = checked_text(paragraph, "paragraph_text", "")
            texts.append(Text(title_of(paragraph), text, "marked" if paragraph.get("is_supporting") else "none"))
        except InputError as error:
            yield Fault(place, str(error))
    answers, marks = answers_of(row, answer_key(row))
    aliases = row.get("answer_aliases")
    if isinstance(answers, list) and isinstance(aliases, list):
        answers, marks = [*answers, *aliases], ()
    yield asked(at, row, answers, marks, tuple(texts))


def _read_trivia(at: Place, row: dict) -> Iterator[Item]:
    """{question, question_id, answer: {value, aliases}, entity_pages: {title, wiki_context}, search_results: {...}}."""
    texts = []
    try:
        for key, content in _EVIDENCE.items():
            for title, text in pairs(row.get(key), ("title", content)):
                if isinstance(text, str) and text.strip():
                    texts.append(Text(title_of({"title": title}), text, "found"))
    except (InputError, TypeError, ValueError) as error:
        yield Fault(at, str(error) if isinstance(error, InputError) else ": the evidence is no titles with texts")
        return
    yield asked(at, row, *answers_of(row, "answer"), tuple(texts))


def _read_kilt(at: Place, row: dict) -> Iterator[Item]:
    """{id, input, output: [{answer, provenance: [{title, text}]}]}, where texts were added to the provenance."""
    texts = [Text(str(p.get("title") or ""), p["text"]) for p in _provenance(row) if isinstance(p.get("text"), str)]
    outputs = row.get("output") if isinstance(row.get("output"), list) else []
    answers = [output["answer"] for output in outputs if isinstance(output, dict) and output.get("answer")]
    yield asked(at, {**row, "question": row.get("input")}, answers, (), tuple(dict.fromkeys(texts)))


def _metadata(row: dict) -> dict:
    metadata = row.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _hotpot_context(row: dict) -> Any:
    """The value that holds titles and sentences; FlashRAG keeps it in `metadata`."""
    return _parsed(row["context"] if "context" in row else _metadata(row).get("context"))


def _parsed(value: Any) -> Any:
    """The JSON that a string holds, as 2Wiki's columns do in parquet."""
    if not isinstance(value, str) or not value.startswith(("[[", '{"')):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _is_hotpot(context: Any) -> bool:
    if isinstance(context, dict):
        return "title" in context and bool({"sentences", "content"} & context.keys())
    first = context[0] if isinstance(context, list) and context else None
    return isinstance(first, (list, tuple)) and len(first) == 2 and isinstance(first[1], list)


def _provenance(row: dict) -> list[dict]:
    outputs = row.get("output") if isinstance(row.get("output"), list) else []
    found = [output.get("provenance") for output in outputs if isinstance(output, dict)]
    return [p for provenance in found if isinstance(provenance, list) for p in provenance if isinstance(p, dict)]
