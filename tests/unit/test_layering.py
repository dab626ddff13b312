"""What imports what, how long it takes, and what the source of the package may not contain."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nbutils import paths

PACKAGE = Path(paths.__file__).parent
# Module or package -> its files.
FILES = {path.stem: [path] for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
FILES |= {path.parent.name: sorted(path.parent.glob("*.py")) for path in PACKAGE.glob("*/__init__.py")}
MODULES = sorted(FILES)

# A module imports only modules of earlier lines.
LAYERS = (
    {"errors", "paths", "progress", "factbook_fields"},
    {"costs", "files", "metrics"},
    {"cache", "data", "decision", "models"},
    {"factbook", "formats", "retrieval"},
    {"generation", "leaders"},
    {"rag", "refresh"},
    {"training"},
    {"presets"},
    {"record"},
    {"pilot", "plotting"},
    {"panel", "pilot_page", "run"},
    {"__main__"},
)
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
# `load_dataset` finds every kind of data set, and these two read theirs with what `data` offers.
LATE = {("data", "factbook"), ("data", "formats")}

HEAVY = {
    "bitsandbytes", "bm25s", "datasets", "evaluate", "faiss", "huggingface_hub", "ipywidgets", "ir_measures", "jinja2",
    "matplotlib", "nbformat", "PIL", "pandas", "papermill", "peft", "ray", "scipy", "sentence_transformers",
    "sklearn", "tokenizers", "torch", "tqdm", "transformers", "yaml",
}  # fmt: skip
VAGUE = re.compile(r"(.*_)?(utils?|helpers?|common|misc)")


def run_python(code):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=paths.ROOT, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def loaded_after(statements):
    """The modules of HEAVY that are loaded after each statement, in one fresh process."""
    return run_python(
        "import json, sys\n"
        f"heavy, loaded = set({sorted(HEAVY)}), {{}}\n"
        f"for statement in {statements!r}:\n"
        "    exec(statement)\n"
        "    loaded[statement] = sorted(heavy & set(sys.modules))\n"
        "print(json.dumps(loaded))"
    )


# Cost


def test_the_package_imports_nothing():
    code = (
        "import json, sys; before = set(sys.modules); import nbutils; print(json.dumps([*set(sys.modules) - before]))"
    )
    assert run_python(code) == ["nbutils"]


def test_the_package_is_imported_at_once():
    code = "import time; start = time.perf_counter(); import nbutils; print(time.perf_counter() - start)"
    assert min(run_python(code) for _ in range(3)) < 0.3


def test_no_module_imports_a_heavy_library():
    files = [path.relative_to(PACKAGE.parent).with_suffix("") for module in MODULES for path in FILES[module]]
    names = [".".join(file.parts).removesuffix(".__init__") for file in files]
    loaded = loaded_after(["import nbutils", *(f"import {name}" for name in names)])
    assert len(loaded) == len(names) + 1 > 15
    assert {statement: libraries for statement, libraries in loaded.items() if libraries} == {}


def test_a_heavy_import_would_be_noticed():
    assert loaded_after(["import yaml"]) == {"import yaml": ["yaml"]}


# Direction


def imports_of(source):
    """(imported module of the package, whether at the top) for every import in the source of one module."""
    tree = ast.parse(source)
    top = set(tree.body)
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            names = [f"nbutils.{a.name}" for a in node.names] if node.module == "nbutils" else [node.module]
        found += [(name.split(".")[1], node in top) for name in names if name.startswith("nbutils.")]
    return found


def faults_of_direction(module, source):
    faults = []
    for imported, at_top in imports_of(source):
        if imported != module and LAYER[imported] >= LAYER[module] and (at_top or (module, imported) not in LATE):
            faults.append(f"{module} imports {imported}{'' if at_top else ' inside a function'}")
    return faults


def test_every_module_has_its_place():
    assert set(LAYER) == set(MODULES) and sum(map(len, LAYERS)) == len(LAYER)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    for path in FILES[module]:
        assert faults_of_direction(module, path.read_text(encoding="utf-8")) == []


def test_late_imports_are_still_needed():
    sources = [(module, path.read_text(encoding="utf-8")) for module in MODULES for path in FILES[module]]
    found = {(module, name) for module, source in sources for name, _ in imports_of(source)}
    assert found >= LATE and len(found) > 20


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("files", "from nbutils.data import Passage", "files imports data"),
        ("metrics", "from nbutils import files, paths", "metrics imports files"),
        ("models", "import nbutils.retrieval", "models imports retrieval"),
        ("data", "from nbutils import factbook", "data imports factbook"),
        ("data", "def f():\n    import nbutils.record", "data imports record inside a function"),
        ("metrics", "def f():\n    from nbutils.presets import SCALES", "metrics imports presets inside a function"),
        ("retrieval", "if True:\n    from nbutils import generation", "retrieval imports generation inside a function"),
    ],
)
def test_an_import_the_wrong_way_would_be_noticed(module, source, fault):
    assert faults_of_direction(module, source) == [fault]


# Source


def faults_of_source(source):
    """What runs code from data, or trusts what it was given: pickle, eval, unsafe YAML, remote code."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = getattr(node, "module", None)
            names = [module] if module else [alias.name for alias in node.names]
            names += [f"{module}.{alias.name}" for alias in node.names]
            unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml.load"}
            faults += [name for name in names if name in unsafe]
        if isinstance(node, ast.Name) and node.id in {"eval", "exec", "compile", "__import__"}:
            faults.append(node.id)
        if isinstance(node, ast.Attribute):
            full = ast.unparse(node)
            unsafe = {
                "yaml.load",
                "yaml.unsafe_load",
                "yaml.full_load",
                "torch.load",
                "pandas.read_pickle",
                "os.system",
            }
            faults += [full] if full in unsafe or full.endswith((".UnsafeLoader", ".FullLoader")) else []
        if isinstance(node, ast.keyword) and node.arg in {"trust_remote_code", "allow_pickle", "shell"}:
            is_false = isinstance(node.value, ast.Constant) and node.value.value is False
            faults += [] if is_false else [f"{node.arg}={ast.unparse(node.value)}"]
        if isinstance(node, ast.keyword) and node.arg == "use_safetensors" and ast.unparse(node.value) != "True":
            faults.append("use_safetensors")
        if isinstance(node, ast.Constant) and node.value == "trust_remote_code":
            faults.append("trust_remote_code as a string")
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            faults.append("bare except")
    return faults


SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nothing_runs_code_from_data(path):
    assert faults_of_source(path.read_text(encoding="utf-8")) == []


def test_every_source_was_read():
    assert {*SOURCES} >= {path for files in FILES.values() for path in files}
    assert "exact_match" in {path.stem for path in SOURCES}


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import pickle", "pickle"),
        ("from joblib import load", "joblib"),
        ("eval('1')", "eval"),
        ("exec(text)", "exec"),
        ("import yaml\nyaml.load(text, Loader=yaml.UnsafeLoader)", "yaml.load"),
        ("from yaml import load", "yaml.load"),
        ("torch.load(path)", "torch.load"),
        ("np.load(path, allow_pickle=True)", "allow_pickle=True"),
        ("AutoModel.from_pretrained(x, trust_remote_code=True)", "trust_remote_code=True"),
        ("AutoModel.from_pretrained(x, trust_remote_code=trust)", "trust_remote_code=trust"),
        ("options = {'trust_remote_code': True}", "trust_remote_code as a string"),
        ("AutoModel.from_pretrained(x, use_safetensors=None)", "use_safetensors"),
        ("subprocess.run(text, shell=True)", "shell=True"),
        ("try:\n    pass\nexcept:\n    pass", "bare except"),
    ],
)
def test_an_unsafe_source_would_be_noticed(source, fault):
    assert fault in faults_of_source(source)


def test_safe_sources_pass():
    source = "yaml.safe_load(x); np.load(x, allow_pickle=False); model.eval(); ast.literal_eval(x); re.compile(x)"
    assert faults_of_source(source) == []


# Names


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


def test_no_file_has_a_vague_name():
    files = [path for folder in (PACKAGE, paths.ROOT / "tests", paths.NOTEBOOKS) for path in folder.rglob("*.*")]
    assert len(files) > 40
    assert [path.name for path in files if VAGUE.fullmatch(path.stem)] == []


def test_no_notebook_gives_a_vague_name():
    notebooks = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
    assert notebooks
    for notebook in notebooks:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        for cell in cells:
            if cell["cell_type"] == "code":
                assert vague_names("".join(cell["source"])) == [], notebook.name


@pytest.mark.parametrize(
    "source", ["import utils", "from nbutils import utils", "import nbutils.data as data_utils", "import helpers"]
)
def test_a_vague_name_would_be_noticed(source):
    assert len(vague_names(source)) == 1
