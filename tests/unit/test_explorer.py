"""The answers explorer: what is written, byte for byte; text that would be markup stays text; bad files are refused."""

import base64
import copy
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from nbutils.errors import InputError
from nbutils.record import explorer
from nbutils.record.answer_files import load_answers, validate_answers

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \" ' & &amp; {{ 7 * 7 }} \u202eabc \u2028\u2029"


def content(text="Lima"):
    """Two questions and two systems; `text` stands in every place that holds a text, names and ids included."""
    gold, other = f"gold {text}", f"other {text}"
    question = {"question": text, "answers": [text], "gold": [gold], "subject": text, "field": text}
    ids = f"q {text}", "12"
    return {
        "questions": dict.fromkeys(ids, question),
        "systems": {
            f"RAG {text}": {id_: {"text": text, "right": 1 / 3, "passages": [other, gold]} for id_ in ids},
            "closed-book": {ids[0]: {"text": "", "right": 0, "passages": []}},
        },
        "passages": {id_: {"title": text, "text": text} for id_ in (gold, other)},
    }


def write(figures, answers, notebook="01_rag", scale="tiny"):
    path = figures / scale / notebook / "answers.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(answers), encoding="utf-8")
    return path


class Page(HTMLParser):
    """A page's scripts, as (attributes, text), and the names of all its elements, as a browser would find them."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.tags, self.in_script = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.in_script = tag == "script"
        if self.in_script:
            self.scripts.append([dict(attributes), ""])

    def handle_endtag(self, tag):
        self.in_script = False

    def handle_data(self, text):
        if self.in_script:
            self.scripts[-1][1] += text

    def notebooks(self):
        return [json.loads(text) for attributes, text in self.scripts if attributes.get("class") == "notebook"]


def test_the_page_holds_all_notebooks_answers_in_their_order(tmp_path):
    write(tmp_path, content("b"), "01_rag")
    write(tmp_path, content("a"), "00_start_here")
    write(tmp_path, content("c"), "02_other", "smoke")
    path = explorer.render_answers("tiny", tmp_path)
    assert path == tmp_path / "tiny" / "answers.html"
    first, second = Page(path.read_text(encoding="utf-8")).notebooks()
    assert (first["name"], second["name"]) == ("00_start_here", "01_rag")
    assert first["systems"] == ["RAG a", "closed-book"] and first["fields"] == ["a"]
    assert [question["id"] for question in first["questions"]] == ["q a", "12"]  # a browser would turn an object's keys
    given = {"text": "a", "right": 1 / 3, "passages": ["other a", "gold a"]}
    assert first["questions"][0]["given"] == [given, {"text": "", "right": 0, "passages": []}]
    assert first["questions"][1]["given"] == [given, None]
    assert first["passages"][0] == {"id": "gold a", "title": "a", "text": "a"}


def test_text_in_every_place_stays_text(tmp_path):
    write(tmp_path, content("Lima"))
    harmless = Page(explorer.answers_page("tiny", tmp_path))
    write(tmp_path, content(EVIL))
    page = explorer.answers_page("tiny", tmp_path)
    evil = Page(page)
    assert evil.tags == harmless.tags and "img" not in evil.tags
    assert evil.scripts[-1] == harmless.scripts[-1]  # the one that runs
    assert [attributes.get("type") for attributes, _ in evil.scripts] == ["application/json"] * 2 + [None]
    data = evil.notebooks()[0]
    expected = content(EVIL)
    assert data["systems"] == list(expected["systems"])
    assert [question["id"] for question in data["questions"]] == list(expected["questions"])
    assert {k: v for k, v in data["questions"][0].items() if k not in ("id", "given")} == expected["questions"]["12"]
    assert data["passages"] == [{"id": id_, **passage} for id_, passage in expected["passages"].items()]
    json_text = "".join(text for attributes, text in evil.scripts if attributes)
    assert not re.search("[<>&\u2028\u2029\u202e]", json_text)


def test_nothing_is_loaded_and_only_the_page_s_script_may_run(tmp_path):
    write(tmp_path, content())
    page = explorer.answers_page("tiny", tmp_path)
    assert re.findall(r"""(?:src|href)=["']?([^"'>]+)""", page) == ["data:,", "index.html"]
    assert "innerHTML" not in page and "http" not in page.replace("http-equiv", "")
    (allowed,) = re.findall(r"script-src 'sha256-([^']+)'", page)
    script = Page(page).scripts[-1][1].encode()
    assert base64.b64decode(allowed) == hashlib.sha256(script).digest()


def test_equal_answers_give_equal_bytes(tmp_path):
    for place in ("one", "two"):
        for notebook in ("01_rag", "00_start_here") if place == "one" else ("00_start_here", "01_rag"):
            write(tmp_path / place, content("é"), notebook)
    one, two = (explorer.render_answers("tiny", tmp_path / place).read_bytes() for place in ("one", "two"))
    assert one == two and str(tmp_path).encode() not in one
    write(tmp_path / "two", content("è"))
    assert explorer.render_answers("tiny", tmp_path / "two").read_bytes() != one


def test_nothing_is_written_without_answers_or_with_a_bad_file(tmp_path):
    assert explorer.render_answers("tiny", tmp_path) is None
    (tmp_path / "tiny" / "01_rag").mkdir(parents=True)
    assert explorer.render_answers("tiny", tmp_path) is None
    write(tmp_path, content(), "00_start_here")
    path = write(tmp_path, content() | {"passages": {}})
    with pytest.raises(InputError, match=r"^tiny/01_rag/answers\.json: answer of 'RAG Lima' .*run the notebook again$"):
        explorer.render_answers("tiny", tmp_path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"^tiny/01_rag/answers\.json is not JSON"):
        explorer.render_answers("tiny", tmp_path)
    path.write_bytes(b'{"questions": "\xff"}')
    with pytest.raises(InputError, match=r"^tiny/01_rag/answers\.json is not JSON"):
        explorer.render_answers("tiny", tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"no tiny/01_rag/answers\.json: run"):
        load_answers(path)
    with pytest.raises(InputError, match="no scale 'huge'"):
        explorer.render_answers("huge", tmp_path)
    assert [file.name for file in (tmp_path / "tiny").iterdir() if file.is_file()] == []


def test_an_earlier_page_survives_a_bad_file(tmp_path):
    path = write(tmp_path, content())
    page = explorer.render_answers("tiny", tmp_path)
    before = page.read_bytes()
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(InputError):
        explorer.render_answers("tiny", tmp_path)
    assert page.read_bytes() == before


def test_subjects_and_fields_gold_passages_and_answers_may_lack():
    answers = content()
    validate_answers(answers)
    bare = {"question": "?", "answers": [], "gold": ["of which no text is kept"]}
    validate_answers(answers | {"questions": {"q Lima": bare, "12": bare | {"field": None}}})
    answers["questions"] = dict.fromkeys(answers["questions"], bare)
    page = explorer._for_page("01_rag", answers)
    assert page["fields"] == [] and page["questions"][0]["subject"] == page["questions"][0]["field"] == ""


def _set(path, value):
    def change(answers):
        *parents, last = path
        for key in parents:
            answers = answers[key]
        answers[last] = value

    return change


ANSWER = ("systems", "RAG Lima", "12")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set(("questions",), []), "the answers are not an object of the objects questions, systems, passages"),
        (_set(("systems",), {}), "no systems"),
        (_set(("questions",), {}), "no questions"),
        (_set(("systems", " "), {}), "systems: ' ' is no name"),
        (_set(("passages", "half \ud800"), {"title": "", "text": ""}), r"passages: 'half \ud800' is no name"),
        (_set(("questions", "12"), "text"), "question '12' is not an object"),
        (_set(("questions", "12"), {"answers": [], "gold": []}), "question '12': \"question\" is not a text"),
        (_set(("questions", "12", "answers"), "Lima"), "question '12': \"answers\" is not a list of texts"),
        (_set(("questions", "12", "gold"), [3]), "question '12': \"gold\" is not a list of texts"),
        (_set(("questions", "12", "field"), 3), "question '12': \"field\" is neither a text nor null"),
        (_set(("passages", "gold Lima", "text"), None), "passage 'gold Lima': \"text\" is not a text"),
        (_set(("systems", "RAG Lima"), []), "system 'RAG Lima' is not an object of answers"),
        (_set(("systems", "RAG Lima", "q3"), {}), "answer of 'RAG Lima' to 'q3': there is no such question"),
        (_set((*ANSWER, "text"), None), "answer of 'RAG Lima' to '12': \"text\" is not a text"),
        (_set((*ANSWER, "right"), 1.5), '"right" is 1.5, not a number from 0 to 1'),
        (_set((*ANSWER, "right"), float("nan")), '"right" is nan'),
        (_set((*ANSWER, "right"), True), '"right" is True'),
        (_set((*ANSWER, "passages"), ["p9"]), "answer of 'RAG Lima' to '12': there is no passage 'p9'"),
        (_set((*ANSWER, "passages"), None), '"passages" is not a list of texts'),
    ],
)
def test_what_is_not_of_the_form_is_refused_by_its_place(change, said):
    answers = copy.deepcopy(content())
    answers["questions"] = {id_: dict(question) for id_, question in answers["questions"].items()}
    validate_answers(answers)
    change(answers)
    with pytest.raises(InputError) as error:
        validate_answers(answers)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_anything_but_an_object_is_refused():
    for answers in (None, [], "text", 3):
        with pytest.raises(InputError, match="not an object"):
            validate_answers(answers)
