"""One notebook more needs three files: the notebook, its presets and its claims. Shown in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from nbutils import paths

SLUG = "98_dummy"
PRESETS = '''\
"""98_dummy: a notebook of the tests."""

from dataclasses import dataclass, replace

from nbutils.presets.sources import EMBEDDED, PARAMETERS, Sources

__all__ = ["PARAMETERS", "PRESETS"]


@dataclass(frozen=True)
class Dummy:
    """The sizes of 98_dummy."""

    sources: Sources
    n_questions: int  # test questions


_TINY = Dummy(sources=replace(EMBEDDED, n_countries=12), n_questions=60)
PRESETS = {"smoke": replace(_TINY, n_questions=8), "tiny": _TINY, "gpu": _TINY, "paper": _TINY}
'''
CLAIMS = """\
paper:
  "recall/BM25/first": {value: 50.0, tag: M, where: "nowhere"}

98.finds_its_own_passage:
  paper: "this project"
  where: "-"
  sentence: "BM25 ranks a gold passage of a question first more often than that of another question."
  paper_values: "{recall/BM25/first} [M]"
  quantity: {difference: ["recall_at_1/BM25", "recall_at_1/BM25, shuffled qrels"]}
  rule: {ordering: "> 0"}
  "null": {difference: ["recall_at_1/BM25, shuffled qrels", "recall_at_1/BM25"]}
  min_scale: tiny
"""
CELLS = [
    ("title", "# 98 · A dummy\n\nBM25 finds passages."),
    (
        "parameters",
        'scale: str = "tiny"  # preset: smoke | tiny | gpu | paper\n'
        "seed: int = 0  # draws the questions\n"
        "dataset: str = None  # factbook, a folder or a hub id (None: the preset's)\n"
        "n_questions: int = None  # test questions (None: the preset's) [2..]\n"
        "out_dir: str = None  # where the record and the figures go (None: figures/)",
    ),
    (
        "setup",
        """\
import matplotlib.pyplot as plt
import numpy as np

from nbutils import data, plotting, retrieval
from nbutils.presets import load_preset
from nbutils.record import Record

chosen = {"dataset": dataset, "n_questions": n_questions}
preset = load_preset("98_dummy", scale, chosen)
given = {"scale": scale, "seed": seed, **chosen}
record = Record("98_dummy", scale, seed, given, preset, out_dir)
plotting.set_style()""",
    ),
    (
        "data",
        """\
ds = data.load_dataset(preset.sources.dataset, preset.sources.n_countries)
record.dataset(ds)
questions = data.select(ds.examples, "fact", "test", preset.n_questions, seed)
print(f"{len(ds.corpus):,} passages, {len(questions)} questions")""",
    ),
    ("formula", r"$\\mathrm{recall}@1 = [r_1 \\in G_q]$"),
    (
        "method",
        '''\
def recall_at_1(retrieved, gold):
    """Whether the first passage is a gold one: (B, K) ids -> (B,)."""
    return np.array([ids[0] in own for ids, own in zip(retrieved, gold, strict=True)], dtype=float)''',
    ),
    (
        "run",
        """\
bm25 = retrieval.build_bm25(ds.corpus)
found, _ = retrieval.search(bm25, [question.query for question in questions], 1)
ids = [question.id for question in questions]
gold = [question.gold_passages for question in questions]
half = len(gold) // 2
other = gold[half:] + gold[:half]
record.scores("recall_at_1/BM25", ids, recall_at_1(found, gold))
record.scores("recall_at_1/BM25, shuffled qrels", ids, recall_at_1(found, other))""",
    ),
    (
        "figure",
        """\
fig, ax = plt.subplots(figsize=plotting.SINGLE)
names = {"gold passage": "BM25", "random passage": "BM25, shuffled qrels"}
bars = {"BM25": {label: f"recall_at_1/{name}" for label, name in names.items()}}
plotting.plot_bars(ax, record, bars, "retriever", "recall@1")
caption = f"Gold passages that are ranked first; n = {len(ids)}. Whiskers: 95 % bootstrap."
plotting.save_figure(fig, "recall", record, caption);""",
    ),
    ("caption", "A question's own gold passage and another question's."),
    ("claim", 'print(record.claim("98.finds_its_own_passage"))\nrecord_path = record.save()'),
    ("try-it", 'print(retrieval.search(bm25, ["the capital of Peru"], 1)[0])'),
    ("takeaways", "- BM25 finds passages.\n- The null finds none.\n- Twelve countries are few."),
]
MARKDOWN = ("title", "formula", "caption", "takeaways")


def dummy():
    v4 = nbformat.v4
    cells = []
    for tag, source in CELLS:
        new = v4.new_markdown_cell if tag in MARKDOWN else v4.new_code_cell
        cells.append(new(source, metadata={"tags": [tag]}, id=tag))
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def ignored(folder, names):
    return {name for name in names if name in ("__pycache__", "cache", ".git", ".venv") or name.startswith(".pytest")}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Function (*command) -> what it prints in a copy of the repository that has one notebook more."""
    root = tmp_path_factory.mktemp("copy")
    for name in ("nbutils", "notebooks", "tests", "figures", "data"):
        shutil.copytree(paths.ROOT / name, root / name, ignore=ignored)
    for name in ("README.md", "pyproject.toml", "environment.yml", "LICENSE", "Makefile", ".gitignore"):
        shutil.copy(paths.ROOT / name, root)
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    (root / "data" / "cache").symlink_to(paths.CACHE)
    (root / "constraints.txt").write_bytes((paths.ROOT / "constraints.txt").read_bytes())

    def run(*command):
        environment = {**os.environ, "PYTHONPATH": str(root)}
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    run("git", "init", "-q")
    run("git", "add", "-A")
    nbformat.write(dummy(), root / "notebooks" / f"{SLUG}.ipynb")
    (root / "nbutils" / "presets" / "dummy.py").write_text(PRESETS, encoding="utf-8")
    (root / "notebooks" / "claims" / "98.yaml").write_text(CLAIMS, encoding="utf-8")
    added = run("git", "ls-files", "--others", "--exclude-standard").split()
    assert sorted(added) == ["nbutils/presets/dummy.py", "notebooks/98_dummy.ipynb", "notebooks/claims/98.yaml"]
    assert run("git", "diff", "--name-only") == ""
    return run


@pytest.mark.notebook
def test_one_notebook_more_needs_three_files(copy):
    python = (sys.executable, "-m")
    # At tiny into the notebook itself and figures/, where it is committed; the runner writes README, ledger and page.
    assert "98_dummy: done" in copy(*python, "nbutils", "run", "98")
    listed = copy(*python, "nbutils", "list")
    assert "98_dummy  98 · A dummy\n    scale: str = 'tiny'" in listed and "verdicts at tiny: 1 holds" in listed
    assert "| [`98_dummy`](notebooks/98_dummy.ipynb) | A dummy | [" in copy("git", "diff", "README.md")
    generated = ["README.md", "figures/tiny/README.md", "figures/tiny/index.html"]
    assert copy("git", "diff", "--name-only").split() == generated
    # What the tests ask of every notebook, its run at smoke among it.
    files = ["notebooks/test_structure.py", "notebooks/test_committed.py", "notebooks/test_runs.py"]
    files += ["unit/test_presets.py", "unit/test_claims.py"]
    chosen = f"{SLUG} or there_are_notebooks or has_a_notebook or presets_are or of_a_notebook"
    options = ["-q", "-p", "no:cacheprovider", "-m", "not slow and not gpu", "-k", chosen, "--basetemp", "runs"]
    said = copy(*python, "pytest", *options, *(f"tests/{file}" for file in files))
    assert int(re.search(r"(\d+) passed", said)[1]) >= 20 and "skipped" not in said
    render = "import sys; from nbutils.record import report; print(*report.render('smoke', sys.argv[1]))"
    assert "smoke/index.html" in copy(sys.executable, "-c", render, "runs/smoke0")
    copy(*python, "ruff", "check", "--no-cache", "notebooks", "nbutils/presets")
