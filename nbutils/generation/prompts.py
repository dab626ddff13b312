"""Prompts, from the texts in `nbutils/prompts/`."""

import re
from collections.abc import Sequence

import numpy as np

from nbutils.data import Example, Passage
from nbutils.errors import InputError
from nbutils.paths import PROMPTS


def build_prompt(question: str | None, passage: Passage | None = None, examples: Sequence[Example] = ()) -> str:
    """The prompt for a question: passage first, then solved examples, then the question (REPLUG's order, RA-DIT's too).

    The texts are `nbutils/prompts/{background,example,question}.txt`. Examples show their first answer. Without a
    question (None) the prompt asks for a statement, by `prompts/statement.txt`.
    """
    background = "" if passage is None else _background(passage)
    shots = [_filled_template("example", {"question": shot.question, "answer": shot.answers[0]}) for shot in examples]
    ending = (
        _filled_template("statement", {}) if question is None else _filled_template("question", {"question": question})
    )
    return background + "".join(shots) + ending


def split_examples(prompt: str) -> tuple[list[tuple[str, str]], str]:
    """The solved examples in a prompt of `build_prompt`, (what is asked, answer), and the prompt without them.

    Examples of one line each, those that stand together before the question. Whatever else a prompt has is left.
    """
    asked, _, end = _template("example").partition("{answer}")
    asked, end = (re.escape(text).replace(re.escape("{question}"), "[^\n]+") for text in (asked, end))
    example = f"(?m:^)({asked})([^\n]+){end}"
    blocks = list(re.finditer(f"(?:{example})+", prompt))
    if not blocks:
        return [], prompt
    block = blocks[-1]
    solved = [(found[1].rstrip(), found[2]) for found in re.finditer(example, block[0])]
    return solved, prompt[: block.start()] + prompt[block.end() :]


def _background(passage: Passage) -> str:
    """The passage by its template; without a title, or without a text, nothing stands between the two."""
    template = _template("background")
    if not (passage.title and passage.text):
        template = template.replace("{title}. {text}", "{title}{text}")
    return template.format_map({"title": passage.title, "text": passage.text})


def _filled_template(name: str, fields: dict[str, str]) -> str:
    return _template(name).format_map(fields)


def _template(name: str) -> str:
    return (PROMPTS / f"{name}.txt").read_text(encoding="utf-8")


def passage_prompts(
    examples: Sequence[Example], ids: np.ndarray | Sequence[Sequence[str]], corpus: dict[str, Passage]
) -> list[list[str]]:
    """For each example one prompt per retrieved passage: `ids` (B, K), or lists that may differ in length.

    An id "", for which a search found nothing, has a prompt without a passage.
    """
    return [
        [build_prompt(example.question, corpus[id_] if id_ else None) for id_ in row]
        for example, row in zip(examples, ids.tolist() if isinstance(ids, np.ndarray) else ids, strict=True)
    ]


def instruction_prompt(question: str, wording: str, passage: Passage | None = None) -> str:
    """The prompt of `generation.build_prompt` with a `wording` in place of its "Question: ... Answer:"."""
    background = build_prompt(question, passage).removesuffix(build_prompt(question))
    return background + wording.replace("{question}", question)


def instruction_templates(task: str) -> list[str]:
    """The ways in which a task is put, from `nbutils/prompts/instructions_<task>.txt`; a line "---" divides them."""
    path = PROMPTS / f"instructions_{task}.txt"
    if not path.is_file():
        raise InputError(f"task {task!r} has no wordings: write {path.name}")
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n---\n")
