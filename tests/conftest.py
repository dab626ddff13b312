"""What several test files need: a stand-in for the repository, and small notebooks made in code."""

import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # side by side: two processes with two threads each on two cores are far slower
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items):
    """What `--dist loadgroup` keeps on one worker: a file, and of the notebooks all that shares a notebook's runs."""
    for item in items:
        slug = getattr(item, "callspec", None) and item.callspec.params.get("slug")
        group = slug or Path(item.path).stem.removeprefix("test_")
        item.add_marker(pytest.mark.xdist_group(group))


PARAMETERS = """\
scale: str = "tiny"  # preset
seed: int = 0  # first seed
n_docs: int = 3  # passages per question
share: float = 0.5  # share of something [0..1]
name: str = None  # some text
pooling: str = "mean"  # how to pool [mean|max]
verbose: bool = False  # say more
out_dir: str = None  # where results go (default: the repository)"""

# What record.save() does, without the libraries that it needs.
SAVE = """\
import json
from pathlib import Path
folder = Path(out_dir) / scale / "{slug}"
folder.mkdir(parents=True, exist_ok=True)
(folder / "record.json").write_text(json.dumps({{"seed": seed, "n_docs": n_docs, "name": name, "figures": {{}}}}))"""


@pytest.fixture
def write_notebook():
    """Function (path, *code cells, parameters=..., save=True) -> path of a notebook that the runner accepts."""
    import nbformat

    def write(path, *sources, parameters=PARAMETERS, save=True):
        v4 = nbformat.v4
        cells = [v4.new_markdown_cell(f"# {path.stem[:2]} · A demonstration", id="title")]
        cells.append(v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}, id="parameters"))
        cells += [v4.new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(sources)]
        if save:
            cells.append(v4.new_code_cell(SAVE.format(slug=path.stem), id="save"))
        kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
        metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(nbformat.writes(v4.new_notebook(cells=cells, metadata=metadata)) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def write_claims(project, monkeypatch):
    """Function text -> its claims in the project's notebooks/claims/, a file a notebook."""
    from nbutils import paths

    folder = project.notebooks / "claims"
    folder.mkdir()
    monkeypatch.setattr(paths, "CLAIMS", folder)

    def write(text):
        files = {}
        for claim in re.findall(r"(?ms)^\d\d\..*?(?=^\d\d\.|\Z)", text):
            files[claim[:2]] = files.get(claim[:2], "") + claim
        for number, claims in files.items():
            (folder / f"{number}.yaml").write_text(claims, encoding="utf-8")

    return write


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Empty folders in tmp_path in place of the repository's notebooks/, figures/ and data/."""
    from nbutils import paths

    folders = SimpleNamespace(root=tmp_path, notebooks=tmp_path / "notebooks", figures=tmp_path / "figures")
    for name in ("notebooks", "figures", "data"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(paths, name.upper(), tmp_path / name)
    monkeypatch.setattr(paths, "README", tmp_path / "README.md")
    return folders


@pytest.fixture
def demo(project, write_notebook):
    """A notebook that runs, `notebooks/00_demo.ipynb` of the project."""
    return write_notebook(project.notebooks / "00_demo.ipynb", "print('n_docs', n_docs)")


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory):
    """Function slug -> (record, folder) of the notebook's one smoke run, by the runner, with the embedded models.

    The first two notebooks have the whole language model, the others two of its layers: nothing is judged at smoke, and
    its 18 layers are most of the time. Two layers write no text of three tokens, which the second notebook counts.
    """
    import checkpoints
    import notebook_runs

    done, generator = {}, []

    def smoke_run(slug):
        if slug not in done:
            root, chosen = tmp_path_factory.mktemp("smoke"), {}
            if "generator" in notebook_runs.parameters(slug) and slug not in notebook_runs.SLUGS[:2]:
                generator[:] = generator or [checkpoints.shallow_gemma(tmp_path_factory.mktemp("shallow"))]
                chosen["generator"] = generator[0]
            done[slug] = notebook_runs.results(slug, root, **chosen), root / "smoke" / slug
        return done[slug]

    return smoke_run


@pytest.fixture
def cache_folder(monkeypatch, tmp_path):
    """A cache of the test's own."""
    from nbutils import paths

    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Function (kind, **options) -> folder of a small random checkpoint of `checkpoints`, made once a session."""
    import checkpoints

    made = {}

    def checkpoint(kind, **options):
        key = (kind, *sorted(options.items()))
        if key not in made:
            made[key] = getattr(checkpoints, kind)(tmp_path_factory.mktemp(kind), **options)
        return made[key]

    return checkpoint


@pytest.fixture(scope="session")
def factbook_of_12():
    """The Factbook's questions about twelve countries, read or built once a session."""
    from nbutils import data

    return data.load_dataset("factbook", n_countries=12)
