"""The answers explorer: one static page of every test question with what each system answered and read.

All text comes from data sets and models, so none of it is trusted: it lies in the page as escaped JSON, the page's
script puts it in as text, and the page's policy lets no other script run and nothing be loaded.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbutils import files, paths
from nbutils.errors import InputError
from nbutils.presets import SCALES
from nbutils.record import answer_files, pages

PAGE = "answers.html"


def render_answers(scale: str = "tiny", folder: str | Path | None = None) -> Path | None:
    """The page written, `<folder or figures/>/<scale>/answers.html`, or None when no notebook has answers there.

    Reads `<folder or figures/>/<scale>/*/answers.json`. Equal files give equal bytes. Raises InputError for an unknown
    scale and for a file that is not of the form of `answer_files.validate_answers`; nothing is written then.
    """
    page = answers_page(scale, folder)
    if page is None:
        return None
    target = Path(folder or paths.FIGURES) / scale / PAGE
    files.write_text(target, page)
    return target


def answers_page(scale: str = "tiny", folder: str | Path | None = None) -> str | None:
    """The text that `render_answers` would write, or None when no notebook has answers."""
    if scale not in SCALES:
        raise InputError(f"no scale {scale!r}: use one of {', '.join(SCALES)}")
    found = sorted((Path(folder or paths.FIGURES) / scale).glob(f"*/{answer_files.FILE}"))
    notebooks = [_for_page(path.parent.name, answer_files.load_answers(path)) for path in found]
    if not notebooks:
        return None
    script = pages.template_text("answers.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return pages.fill_template("answers.html", scale=scale, notebooks=notebooks, script=script, script_sha256=digest)


def _for_page(name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """One notebook's answers as the page's script reads them.

    Lists in place of objects: a browser would sort keys such as "12" before all others.
    """
    questions, systems = content["questions"], content["systems"]
    return {
        "name": name,
        "systems": list(systems),
        "fields": sorted({question["field"] for question in questions.values() if question.get("field")}),
        "questions": [
            {
                "id": id_,
                "question": question["question"],
                "answers": question["answers"],
                "gold": question["gold"],
                "subject": question.get("subject") or "",
                "field": question.get("field") or "",
                "given": [_given(answers.get(id_)) for answers in systems.values()],
            }
            for id_, question in questions.items()
        ],
        "passages": [
            {"id": id_, "title": passage["title"], "text": passage["text"]}
            for id_, passage in content["passages"].items()
        ],
    }


def _given(answer: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A system's answer to a question; None where it gave none."""
    return answer and {key: answer[key] for key in ("text", "right", "passages")}
