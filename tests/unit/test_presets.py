"""Presets: one for each scale of each notebook, and overrides that are either put in or refused."""

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest

from nbutils import data, paths, presets, retrieval
from nbutils.errors import InputError
from nbutils.presets import SCALES, flattened, is_count, load_preset, start_here
from nbutils.training import TrainingSettings

PRESETS = presets.find_presets()
EVERY = [(notebook, scale) for notebook, by_scale in PRESETS.items() for scale in by_scale]


@pytest.mark.parametrize(("notebook", "scale"), EVERY)
def test_every_preset_loads(notebook, scale):
    preset = load_preset(notebook, scale, {})
    assert preset == PRESETS[notebook][scale]
    values = flattened(preset)
    assert all(isinstance(value, (str, int, float, tuple, type(None))) for value in values.values())
    counts = [value for name, value in values.items() if is_count(name) and value is not None]
    assert all(type(n) is int and n >= 1 for value in counts for n in (value if type(value) is tuple else [value]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset.sources = "another"


@pytest.mark.parametrize(("notebook", "scale"), EVERY)
def test_every_preset_has_sources_and_its_trainings_warm_up(notebook, scale):
    preset = load_preset(notebook, scale, {})
    assert preset.sources.dataset == "factbook" or data.is_known(preset.sources.dataset)
    assert (preset.sources.index == retrieval.EXACT) == (preset.sources.search_parameters is None)
    width = 768  # of the vectors of BERT-base
    assert retrieval.index_bytes(preset.sources.n_passages or 21_015_300, width, preset.sources.index) < 90e9
    groups = {field.name: getattr(preset, field.name) for field in dataclasses.fields(preset)}
    for name, settings in groups.items():
        if isinstance(settings, TrainingSettings) and name != "offices":  # Factbook only: the offices' are tiny's
            assert settings.n_steps == 0 or settings.warmup_steps < settings.n_steps, name
            assert preset.sources.quantize is None or settings.lora_rank is not None


@pytest.mark.parametrize("notebook", PRESETS)
def test_every_notebook_has_all_scales(notebook):
    by_scale = PRESETS[notebook]
    assert tuple(by_scale) == SCALES
    assert len({type(preset) for preset in by_scale.values()}) == 1


def test_presets_are_those_of_notebooks_that_exist():
    notebooks = {path.stem for path in paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")}
    assert set(PRESETS) <= notebooks
    assert list(PRESETS) == sorted(PRESETS)


def test_presets_are_found_without_the_notebooks(project):
    assert load_preset("01_rag", "tiny", {}) == PRESETS["01_rag"]["tiny"]


def test_a_new_notebook_needs_one_file_of_presets(tmp_path):
    shutil.copytree(paths.ROOT / "nbutils", tmp_path / "nbutils", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "98_dummy.ipynb").touch()
    (tmp_path / "nbutils" / "presets" / "dummy.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\n"
        "class Dummy:\n"
        "    n_questions: int\n"
        'PRESETS = {"smoke": Dummy(2), "tiny": Dummy(20)}\n'
    )
    code = (
        "import json; from nbutils.errors import InputError; from nbutils.presets import load_preset\n"
        'found = [load_preset("98_dummy", "tiny", {"n_questions": n}).n_questions for n in (None, 7)]\n'
        'for call in (("98_dummy", "gpu"), ("97_dummy", "tiny")):\n'
        "    try:\n"
        "        load_preset(*call, {})\n"
        "    except InputError as error:\n"
        "        found.append(str(error))\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": "."}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    one, other, scale, number = json.loads(done.stdout)
    assert (one, other, scale) == (20, 7, "no scale 'gpu': use one of smoke, tiny")
    assert number.startswith("no presets for notebook '97_dummy': known are 98_dummy")


@pytest.mark.parametrize("notebook", PRESETS)
def test_smoke_and_tiny_need_no_network(notebook):
    for scale in ("smoke", "tiny"):
        values = flattened(load_preset(notebook, scale, {})).values()
        assert not [value for value in values if isinstance(value, str) and "/" in value]


@pytest.mark.parametrize("notebook", PRESETS)
def test_smoke_is_no_larger_than_tiny(notebook):
    smoke, tiny = (flattened(PRESETS[notebook][scale]) for scale in ("smoke", "tiny"))
    for name in smoke:
        if is_count(name) or name.endswith((".n_steps", ".batch_size")):
            assert tiny[name] is None or smoke[name] <= tiny[name], name


def test_overrides_are_put_in_and_none_keeps():
    tiny = PRESETS["00_start_here"]["tiny"]
    assert load_preset("00_start_here", "tiny", {"n_questions": None, "sources.dataset": None}) == tiny
    given = load_preset(
        "00_start_here", "tiny", {"n_questions": 7, "sources.generator": "owner/model", "n_examples": None}
    )
    assert (given.n_questions, given.sources.generator) == (7, "owner/model")
    sources = dataclasses.replace(given.sources, generator=tiny.sources.generator)
    assert dataclasses.replace(given, n_questions=tiny.n_questions, sources=sources) == tiny
    assert load_preset("00_start_here", "tiny", {}) == tiny  # the preset itself is as it was


def test_overrides_of_several_groups_are_put_in_together():
    given = load_preset("02_rag_end2end", "tiny", {"train_steps": 5, "refresh_every": 4, "dataset": "d"})
    assert (given.retriever.n_steps, given.refresh_every, given.sources.dataset) == (5, 4, "d")
    tiny = PRESETS["02_rag_end2end"]["tiny"]
    longer = dataclasses.replace(given.retriever, n_steps=tiny.retriever.n_steps)
    assert (given.sft, longer) == (tiny.sft, tiny.retriever)


@pytest.mark.parametrize("scale", SCALES)
def test_presets_of_rag_fit_together(scale):
    preset = load_preset("01_rag", scale, {})
    assert list(preset.n_docs_eval) == sorted(set(preset.n_docs_eval))
    assert len(preset.n_docs_eval) == 4 and preset.n_docs in preset.n_docs_eval
    assert preset.temperature in preset.temperatures
    assert preset.n_questions is None or preset.n_several <= preset.n_questions
    assert preset.n_retrieval is None or (preset.n_questions or 0) <= preset.n_retrieval


@pytest.mark.parametrize("notebook", ["01_rag", "02_rag_end2end"])
@pytest.mark.parametrize("scale", SCALES)
def test_the_temperature_is_that_of_the_retriever(notebook, scale):
    """DPR's inner products were trained with the softmax as it is; MiniLM's are cosines."""
    preset = load_preset(notebook, scale, {})
    dpr = ["dpr" in name for name in (preset.sources.question_encoder, preset.sources.passage_encoder)]
    assert dpr in ([True, True], [False, False]) and (preset.temperature == 1.0) == any(dpr)
    assert any(dpr) or preset.temperature < 0.1


@pytest.mark.parametrize("scale", SCALES)
def test_presets_of_ra_dit_fit_together(scale):
    preset = load_preset("03_ra_dit", scale, {})
    assert preset.lsr_temperature == 0.01  # the paper's
    assert preset.both_encoders.n_steps <= preset.retriever.n_steps
    assert preset.both_encoders.batch_size < preset.retriever.batch_size
    assert preset.n_questions is None or preset.n_several <= preset.n_questions
    assert preset.n_retrieval is None or (preset.n_questions or 0) <= preset.n_retrieval


def test_one_training_and_one_pool_serve_three_notebooks():
    """What is kept for one is found by the others: the same settings and the same numbers of questions."""
    end2end, rag = (load_preset(notebook, "tiny", {}) for notebook in ("02_rag_end2end", "01_rag"))
    for name in ("sources", "sft", "pool", "n_dev", "temperature", "n_questions", "n_retrieval", "max_new_tokens"):
        assert getattr(end2end, name) == getattr(rag, name)
    assert dataclasses.replace(end2end.retriever, passage_layers=None) == rag.retriever
    for scale in ("smoke", "tiny"):
        rag, ra_dit = (load_preset(notebook, scale, {}) for notebook in ("01_rag", "03_ra_dit"))
        shared = ["sft", "retriever", "pool", "n_dev", "temperature", "n_questions", "n_retrieval", "max_new_tokens"]
        assert {name: getattr(rag, name) for name in shared} == {name: getattr(ra_dit, name) for name in shared}
        assert rag.n_human == ra_dit.n_scored and rag.human_dataset == ra_dit.human_dataset


@pytest.mark.parametrize("scale", SCALES)
def test_presets_of_end2end_fit_together(scale):
    preset = load_preset("02_rag_end2end", scale, {})
    assert 0 < preset.statement_words <= 1 and preset.n_stages == 4  # as many as a claim names
    assert preset.n_retrieval is None or (preset.n_questions or 0) <= preset.n_retrieval


def test_the_paper_s_settings():
    preset = load_preset("02_rag_end2end", "paper", {})
    joint = preset.joint
    assert (joint.batch_size, preset.joint_refresh_every) == (2 * 4 * 8, 500 // 8)  # GPUs, batch, accumulation
    assert (joint.learning_rate, joint.warmup_steps, joint.weight_decay, joint.max_grad_norm, joint.dropout) == (
        3e-5, 500, 0.001, 0.1, True,
    )  # fmt: skip


def test_several_counts_are_checked_each():
    given = load_preset("01_rag", "tiny", {"n_docs_eval": (3, 6), "temperature": 0.01, "joint.max_grad_norm": 0.5})
    assert (given.n_docs_eval, given.temperature, given.joint.max_grad_norm) == ((3, 6), 0.01, 0.5)


@pytest.mark.parametrize(
    ("notebook", "name", "text", "message"),
    [
        ("00_start_here", "dataset", "007", "dataset = 7 is of type int, not str; .* give it by -r in place of -p"),
        ("00_start_here", "encoder", "True", "encoder = True is of type bool, not str"),
        ("00_start_here", "n_questions", "1e2", r"n_questions = 100.0 is of type float, not int; write all digits"),
        ("01_rag", "n_questions", "many", r"n_questions = 'many' is of type str, not int . None;"),
        ("01_rag", "train_steps", "20.0", r"train_steps = 20.0 is of type float, not int"),
        ("01_rag", "n_docs_eval", "3", r"n_docs_eval = 3 is of type int, not tuple.int, "),
    ],
)
def test_types_that_plain_papermill_has_guessed_are_checked(notebook, name, text, message):
    from papermill.cli import _resolve_type  # what becomes of `-p name text`

    with pytest.raises(InputError, match=message) as caught:
        load_preset(notebook, "tiny", {name: _resolve_type(text)})
    assert "\n" not in str(caught.value)
    assert load_preset(notebook, "tiny", {name: _resolve_type("None")}) == PRESETS[notebook]["tiny"]


def test_a_whole_number_is_a_number():
    assert load_preset("01_rag", "tiny", {"temperature": 1}).temperature == 1


@pytest.mark.parametrize(
    ("notebook", "scale", "overrides", "message"),
    [
        ("99_absent", "tiny", {}, "no presets for notebook '99_absent': known are 00_start_here, 01_rag, 02_"),
        ("99_rag", "tiny", {}, "no presets for notebook '99_rag'"),
        ("98_sources", "tiny", {}, "no presets for notebook '98_sources'"),
        ("00_start_here", "huge", {}, "no scale 'huge': use one of smoke, tiny, gpu, paper"),
        ("00_start_here", "tiny", {"n_question": 3}, r"has no 'n_question': known are sources\.dataset, .*n_questions"),
        ("00_start_here", "tiny", {"learning_rate": 0.1}, "has no 'learning_rate'"),
        ("00_start_here", "tiny", {"data": "d"}, r"has no 'data': known are sources\.dataset"),
        ("00_start_here", "tiny", {"sources": "d"}, r"has no 'sources'"),
        ("00_start_here", "tiny", {"sources.model": "d"}, r"has no 'sources\.model'"),
        ("00_start_here", "tiny", {"n_questions": 0}, "n_questions = 0: give at least 1"),
        ("00_start_here", "tiny", {"sources.n_countries": -1}, "n_countries = -1: give at least 1"),
        ("00_start_here", "tiny", {"max_new_tokens": 0}, "max_new_tokens = 0: give at least 1"),
        ("01_rag", "tiny", {"n_docs_eval": (1, 0, 5)}, r"n_docs_eval = \(1, 0, 5\): give at least 1"),
        ("01_rag", "tiny", {"n_docs_eval": ()}, r"n_docs_eval = \(\): give at least 1"),
        ("01_rag", "tiny", {"train_steps": 4}, r"train_steps = 4: give more than the 4 steps of the warm-up"),
        ("01_rag", "tiny", {"train_steps": 0}, r"train_steps = 0: give more than the 4 steps of the warm-up"),
        ("03_ra_dit", "tiny", {"retriever_steps": 4}, r"retriever_steps = 4: give more than the 4 steps"),
        ("03_ra_dit", "tiny", {"n_scored": 900}, "the pool has 800 questions: draw and score at most as many"),
        ("01_rag", "tiny", {"n_docs": 7}, "n_docs = 7: the pool has 6 passages a question"),
        ("02_rag_end2end", "tiny", {"refresh_every": 100}, "refresh_every = 100: give 1 to 99, or more steps"),
        ("02_rag_end2end", "tiny", {"train_steps": 20}, "refresh_every = 25: give 1 to 19, or more steps"),
        ("02_rag_end2end", "tiny", {"train_steps": 2}, r"train_steps = 2: give more than the 4 steps"),
        ("02_rag_end2end", "smoke", {"train_steps": 3}, r"train_steps = 3: give at least 4"),
    ],
)
def test_what_is_refused(notebook, scale, overrides, message):
    with pytest.raises(InputError, match=message) as caught:
        load_preset(notebook, scale, overrides)
    assert "\n" not in str(caught.value)


def test_what_stands_in_the_file_is_what_loads(monkeypatch):
    small = dataclasses.replace(PRESETS["00_start_here"]["smoke"], n_questions=2)
    monkeypatch.setitem(start_here.PRESETS, "smoke", small)
    assert load_preset("00_start_here", "smoke", {}) == small
