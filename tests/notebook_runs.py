"""What the tests of all notebooks need: a run, the notebook's own functions, a small data set."""

import nbformat
import numpy as np

from nbutils import data, paths, record, run
from nbutils.record import claims


def results(slug, folder, scale="smoke", **parameters):
    """The record of one run of the notebook into `folder`, without timings, versions and device."""
    place = run.run_notebook(paths.NOTEBOOKS / f"{slug}.ipynb", scale, parameters, folder)
    return record.without_volatile(record.load_record(place / "record.json"))


def cells(slug, tag=None):
    """Sources of the notebook's code cells, all of them or those with a tag."""
    notebook = nbformat.read(paths.NOTEBOOKS / f"{slug}.ipynb", as_version=4)
    tagged = [(cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells if cell.cell_type == "code"]
    return [source for source, tags in tagged if tag is None or tag in tags]


def methods(slug):
    """The functions of the notebook's `method` cells."""
    functions = {"np": np}
    for source in cells(slug, "method"):
        exec(compile(source, "method", "exec"), functions)
    return functions


def parameter_names(slug):
    return set(run.notebook_parameters(paths.NOTEBOOKS / f"{slug}.ipynb"))


def check_smoke(slug, folder, figures, too_few=()):
    """The record of one run at smoke: every claim is there and none is judged, every figure is a file.

    `too_few` names claims that may be missing: those over a kind of question of which smoke may have less than two.
    """
    found = results(slug, folder)
    expected = {id_ for id_ in claims.load_claims() if id_.startswith(slug[:3].replace("_", "."))}
    assert expected - {*too_few} <= found["claims"].keys() <= expected
    assert all(outcome["verdict"] == claims.NOT_TESTED for outcome in found["claims"].values())
    assert found["figures"].keys() == set(figures)
    assert all((folder / "smoke" / slug / figure["file"]).is_file() for figure in found["figures"].values())
    return found


def small_data(folder, drop=0, kinds=("fact",)):
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
