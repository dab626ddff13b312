"""The answers explorer in a real browser, at the width of a phone and of a desktop."""

import json
import time

import chromium
import pytest

from nbutils.record import explorer

pytestmark = [pytest.mark.browser, chromium.NEEDED]

N = 200
WIDTHS = (360, 1280)
ATTACK = "</script><script>window.hit = 1</script><img src=x onerror='window.hit = 2'>"
ATTACKED = "q3"
BACKWARDS = "\u202eright \u2713"  # a mark that turns the writing's direction, and is never ended
FIELDS = ("capital", "area", "coastline", "languages")


def right_of(i):
    """What each system scores on question i. By i modulo 10: all are right at 0 and all wrong at 3, 7 and 9."""
    even, tenth = float(i % 2 == 0), float(i % 10 == 0)
    tuned = {0: 1.0, 1: 1 / 3}.get(i % 5, 0.0)
    return {"closed-book": tenth, "fine-tuned": tuned, "RAG": even, "RAG, one passage": even, "fine-tuned + RAG": tenth}


def answers():
    texts = {3: ATTACK, 4: BACKWARDS, 5: "long" * 300, 6: ""}
    questions, systems = {}, {name: {} for name in right_of(0)}
    for i in range(N):
        name = "Côte d'Ivoire" if i == 42 else f"country {i}"
        questions[f"q{i}"] = {
            "question": f"What is the {FIELDS[i % 4]} of {name}?", "answers": [f"City{i}", f"Town{i}"],
            "gold": [f"p{i}"], "subject": name, "field": FIELDS[i % 4],
        }  # fmt: skip
        for system, right in right_of(i).items():
            text = texts.get(i, f"City{i}") if right == 0 or i in texts else f"City{i}"
            read = [f"p{i}", f"p{(i + 1) % N}"] if "RAG" in system else []
            systems[system][f"q{i}"] = {"text": text, "right": right, "passages": read}
    passages = {
        f"p{i}": {"title": f"Country {i}", "text": f"Its capital is City{i}. " + "word " * 80} for i in range(N)
    }
    return {"questions": questions, "systems": systems, "passages": passages}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Path of a page of two notebooks."""
    figures, content = tmp_path_factory.mktemp("figures"), answers()
    first = dict(list(content["questions"].items())[:1])
    few = {"questions": first, "systems": {"BM25": {}}, "passages": {}}
    for notebook, of_notebook in {"00_start_here": few, "01_rag": content}.items():
        (figures / "tiny" / notebook).mkdir(parents=True)
        (figures / "tiny" / notebook / "answers.json").write_text(json.dumps(of_notebook), encoding="utf-8")
    return explorer.render_answers("tiny", figures)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with chromium.started(tmp_path_factory.mktemp("chromium") / "profile") as driver:
        yield driver


@pytest.fixture(params=WIDTHS)
def browser(driver, request):
    """A browser as wide as a phone, then as a desktop."""
    metrics = {"width": request.param, "height": 900, "deviceScaleFactor": 1, "mobile": request.param < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.get_log("browser")  # what an earlier test left
    return driver


def visit(browser, path, address=""):
    browser.get("about:blank")  # or an address that differs only after "#" would load nothing
    browser.get(path.as_uri() + address)


def js(browser, expression, *arguments):
    return browser.execute_script(f"return {expression}", *arguments)


def count(browser):
    return js(browser, "document.getElementById('counter').textContent")


def choose(browser, id_, value):
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", id_)).select_by_visible_text(value)


def too_wide(browser):
    return js(browser, "document.documentElement.scrollWidth > document.documentElement.clientWidth")


def test_the_page_fits_its_width_with_everything_open(browser, page):
    visit(browser, page, "#01_rag")
    assert count(browser) == "200 of 200 questions"
    assert not too_wide(browser)
    browser.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true })")
    time.sleep(0.5)  # their texts are put in after they are opened
    assert js(browser, "document.querySelectorAll('.passage').length") == 50 * (3 * 2 + 1)
    assert not too_wide(browser)
    assert js(browser, "[...document.getElementById('filters').elements].map(one => one.labels.length)") == [1] * 6
    assert browser.get_log("browser") == []
    # Planted fault: a text that is not broken into lines is seen.
    browser.execute_script("document.body.style.overflowWrap = 'normal'")
    assert too_wide(browser)


def test_filters_find_the_right_questions_and_stay_in_the_address(browser, page):
    visit(browser, page, "#01_rag")
    steps = [
        ("result", "right", 20, "?result=right"),  # of every system
        ("result", "wrong", 60, "?result=wrong"),
        ("system", "RAG", 100, "?system=RAG&result=wrong"),
        ("result", "right", 100, "?system=RAG&result=right"),
        ("field", "capital", 50, "?system=RAG&result=right&field=capital"),
        ("field", "area", 0, "?system=RAG&result=right&field=area"),
        ("field", "every field", 100, "?system=RAG&result=right"),
        ("system", "fine-tuned", 40, "?system=fine-tuned&result=right"),
        ("result", "partly right", 40, "?system=fine-tuned&result=partly"),
    ]
    for control, value, expected, address in steps:
        choose(browser, control, value)
        assert count(browser) == f"{expected} of 200 questions", (control, value)
        assert js(browser, "location.hash") == f"#01_rag{address}"
    visit(browser, page, "#01_rag?system=fine-tuned&result=partly")
    assert count(browser) == "40 of 200 questions"
    assert js(browser, "document.getElementById('result').selectedOptions[0].text") == "partly right"
    browser.find_element("id", "clear").click()
    assert count(browser) == "200 of 200 questions" and js(browser, "location.hash") == "#01_rag"
    browser.find_element("id", "differ").click()
    assert count(browser) == "120 of 200 questions" and js(browser, "location.hash") == "#01_rag?differ=1"
    browser.find_element("id", "differ").click()
    for words, expected in {"country 17": 12, "COTE d'ivoire": 1, "town9 capital": 2, "Town8 capital": 4}.items():
        field = browser.find_element("id", "search")
        field.clear()
        field.send_keys(words)
        time.sleep(0.4)
        assert count(browser) == f"{expected} of 200 questions", words
    choose(browser, "notebook", "00_start_here")
    assert count(browser) == "0 of 1 question"
    assert browser.get_log("browser") == []


def test_fifty_at_first_and_more_on_demand_by_keyboard(browser, page):
    from selenium.webdriver.common.keys import Keys

    visit(browser, page, "#01_rag")
    cards = "document.querySelectorAll('article').length"
    assert js(browser, cards) == 50
    more = browser.find_element("id", "more")
    assert more.text == "Show 50 more"
    more.send_keys(Keys.ENTER)
    assert js(browser, cards) == 100
    assert "country 50?" in js(browser, "document.activeElement.textContent")  # the first of the new ones
    summary = browser.find_element("css selector", "#cards .systems summary")
    assert summary.text == "2 passages, 1 gold"
    summary.send_keys(Keys.ENTER)
    time.sleep(0.3)
    passages = browser.find_elements("css selector", "#cards .systems details[open] li")
    assert [one.text.splitlines()[0] for one in passages] == ["Country 0 gold", "Country 1"]
    summary.send_keys(Keys.ENTER)
    summary.send_keys(Keys.ENTER)
    time.sleep(0.3)
    assert len(browser.find_elements("css selector", "#cards .systems details[open] li")) == 2
    for _ in range(3):
        browser.execute_script("document.getElementById('more').click()")
    assert js(browser, cards) == 200 and not more.is_displayed()


def test_marks_are_words_beside_their_answers(browser, page):
    visit(browser, page, "#01_rag/q6")
    rows = js(browser, "[...document.activeElement.querySelectorAll('.systems > li')].map(one => one.innerText)")
    said = [" ".join(row.split()) for row in rows]
    assert all("(empty answer)" in row for row in said)
    assert ["score 0.33" in row for row in said] == [False, True, False, False, False]
    assert ["\u2713 right" in row for row in said] == [False, False, True, True, False]
    assert ["\u2717 wrong" in row for row in said] == [True, False, False, False, True]
    visit(browser, page, "#00_start_here")
    assert "no answer" in js(browser, "document.querySelector('article').innerText")


def opened(browser):
    """The id of the question that has the focus and whether its top is in view."""
    return js(
        browser,
        "(one => one.tagName === 'ARTICLE' ? [one.querySelector('a').textContent, one.getBoundingClientRect().top]"
        " : null)(document.activeElement)",
    )


def test_a_link_opens_its_question(browser, page):
    for address, expected in {
        "#01_rag/q150": "200 of 200 questions",  # beyond the first fifty
        "#01_rag/q150?system=RAG&result=right": "100 of 200 questions",
        "#01_rag/q151?system=RAG&result=right": "200 of 200 questions",  # the filters would hide it
    }.items():
        visit(browser, page, address)
        (id_, top), n = opened(browser), count(browser)
        assert id_ == address[len("#01_rag/") :].partition("?")[0] and 0 <= top < 100 and n == expected, address
    # A card's link, which another question's page follows without being loaded again.
    visit(browser, page, "#01_rag?field=area")
    browser.execute_script("document.querySelectorAll('article a')[20].click()")
    time.sleep(0.3)
    assert js(browser, "location.hash") == "#01_rag/q81?field=area" and opened(browser)[0] == "q81"
    assert count(browser) == "50 of 200 questions"
    visit(browser, page, "#01_rag/q999")
    assert opened(browser) is None
    assert js(browser, "document.getElementById('status').innerText").startswith("No question q999 in this notebook.")
    visit(browser, page, "#<img src=x>/%zz?differ")
    assert count(browser) == "0 of 1 question"  # the first notebook, of which no system answered
    assert js(browser, "document.images.length") == 0
    assert browser.get_log("browser") == []


def hit(browser, path):
    """What a planted script left behind, and how many images there are."""
    visit(browser, path, f"#01_rag/{ATTACKED}")
    time.sleep(0.3)
    return js(browser, "[window.hit ?? null, document.images.length]")


def test_a_planted_script_does_not_run(browser, page, tmp_path):
    assert hit(browser, page) == [None, 0]
    texts = js(browser, "[...document.activeElement.querySelectorAll('.text')].map(one => one.textContent)")
    assert texts == [ATTACK] * 5
    # Without the page's policy the escaping is enough, without the escaping the policy; without both it runs.
    text = page.read_text(encoding="utf-8")
    policy = text[text.index("<meta http-equiv") : text.index('<meta name="viewport"')]
    unescaped = text.replace("\\u003c", "<").replace("\\u003e", ">").replace("\\u0027", "'")
    (tmp_path / "escaped.html").write_text(text.replace(policy, ""), encoding="utf-8")
    assert hit(browser, tmp_path / "escaped.html") == [None, 0]
    (tmp_path / "policy.html").write_text(unescaped, encoding="utf-8")
    assert hit(browser, tmp_path / "policy.html")[0] is None
    (tmp_path / "neither.html").write_text(unescaped.replace(policy, ""), encoding="utf-8")
    assert hit(browser, tmp_path / "neither.html")[0] in (1, 2)


def test_a_text_that_turns_the_direction_of_writing_turns_nothing_else(browser, page):
    visit(browser, page, "#01_rag/q4")
    isolated = (
        "[...document.querySelectorAll('#cards *')].filter(one => [...one.childNodes].some("
        "node => node.nodeType === 3 && node.data.includes('\\u202e'))).map(one => getComputedStyle(one).unicodeBidi)"
    )
    found = js(browser, isolated)
    assert len(found) == 5 and set(found) <= {"isolate", "plaintext", "isolate-override"}


def test_dark_mode_is_dark(driver, page):
    for scheme, dark in {"light": False, "dark": True}.items():
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        visit(driver, page)
        for element in ("body", "select", "article"):
            color = js(driver, f"getComputedStyle(document.querySelector('{element}')).backgroundColor")
            assert (int(color.removeprefix("rgb(").split(",")[0]) < 128) == dark, (scheme, element, color)
