"""What the tests of all notebooks need: runs, small inputs derived from a notebook's parameters, its own functions."""

import contextlib
import importlib
import io
from pathlib import Path

import checkpoints
import nbformat
import numpy as np

from nbutils import data, paths, record, run
from nbutils.presets import flattened, load_preset

SLUGS = [path.stem for path in run.find_notebooks()]
MEASURED = ("data", "models", "scores", "metrics", "series", "matrices")  # sections of a record


def notebook_path(slug: str) -> Path:
    return paths.NOTEBOOKS / f"{slug}.ipynb"


# --- cells ------------------------------------------------------------------------------------------------------------


def cells(slug, tag=None):
    """Sources of the notebook's code cells, all of them or those with a tag."""
    notebook = nbformat.read(notebook_path(slug), as_version=4)
    tagged = [(cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells if cell.cell_type == "code"]
    return [source for source, tags in tagged if tag is None or tag in tags]


def methods(slug):
    """The functions of the notebook's `method` cells."""
    functions = {"np": np}
    for source in cells(slug, "method"):
        exec(compile(source, "method", "exec"), functions)
    return functions


# --- runs -------------------------------------------------------------------------------------------------------------


def results(slug, folder, scale="smoke", **parameters):
    """The record of one run of the notebook into `folder`, by the runner, in a kernel of its own."""
    place = run.run_notebook(notebook_path(slug), scale, parameters, folder)
    return kept(place / "record.json")


def kept(path):
    """The record without timings, versions and device."""
    return record.without_volatile(record.load_record(path))


def execute(slug, folder, scale="smoke", **parameters):
    """(record, names of the cells) of one run of all cells in this process, which saves a kernel and its imports."""
    import matplotlib

    given = run.resolve_parameters(notebook_path(slug), scale, parameters) | {"out_dir": str(folder)}
    names = {"__name__": "__main__"}
    first, *rest = [source for tag in ("parameters", None) for source in cells(slug, tag)]
    with matplotlib.rc_context(), contextlib.redirect_stdout(io.StringIO()):
        matplotlib.use("Agg")
        exec(compile(first, "parameters", "exec"), names)
        names |= given
        for source in rest:
            if source != first:
                exec(compile(source, f"{slug}, cell", "exec"), names)
        matplotlib.pyplot.close("all")
    return kept(paths.results_dir(slug, scale, folder) / "record.json"), names


# --- small inputs -----------------------------------------------------------------------------------------------------


def small_data(folder, drop=0, kinds=("fact", "reverse")):
    """A folder with questions about twelve countries, less the first `drop`, and their passages; its path."""
    whole = data.load_dataset("factbook", n_countries=12)
    keep = [q for kind in kinds for split in ("train", "test") for q in data.select(whole.examples, kind, split, 24)]
    gold = {id_: whole.corpus[id_] for question in keep for id_ in question.gold_passages}
    data.write_folder(folder, data.Dataset(folder.name, gold, keep[drop:]))
    return str(folder)


def without_gold(folder, target):
    """The same data set with questions as the hub's open-domain ones are: they can be scored, recall cannot."""
    whole = data.read_folder(folder)
    open_ones = [data.question_example(q.id, q.query, q.answers, (), split=q.split) for q in whole.examples]
    data.write_folder(target, data.Dataset("open", whole.corpus, open_ones))
    return str(target)


def without_titles(folder, target):
    """The same data set with passages as a reader's own often are: text alone."""
    whole = data.read_folder(folder)
    bare = {id_: data.Passage("", passage.text) for id_, passage in whole.corpus.items()}
    data.write_folder(target, data.Dataset("untitled", bare, whole.examples))
    return str(target)


def parameters(slug):
    """{name: {"type", "default", "help", ...}} of the parameters that a run may vary.

    A cluster's address says where something is computed, not what.
    """
    every = run.notebook_parameters(notebook_path(slug))
    return {name: parameter for name, parameter in every.items() if name not in ("scale", "out_dir", "ray_address")}


def small_parameters(slug, folder):
    """(parameters of a small run, another value of each): a small data set, small random models, some steps more."""
    one, other = {}, {}
    for name, parameter in parameters(slug).items():
        if name == "dataset":
            one[name], other[name] = (small_data(folder / f"data-{drop}", drop) for drop in (0, 1))
        elif name in ("encoder", "reranker"):
            one[name], other[name] = (checkpoints.minilm(folder / f"{name}-{s}", seed=s) for s in (0, 1))
        elif name == "generator":
            one[name], other[name] = (
                checkpoints.llama(folder / f"generator-{s}", seed=s, positions=2048) for s in (0, 1)
            )
        elif parameter["type"] == "int":
            value = parameter["default"] if parameter["default"] is not None else preset_value(slug, name)
            value += name.endswith("_steps")  # room for what happens between steps
            one[name], other[name] = value, value + 1
        elif parameter["type"] == "float":
            one[name], other[name] = parameter["default"], parameter["default"] * 1e-7
        else:
            raise AssertionError(f"{slug}: say here which other value a {parameter['type']} like {name} may have")
    return one, other


def preset_value(slug, name):
    """The value that the smoke preset gives a parameter."""
    module = importlib.import_module(f"nbutils.presets.{slug[3:]}")
    field, *_ = getattr(module, "PARAMETERS", {}).get(name, (name,))
    return flattened(load_preset(slug, "smoke", {}))[field]
