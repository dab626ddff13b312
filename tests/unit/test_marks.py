"""Numbers between marks: filled from the record, and never left as they were typed."""

import nbformat
import pytest
from test_record import fill, new

from nbutils.errors import InputError
from nbutils.record import marks
from nbutils.run import NotebookFailed
from nbutils.run.results import fill_marks

__all__ = ["new"]  # a fixture

OUTCOME = {"verdict": "reproduced", "value": 0.26, "low": 0.2, "high": 0.32, "holm": {"low": 0.16, "high": 0.36}}
RECORD = {
    "metrics": {"exact_match/RAG": {"value": 0.525}, "bits per token": {"value": 2.345}},
    "claims": {"08.retrieval": OUTCOME},
    "skipped": {},
}
CLAIM = {"primary": True, "label": "RAG - fine-tuned", "sentence": "RAG answers more.", "quantity": {"difference": []}}
CLAIMS = {
    "08.retrieval": CLAIM,
    "08.style": {**CLAIM, "label": "", "quantity": {"mean": "style"}},
    "08.cost": {**CLAIM, "primary": False},
}


def filled(name, record=RECORD):
    return marks.fill(f"Before <!--={name}-->typed<!--/--> and after.", record, CLAIMS)


def test_a_number_is_the_record_s():
    assert filled("exact_match/RAG") == "Before <!--=exact_match/RAG-->53 %<!--/--> and after."
    assert "-->2.35<!--" in filled("bits per token|.2f") and "-->0.525<!--" in filled("exact_match/RAG|.3f")
    for name, message in {"bits per token": "is 2.345, no share", "bits per token|2q": "'2q' is no format"}.items():
        with pytest.raises(InputError, match=message):
            filled(name)
    assert "-->+0.26 [0.16, 0.36]<!--" in filled("08.retrieval")  # the interval that the verdict rests on
    assert marks.fill("No mark, 53 %.", RECORD, CLAIMS) == "No mark, 53 %."


def test_filling_again_changes_nothing_and_another_record_everything():
    once = filled("exact_match/RAG")
    assert marks.fill(once, RECORD, CLAIMS) == once
    other = {**RECORD, "metrics": {"exact_match/RAG": {"value": 0.1}}}
    assert "10 %" in marks.fill(once, other, CLAIMS) and "53 %" not in marks.fill(once, other, CLAIMS)


def test_two_marks_in_a_line_stay_apart():
    text = "<!--=exact_match/RAG-->x<!--/--> against <!--=08.retrieval-->y<!--/-->"
    assert marks.fill(text, RECORD, CLAIMS).count("<!--/-->") == 2
    assert " against " in marks.fill(text, RECORD, CLAIMS)


def test_the_primary_claims_are_listed():
    table = filled(marks.VERDICTS)
    assert "| RAG - fine-tuned | +0.26 [0.16, 0.36] | **reproduced** |" in table
    assert "| RAG answers more. | - | **not run** |" in table and table.count("\n| ") == 3


def test_other_data_has_a_dash_and_a_misspelt_name_is_an_error():
    with pytest.raises(InputError, match="'exact_match/RGA' names neither a metric nor a claim"):
        filled("exact_match/RGA")
    assert "-->-<!--" in filled("exact_match/RGA", {**RECORD, "skipped": {"08.style": "no such questions"}})


@pytest.mark.parametrize("text", ["<!--=a-->1", "<!--=a-->1<!--=b-->2<!--/-->", "1<!--/-->"])
def test_a_mark_that_is_not_closed_is_an_error(text):
    with pytest.raises(InputError, match="is not closed"):
        marks.fill(text, RECORD, CLAIMS)


def test_a_run_fills_its_notebook_from_its_own_record(new, tmp_path):
    one = fill(new(out_dir=str(tmp_path / "scratch")))
    one.claim("00.dense_over_bm25")
    one.save()
    v4 = nbformat.v4
    cells = [v4.new_markdown_cell("Loss <!--=loss|.1f-->9<!--/-->."), v4.new_code_cell("'<!--=loss-->9<!--/-->'")]
    notebook = v4.new_notebook(cells=[*cells, v4.new_markdown_cell("None.")])
    fill_marks(notebook, tmp_path / "scratch", "tiny")
    assert [cell.source for cell in notebook.cells] == ["Loss <!--=loss|.1f-->1.5<!--/-->.", cells[1].source, "None."]
    cells[0].source = "<!--=los-->9<!--/-->"
    with pytest.raises(NotebookFailed, match="00_start_here: the mark 'los' names neither"):
        fill_marks(v4.new_notebook(cells=cells), tmp_path / "scratch", "tiny")
