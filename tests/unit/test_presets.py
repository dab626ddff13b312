"""Presets: one for each scale of each notebook, and overrides that are either put in or refused."""

import dataclasses
import re

import pytest

from nbutils import data, paths, presets, retrieval
from nbutils.errors import InputError
from nbutils.presets import SCALES

EVERY = [(notebook, scale) for notebook, by_scale in presets.PRESETS.items() for scale in by_scale]
COUNTS = re.compile(r"n_|max_")


@pytest.mark.parametrize(("notebook", "scale"), EVERY)
def test_every_preset_loads(notebook, scale):
    preset = presets.load_preset(notebook, scale, {})
    assert preset == presets.PRESETS[notebook][scale]
    values = dataclasses.asdict(preset)
    assert all(isinstance(value, (str, int, float, tuple, type(None))) for value in values.values())
    counts = [value for name, value in values.items() if COUNTS.match(name) and value is not None]
    assert all(type(n) is int and n >= 1 for value in counts for n in (value if type(value) is tuple else [value]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset.encoder = "another"


@pytest.mark.parametrize("notebook", presets.PRESETS)
def test_every_notebook_has_the_scales_of_the_claims(notebook):
    by_scale = presets.PRESETS[notebook]
    assert tuple(by_scale) == SCALES
    assert len({type(preset) for preset in by_scale.values()}) == 1


def test_presets_are_those_of_notebooks_that_exist():
    notebooks = {path.stem for path in paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")}
    assert set(presets.PRESETS) <= notebooks


@pytest.mark.parametrize("notebook", presets.PRESETS)
def test_smoke_and_tiny_need_no_network(notebook):
    for scale in ("smoke", "tiny"):
        values = dataclasses.asdict(presets.load_preset(notebook, scale, {}))
        assert not [value for value in values.values() if isinstance(value, str) and "/" in value]


def test_smoke_is_no_larger_than_tiny():
    for by_scale in presets.PRESETS.values():
        smoke, tiny = (dataclasses.asdict(by_scale[scale]) for scale in ("smoke", "tiny"))
        for name in filter(COUNTS.match, smoke):
            assert tiny[name] is None or smoke[name] <= tiny[name], name


def test_overrides_are_put_in_and_none_keeps():
    kept = presets.load_preset("00_start_here", "tiny", {"n_questions": None, "encoder": None})
    assert kept == presets.PRESETS["00_start_here"]["tiny"]
    given = presets.load_preset(
        "00_start_here", "tiny", {"n_questions": 7, "encoder": "owner/model", "n_examples": None}
    )
    assert (given.n_questions, given.encoder) == (7, "owner/model")
    assert dataclasses.replace(given, n_questions=kept.n_questions, encoder=kept.encoder) == kept
    assert presets.load_preset("00_start_here", "tiny", {}) == kept  # the preset itself is as it was


@pytest.mark.parametrize("scale", SCALES)
def test_presets_of_rag_fit_together(scale):
    preset = presets.load_preset("01_rag", scale, {})
    assert preset.dataset == "factbook" or data.is_known(preset.dataset)
    assert (preset.index == retrieval.EXACT) == (preset.search_effort is None)
    assert retrieval.index_bytes(preset.n_passages or 21_015_300, 768, preset.index) < 90e9
    assert list(preset.n_docs_eval) == sorted(set(preset.n_docs_eval))
    assert max(preset.n_docs_sequence, preset.n_docs_token) <= preset.n_docs_eval[-1]
    assert preset.n_docs <= preset.n_docs_eval[-1] and preset.warmup_steps < preset.train_steps
    dpr = ["dpr" in name for name in (preset.question_encoder, preset.passage_encoder)]
    assert dpr in ([True, True], [False, False]) and preset.temperature == (1.0 if any(dpr) else 0.05)


@pytest.mark.parametrize("scale", SCALES)
def test_presets_of_ra_dit_fit_together(scale):
    preset = presets.load_preset("03_ra_dit", scale, {})
    assert preset.dataset == "factbook" or data.is_known(preset.dataset)
    assert (preset.index == retrieval.EXACT) == (preset.search_effort is None)
    assert retrieval.index_bytes(preset.n_passages or 21_015_300, 768, preset.index) < 90e9
    assert len(preset.n_docs_eval) == 2 and list(preset.n_docs_eval) == sorted(set(preset.n_docs_eval))
    assert preset.warmup_steps < min(preset.tuning_steps, preset.retriever_steps) and 0 <= preset.corpus_share <= 1
    assert preset.warmup_steps < preset.steps_both and preset.lsr_temperature == 0.01  # the paper's
    assert preset.quantize is None or preset.lora_rank is not None
    assert preset.n_questions is None or preset.n_few <= preset.n_questions
    assert preset.n_retrieval is None or (preset.n_questions or 0) <= preset.n_retrieval


@pytest.mark.parametrize("scale", SCALES)
def test_presets_of_end2end_fit_together(scale):
    preset = presets.load_preset("02_rag_end2end", scale, {})
    assert preset.dataset == "factbook" or data.is_known(preset.dataset)
    assert (preset.index == retrieval.EXACT) == (preset.search_effort is None)
    assert preset.refresh_every < preset.train_steps
    assert {*preset.mixed_order} == {"questions", "statements"} and 0 < preset.statement_words <= 1
    dpr = ["dpr" in name for name in (preset.question_encoder, preset.passage_encoder)]
    assert dpr in ([True, True], [False, False]) and preset.temperature == (1.0 if any(dpr) else 0.05)


def test_the_paper_s_settings():
    preset = presets.load_preset("02_rag_end2end", "paper", {})
    assert (preset.batch_questions, preset.refresh_every) == (2 * 4 * 8, 500 // 8)  # GPUs, batch, accumulation
    assert (preset.lr_generator, preset.warmup_steps, preset.weight_decay, preset.clip_norm, preset.dropout) == (
        3e-5, 500, 0.001, 0.1, True,
    )  # fmt: skip


def test_several_counts_are_checked_each():
    given = presets.load_preset("01_rag", "tiny", {"n_docs_eval": (3, 6), "temperature": 0.01})
    assert (given.n_docs_eval, given.temperature) == ((3, 6), 0.01)


@pytest.mark.parametrize(
    ("notebook", "scale", "overrides", "message"),
    [
        ("99_absent", "tiny", {}, "no presets for notebook '99_absent': known are 00_start_here"),
        ("00_start_here", "huge", {}, "no scale 'huge': use one of smoke, tiny, gpu, paper"),
        ("00_start_here", "tiny", {"n_question": 3}, "has no 'n_question': known are dataset, .*n_questions"),
        ("00_start_here", "tiny", {"learning_rate": 0.1}, "has no 'learning_rate'"),
        ("00_start_here", "tiny", {"n_questions": 0}, "n_questions = 0: give at least 1"),
        ("00_start_here", "tiny", {"n_countries": -1}, "n_countries = -1: give at least 1"),
        ("00_start_here", "tiny", {"max_new_tokens": 0}, "max_new_tokens = 0: give at least 1"),
        ("01_rag", "tiny", {"n_docs_eval": (1, 0, 5)}, r"n_docs_eval = \(1, 0, 5\): give at least 1"),
        ("01_rag", "tiny", {"n_docs_eval": ()}, r"n_docs_eval = \(\): give at least 1"),
        ("01_rag", "tiny", {"train_steps": 4}, "train_steps = 4: give more than the 4 steps of the warm-up"),
        ("03_ra_dit", "tiny", {"retriever_steps": 4}, "retriever_steps = 4: give more than the 4 steps"),
        ("02_rag_end2end", "tiny", {"refresh_every": 16}, "refresh_every = 16: give 1 to 15, or more steps"),
        ("02_rag_end2end", "tiny", {"train_steps": 4}, "refresh_every = 6: give 1 to 3, or more steps"),
    ],
)
def test_what_is_refused(notebook, scale, overrides, message):
    with pytest.raises(InputError, match=message) as caught:
        presets.load_preset(notebook, scale, overrides)
    assert "\n" not in str(caught.value)
