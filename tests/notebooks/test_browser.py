"""Run All in JupyterLab, in a real browser: what a participant of a workshop does first."""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from types import SimpleNamespace

import chromium
import nbformat
import pytest

from nbutils import paths

pytestmark = [pytest.mark.browser, chromium.NEEDED]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A running JupyterLab with its own settings: folder, address and token."""
    folder, settings = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("settings")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    own = {name: str(settings / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(settings / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    log = open(settings / "lab.log", "w+", encoding="utf-8")  # noqa: SIM115  (open for as long as the server writes)
    options = [
        "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={token}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options],
        env={**os.environ, **own, "PYTHONPATH": os.pathsep.join([str(paths.ROOT), os.environ.get("PYTHONPATH", "")])},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    address = SimpleNamespace(folder=folder, url=f"http://127.0.0.1:{port}", token=token)
    try:
        wait_until(lambda: server.poll() is not None or answer(address, "status"), 60, "JupyterLab did not start")
        assert server.poll() is None, (settings / "lab.log").read_text(encoding="utf-8")
        yield address
    finally:
        server.send_signal(signal.SIGTERM)  # it ends its kernels first
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        log.close()


@pytest.fixture
def browser(tmp_path):
    """A headless Chromium with a profile of its own."""
    with chromium.started(tmp_path / "profile") as driver:
        yield driver


def answer(lab, what: str):
    """What the server's API says, or None while it does not answer."""
    request = urllib.request.Request(f"{lab.url}/api/{what}", headers={"Authorization": f"token {lab.token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.load(reply)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def wait_until(condition, seconds: float, failure: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, failure
        time.sleep(0.5)


def click(browser, xpath: str) -> None:
    """Click an element once it can be clicked."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support import expected_conditions
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 30).until(expected_conditions.element_to_be_clickable((By.XPATH, xpath))).click()


def choose(browser, menu: str, command: str) -> None:
    """Choose a command from a menu of JupyterLab's menu bar."""
    click(browser, f"//div[contains(@class, 'lm-MenuBar-itemLabel') and text()='{menu}']")
    click(browser, f"//li[@data-command='{command}']")


def run_all(browser, lab, name: str, seconds: float):
    """The notebook as JupyterLab has saved it after Run All Cells, when every cell has run or one has failed."""
    from selenium.webdriver.common.by import By

    browser.get(f"{lab.url}/lab/tree/{name}?token={lab.token}")
    wait_until(lambda: browser.find_elements(By.CSS_SELECTOR, ".jp-Notebook .jp-Cell"), 60, "the notebook did not open")

    def idle():
        sessions = [session for session in answer(lab, "sessions") or [] if session["path"] == name]
        return sessions and sessions[0]["kernel"]["execution_state"] == "idle"

    def ended():
        if not idle():
            return False
        choose(browser, "File", "docmanager:save")
        time.sleep(1)
        return problems(saved()) == [] or errors(saved())

    def saved():
        return nbformat.read(lab.folder / name, as_version=4)

    wait_until(idle, 60, "the kernel did not start")
    choose(browser, "Run", "runmenu:run-all")
    time.sleep(1)  # an idle kernel may not have heard of it yet
    wait_until(ended, seconds, f"{name} did not end within {seconds:g} s")
    return saved()


def errors(notebook) -> list[str]:
    return [
        f"{output.ename}: {output.evalue}"
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]


def problems(notebook) -> list[str]:
    """Code cells that did not run, and errors."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return errors(notebook) + [f"did not run: {cell.source[:60]}" for cell in code if cell.execution_count is None]


def small(*sources):
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def test_a_small_notebook_runs_and_an_error_is_seen(browser, lab, tmp_path):
    nbformat.write(small("import time\ntime.sleep(3)", "from nbutils import paths", "6 * 7"), lab.folder / "fine.ipynb")
    notebook = run_all(browser, lab, "fine.ipynb", 60)
    assert browser.save_screenshot(tmp_path / "lab.png")
    assert problems(notebook) == []
    assert notebook.cells[2].outputs[0].data["text/plain"] == "42"

    nbformat.write(small("1 / 0", "6 * 7"), lab.folder / "broken.ipynb")
    assert problems(run_all(browser, lab, "broken.ipynb", 60)) == [
        "ZeroDivisionError: division by zero",
        "did not run: 6 * 7",
    ]


def test_the_first_notebook_runs_at_smoke(browser, lab, tmp_path):
    source = paths.NOTEBOOKS / "00_start_here.ipynb"
    notebook = nbformat.read(source, as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    for name, value in (("scale", "smoke"), ("out_dir", str(tmp_path / "figures"))):
        parameters.source, n = re.subn(rf"(?m)^({name}: str = )\S+", rf'\g<1>"{value}"', parameters.source)
        assert n == 1
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = None, []
    nbformat.write(notebook, lab.folder / source.name)
    result = run_all(browser, lab, source.name, 300)
    assert browser.save_screenshot(tmp_path / "lab.png")
    assert problems(result) == []
    assert (tmp_path / "figures" / "smoke" / source.stem / "record.json").is_file()


PANEL = """\
import numpy as np
from nbutils import pilot
best = {0: "RAG", 64: "fine-tuned + RAG"}
right = {n: {s: np.full(100, 0.9 if s == best[n] else 0.4) for s in pilot.SYSTEMS} for n in best}
style = {s: np.full(50, float(s == "fine-tuned")) for s in pilot.SYSTEMS}
evidence = pilot.Evidence(right, dict.fromkeys(pilot.SYSTEMS, 1e12), {"fine-tuned + RAG": 1e15}, 1e12, 1e6, style, {})
pilot.show_panel(evidence, pilot.Requirements(updates_per_month=0), pilot.Prices())
"""


def test_the_panel_moves_the_recommendation(browser, lab, tmp_path):
    """The last cell of notebook 08's decision, on scores made by hand: moved by keys and by a click, as people do."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    nbformat.write(small(PANEL), lab.folder / "panel.ipynb")
    assert problems(run_all(browser, lab, "panel.ipynb", 90)) == []

    def advice() -> str:
        # At once: between finding an element and reading it the panel may have replaced it.
        return browser.execute_script("return document.querySelector('.jp-OutputArea .advice b')?.innerText ?? ''")

    wait_until(lambda: advice() == "fine-tuned + RAG", 30, "the panel did not appear")
    assert browser.save_screenshot(tmp_path / "before.png")
    sliders = browser.find_elements(By.CSS_SELECTOR, ".widget-inline-hbox .noUi-handle")
    assert len(sliders) == 3  # updates, queries, training examples
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", sliders[2])
    sliders[2].send_keys(Keys.ARROW_LEFT)  # from 64 training examples to none
    wait_until(lambda: advice() == "RAG", 30, f"fewer training examples, and still: {advice()}")
    assert browser.save_screenshot(tmp_path / "moved.png")
    sliders[2].send_keys(Keys.ARROW_RIGHT)
    wait_until(lambda: advice() == "fine-tuned + RAG", 30, f"with the training examples again: {advice()}")
    click(browser, "//label[contains(., 'a house style')]//input[@type='checkbox']")
    wait_until(lambda: advice() == "fine-tuned", 30, f"with a house style: {advice()}")
    assert "house style" in browser.execute_script(
        "return document.querySelector('.jp-OutputArea .advice ul').innerText"
    )


def pilot_page_of(shares) -> str:
    """The page of a pilot on 60 questions in which the systems have these shares of right answers."""
    import numpy as np

    from nbutils import data, pilot

    n, rng = 60, np.random.default_rng(0)
    test = [data.question_example(f"q{i}", f"What is the capital of country {i}?", ("Lima",), ("p",)) for i in range(n)]
    answers, scores = {}, {"right": {}, "in its source": {}, "tokens": {}, "unsupported": {}}
    for system, share in zip(pilot.SYSTEMS, shares, strict=True):
        prompts = [[200] * (3 if system in pilot.RAG_SYSTEMS else 1)] * n
        texts = [f"City{i} <i>{system}</i>" for i in range(n)]
        answers[system] = pilot.Answers(texts, np.zeros(n), [[]] * n, prompts, [4] * n, [0] * n)
        for what in ("right", "in its source", "unsupported"):
            scores[what][system] = (rng.random(n) < share).astype(float)
        scores["tokens"][system] = pilot.tokens_per_query(answers[system])
    queries = {name: dict.fromkeys(pilot.SYSTEMS, 1e11) for name in ("small", *pilot.LARGER_MODELS)}
    seconds = dict.fromkeys(pilot.SYSTEMS, 0.5)
    findings = pilot.Findings(
        "a folder", "small", 1_000, 60, "exact_match", test, answers, scores, queries, {"fine-tuned": 1e15}, 1e13, 1e6,
        seconds, ["A note."],
    )  # fmt: skip
    requirements, prices = pilot.Requirements(), pilot.Prices()
    recommendation = pilot.recommend_from_findings(findings, requirements, prices)
    return pilot.render_page(findings, recommendation, requirements, prices)


def test_the_pilot_s_page_opens_at_phone_and_desktop_width(browser, tmp_path):
    (tmp_path / "pilot.html").write_text(pilot_page_of((0.1, 0.2, 0.5, 0.5, 0.9)), encoding="utf-8")
    for name, width in {"phone": 390, "desktop": 1280}.items():
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get((tmp_path / "pilot.html").as_uri())
        assert browser.save_screenshot(tmp_path / f"{name}.png")
        inside, content = browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
        assert inside == width >= content, name
        images = browser.execute_script("return [...document.images].map(i => i.complete && i.naturalWidth > 0)")
        assert images == [True] * 3
        assert "fine-tuned + RAG" in browser.execute_script("return document.querySelector('.advice strong').innerText")
        assert browser.execute_script("return document.querySelectorAll('i').length") == 0
        assert browser.get_log("browser") == []
    # Planted fault: something wider than the page, and an image that is not there, are seen.
    broken = "<img src='nowhere.png'><pre>" + "x" * 4_000 + "</pre>"
    (tmp_path / "broken.html").write_text(broken, encoding="utf-8")
    browser.get((tmp_path / "broken.html").as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth > innerWidth")
    assert browser.get_log("browser") != []
