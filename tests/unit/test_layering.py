"""What imports what, by the contracts in `pyproject.toml`, and what an import costs."""

import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from nbutils import paths

PACKAGE = Path(paths.__file__).parent
# Every module of the package, as it is imported; the scripts of `metrics/modules` are loaded by `evaluate` instead.
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if (path.parent / "__init__.py").exists()
)
HEAVY = {
    "bitsandbytes", "bm25s", "datasets", "evaluate", "faiss", "huggingface_hub", "ipywidgets", "ir_measures", "jinja2",
    "matplotlib", "nbformat", "pandas", "papermill", "peft", "ray", "scipy", "sentence_transformers",
    "sklearn", "tokenizers", "torch", "tqdm", "transformers", "yaml",
}  # fmt: skip


# Cost


def run_in(folder, code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False)


def run_python(code):
    result = run_in(paths.ROOT, code)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def loaded_after(modules):
    """The modules of HEAVY that are loaded after each module is imported, in one fresh process."""
    return run_python(
        "import importlib, json, sys\n"
        f"heavy, loaded = set({sorted(HEAVY)}), {{}}\n"
        f"for module in {modules!r}:\n"
        "    importlib.import_module(module)\n"
        "    loaded[module] = sorted(heavy & set(sys.modules))\n"
        "print(json.dumps(loaded))"
    )


def test_the_package_imports_nothing():
    code = (
        "import json, sys; before = set(sys.modules); import nbutils; print(json.dumps([*set(sys.modules) - before]))"
    )
    assert run_python(code) == ["nbutils"]


def test_the_package_is_imported_at_once():
    code = "import time; start = time.perf_counter(); import nbutils; print(time.perf_counter() - start)"
    assert min(run_python(code) for _ in range(3)) < 0.3


def test_no_module_imports_a_heavy_library():
    assert {"nbutils", "nbutils.__main__", "nbutils.data", "nbutils.data.factbook.country"} <= {*MODULES}
    assert {module: libraries for module, libraries in loaded_after(MODULES).items() if libraries} == {}


def test_a_heavy_import_would_be_noticed():
    assert loaded_after(["yaml"]) == {"yaml": ["yaml"]}


# Direction


@pytest.fixture(scope="module")
def package_copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layering")
    shutil.copytree(PACKAGE, folder / "nbutils", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(paths.ROOT / "pyproject.toml", folder)
    return folder


@contextmanager
def planted(folder, module, code):
    """The package in that folder with the code at the end of one module, which may be new."""
    path = folder / f"nbutils/{module}.py"
    before = path.read_text(encoding="utf-8") if path.exists() else None
    path.write_text(f"{before or ''}\n{code}\n", encoding="utf-8")
    yield
    if before is None:
        path.unlink()
    else:
        path.write_text(before, encoding="utf-8")


def lint_imports(folder):
    """What `lint-imports` says about the package in a folder; nothing where every contract is kept."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache', '--no-logo'])"
    result = run_in(folder, code)
    assert result.returncode == (" BROKEN" in result.stdout), result.stdout + result.stderr
    return result.stdout if result.returncode else ""


def rooms_imported_from_inside(folder):
    """[file, the room it is in] for every file that imports its room, whose `__init__` imports the file: a circle
    that the contracts do not see.
    """
    result = run_in(
        folder,
        "import grimp, json\n"
        "graph = grimp.build_graph('nbutils', cache_dir=None)\n"
        "imports = [(m, name) for m in graph.modules for name in graph.find_modules_directly_imported_by(m)]\n"
        "print(json.dumps([(m, room) for m, room in imports if m.startswith(room + '.')]))",
    )
    return json.loads(result.stdout)


def test_imports_go_one_way(package_copy):
    assert lint_imports(package_copy) == ""
    assert rooms_imported_from_inside(package_copy) == []


@pytest.mark.parametrize(
    ("module", "code", "message"),
    [
        ("files", "from nbutils.data import Passage", "nbutils.files is not allowed to import nbutils.data"),
        ("data/hub", "def f():\n    from nbutils import pilot", "nbutils.data is not allowed to import nbutils.pilot"),
        ("metrics/answers", "import nbutils.models.load", "nbutils.metrics is not allowed to import nbutils.models"),
        ("data/schema", "from nbutils.data.passages import split_text", ".schema -> .passages (1 import)"),
        ("reader", "", "- nbutils.reader"),  # a module to which no layer is given
    ],
)
def test_an_import_the_wrong_way_would_be_noticed(package_copy, module, code, message):
    with planted(package_copy, module, code):
        assert message in lint_imports(package_copy)


def test_an_import_of_the_own_room_would_be_noticed(package_copy):
    with planted(package_copy, "data/hub", "from nbutils.data import Passage"):
        assert rooms_imported_from_inside(package_copy) == [["nbutils.data.hub", "nbutils.data"]]
