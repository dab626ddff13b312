"""What the source of the package may not contain, and what is said about its rooms.

The linter (`[tool.ruff]` in `pyproject.toml`) sees most of what is unsafe; here is the rest, and that it does.
"""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nbutils import paths

PACKAGE = Path(paths.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 320
TABLES = {".csv", ".yaml"}  # data, not to be read from top to bottom
VAGUE = re.compile(r"(.*_)?(utils?|helpers?|core|common|misc)")


# What runs code from data, or trusts what it was given


def faults_of_source(source):
    """What the linter does not see of remote code, pickles inside arrays, and code made of text."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and node.id in {"compile", "__import__"}:
            faults.append(node.id)
        if isinstance(node, ast.keyword) and node.arg in {"trust_remote_code", "allow_pickle"}:
            is_false = isinstance(node.value, ast.Constant) and node.value.value is False
            faults += [] if is_false else [f"{node.arg}={ast.unparse(node.value)}"]
        if isinstance(node, ast.keyword) and node.arg == "use_safetensors" and ast.unparse(node.value) != "True":
            faults.append("use_safetensors")
        if isinstance(node, ast.Constant) and node.value in ("trust_remote_code", "allow_pickle"):
            faults.append(f"{node.value} as a string")
    return faults


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nothing_runs_code_from_data(path):
    assert faults_of_source(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("compile(text, 'name', 'exec')", "compile"),
        ("__import__(name)", "__import__"),
        ("np.load(path, allow_pickle=True)", "allow_pickle=True"),
        ("AutoModel.from_pretrained(x, trust_remote_code=True)", "trust_remote_code=True"),
        ("AutoModel.from_pretrained(x, trust_remote_code=trust)", "trust_remote_code=trust"),
        ("options = {'trust_remote_code': True}", "trust_remote_code as a string"),
        ("AutoModel.from_pretrained(x, use_safetensors=None)", "use_safetensors"),
    ],
)
def test_an_unsafe_source_would_be_noticed(source, fault):
    assert faults_of_source(source) == [fault]


def test_safe_sources_pass():
    source = "yaml.safe_load(x); np.load(x, allow_pickle=False); model.eval(); ast.literal_eval(x); re.compile(x)"
    assert faults_of_source(source) == []


def test_the_linter_notices_the_rest():
    codes = {
        "import pickle": "TID251",
        "from joblib import load": "TID251",
        "from yaml import load": "TID251",
        "torch.load(path)": "TID251",
        "yaml.load(text, Loader=yaml.UnsafeLoader)": "TID251",
        "os.system(text)": "TID251",
        "from . import data": "TID252",
        "eval(text)": "S307",
        "exec(text)": "S102",
        "subprocess.run(text, shell=True)": "S602",
        "# torch.load(path)": "ERA001",
    }
    source = "\n".join(["import os", "import subprocess", "import torch", "import yaml", *codes])
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--output-format",
        "json",
        "--stdin-filename",
        "nbutils/data/x.py",
    ]
    result = subprocess.run([*command, "-"], input=source, capture_output=True, text=True, cwd=paths.ROOT, check=False)
    found = {(fault["location"]["row"], fault["code"]) for fault in json.loads(result.stdout)}
    assert found >= set(enumerate(codes.values(), start=5))


# Size and names


def test_no_file_is_long():
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in {".pyc", *TABLES}]
    lengths = {path.relative_to(PACKAGE).as_posix(): path.read_bytes().count(b"\n") for path in files}
    assert lengths["paths.py"] > 10
    assert lengths["templates/report.html"] > 10
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def vague_names(source):
    """Modules that are imported, or names that are given, as utils, helpers and the like."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nbutils"):
            found += [alias.name for alias in node.names]
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found += [alias.asname for alias in node.names if alias.asname]
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if "." not in alias.name]
    return [name for name in found if VAGUE.fullmatch(name)]


def test_no_file_or_folder_has_a_vague_name():
    found = [path for folder in (PACKAGE, paths.ROOT / "tests", paths.NOTEBOOKS) for path in folder.rglob("*")]
    assert len(found) > 150
    assert [path.name for path in found if VAGUE.fullmatch(path.stem)] == []


def test_no_notebook_gives_a_vague_name():
    notebooks = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
    assert notebooks
    for notebook in notebooks:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        for cell in cells:
            if cell["cell_type"] == "code":
                assert vague_names("".join(cell["source"])) == [], notebook.name


@pytest.mark.parametrize(
    "source", ["import utils", "from nbutils import core", "import nbutils.data as data_utils", "import helpers"]
)
def test_a_vague_name_would_be_noticed(source):
    assert len(vague_names(source)) == 1


# What a room is for


def what_it_is_for(path):
    """The first line of a module's docstring, without the full stop."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0].removesuffix(".")


def readme_rooms():
    """{room: what it is for} from the table in nbutils/README.md."""
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", text, re.MULTILINE))


def test_every_package_says_in_one_line_what_it_is_for():
    packages = sorted(PACKAGE.rglob("__init__.py"))
    assert len(packages) > 12
    for path in packages:
        assert re.fullmatch(r"[A-Z].{30,}", what_it_is_for(path)), path


def test_the_readme_says_the_same():
    rooms = {path.stem: path for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    rooms |= {path.parent.name: path for path in PACKAGE.glob("*/__init__.py")}
    said = {name: what_it_is_for(path) for name, path in rooms.items()}
    table = "\n".join(f"| `{name}` | {purpose} |" for name, purpose in said.items())
    assert readme_rooms() == said, f"the rows of the table in nbutils/README.md, from the docstrings:\n{table}"
