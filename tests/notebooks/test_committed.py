"""What is committed agrees with itself: README, report, environment, and no trace of one person's machine."""

import re
import subprocess

import numpy as np
import pytest
import yaml

from nbutils import data, metrics, paths, record
from nbutils.errors import InputError
from nbutils.record import report

FIXED_PACKAGES = {
    *("jupyterlab", "transformers", "peft", "bitsandbytes", "datasets", "faiss-gpu"),
    *("evaluate", "matplotlib", "papermill"),
}


def tracked_texts():
    names = subprocess.run(["git", "ls-files"], cwd=paths.ROOT, check=True, capture_output=True, text=True).stdout
    for name in names.splitlines():
        path = paths.ROOT / name
        if path.is_file() and path.suffix not in (".png",):
            yield name, path.read_text(encoding="utf-8")


def test_readme_and_page_are_what_the_records_say(tmp_path):
    report.check("tiny")
    # Planted fault: a verdict typed by hand.
    readme = tmp_path / "README.md"
    text = paths.README.read_text(encoding="utf-8")
    readme.write_text(text.replace("| reproduced |", "| not reproduced |", 1), encoding="utf-8")
    with pytest.raises(InputError, match="report"):
        report.check("tiny", readme=readme)


OTHERS = ("prompting", "fine-tuned", "RAG", "RAG, tuned retriever")  # than fine-tuned + RAG

# What takeaways and notes say of scores that no claim compares: the interval of the paired difference lies above 0.
SAID = [
    ("01_rag", "exact_match/RAG-Token, K[3]/questions", "exact_match/RAG-Token, K[2]/questions"),
    (
        "01_rag",
        "distinct_trigrams at equal length/RAG-Token with closed-book, tuned/clues",
        "distinct_trigrams at equal length/closed-book, tuned with RAG-Token/clues",
    ),
    (
        "01_rag",
        "distinct_trigrams at equal length/RAG-Token with closed-book, tuned/long-form",
        "distinct_trigrams at equal length/closed-book, tuned with RAG-Token/long-form",
    ),
    ("02_rag_end2end", "recall_at_5/question encoder", "recall_at_5/both encoders"),
    ("02_rag_end2end", "recall_at_5/passage encoder", "recall_at_5/both encoders"),
    ("02_rag_end2end", "recall_at_5/old index", "recall_at_5/never"),
    ("01_rag", "bleu_1/RAG-Sequence, one passage/long-form", "bleu_1/RAG-Sequence/long-form"),
    ("01_rag", "rouge_l/RAG-Sequence, one passage/long-form", "rouge_l/RAG-Sequence/long-form"),
    (
        "01_rag",
        "distinct_trigrams at equal length/RAG-Token with RAG-Sequence/clues",
        "distinct_trigrams at equal length/RAG-Sequence with RAG-Token/clues",
    ),
    ("03_ra_dit", "recall_at_1/τ = 0.001", "recall_at_1/R-ft"),
    ("03_ra_dit", "recall_at_1/frozen dense", "recall_at_1/τ = 0.1"),
    ("03_ra_dit", "exact_match/IT/planted answer", "exact_match/base/planted answer"),
    ("03_ra_dit", "exact_match/RA-IT/planted answer", "exact_match/base/planted answer"),
    *(("08_rag_or_finetune", f"unsupported/{name}", "unsupported/fine-tuned + RAG") for name in OTHERS),
    *(("08_rag_or_finetune", "in its source/fine-tuned + RAG", f"in its source/{name}") for name in OTHERS),
    ("08_rag_or_finetune", "FLOPs/RAG", "FLOPs/fine-tuned + RAG"),
    ("08_rag_or_finetune", "update FLOPs/RAG, every passage", "update FLOPs/fine-tuned"),
    (
        "08_rag_or_finetune",
        "exact_match/fine-tuned/other words",
        "exact_match/fine-tuned on other facts/other words",
    ),
]


def committed(slug):
    return record.load_record(paths.results_dir(slug, "tiny") / "record.json")


def interval(content, one, other, keep=lambda id_: True):
    scores = content["scores"]
    pairs = zip(scores[one]["ids"], scores[one]["values"], scores[other]["values"], strict=True)
    assert scores[one]["ids"] == scores[other]["ids"]
    return metrics.bootstrap_mean(np.array([a - b for id_, a, b in pairs if keep(id_)]))[1:]


@pytest.mark.parametrize(("slug", "one", "other"), SAID)
def test_differences_that_the_prose_names(slug, one, other):
    low, _ = interval(committed(slug), one, other)
    assert low > 0
    assert interval(committed(slug), other, one)[0] < 0  # the other way round it would fail


def test_what_else_the_prose_of_01_says():
    content = committed("01_rag")
    undecided = [  # numbers, and diversity of long answers at equal length
        ("entropy/later tokens, numbers", "entropy/first token, numbers"),
        tuple(
            f"distinct_trigrams at equal length/{name}/long-form"
            for name in ("RAG-Sequence with RAG-Token", "RAG-Token with RAG-Sequence")
        ),
    ]
    for pair in undecided:
        low, high = interval(content, *pair)
        assert low <= 0 <= high
    metric = content["metrics"]
    for name in ("RAG-Sequence", "RAG-Token"):  # without two kinds of question the gain among ten passages is open
        low, high = interval(
            content, f"recall_at_10/{name}", "recall_at_10/frozen dense", lambda id_: "-heritage" not in id_
        )
        assert low <= 0 <= high
    unseen = content["scores"]["exact_match/RAG-Sequence/no passage holds it"]["values"]
    assert (np.count_nonzero(unseen), len(unseen)) == (4, 46)  # guesses:
    guessed = metric["exact_match/random passage/no passage holds it"]["value"]
    assert guessed >= metric["exact_match/RAG-Sequence/no passage holds it"]["value"]
    for name in ("closed-book, tuned", "RAG-Sequence", "RAG-Token"):  # clues agree no more with their own reference
        low, high = interval(content, f"bleu_1/{name}/clues", f"bleu_1/{name}/clues, shuffled answers")
        assert low <= 0 <= high
    for name in ("closed-book, tuned", "RAG-Sequence", "frozen dense", "BM25"):  # chance is a third
        verified = metric[f"exact_match/{name}/verification"]
        assert verified["low"] <= 1 / 3 <= verified["high"]
    assert metric["exact_match/tuned on 2015/holders of 2015"]["value"] == pytest.approx(0.2, abs=0.05)
    assert metric["exact_match/tuned on 2015/holders of 2025"]["value"] < 0.02
    gap = content["claims"]["01.swap_gap_as_large"]
    assert gap["low"] < 0.61 < gap["high"]


def test_what_else_the_prose_of_03_says():
    content = committed("03_ra_dit")
    scores = content["scores"]
    for name in ("95/5 mix", "corpus only", "KL reversed"):
        low, high = interval(content, f"recall_at_1/{name}", "recall_at_1/frozen dense")
        assert low <= 0 <= high
    for reader in ("IT", "RA-IT", "RA-DIT"):  # tuning gains less in token F1, by about a third
        gains = [
            np.subtract(*(scores[f"{name}/{system}/k[2]"]["values"] for system in (reader, "base")))
            for name in ("exact_match", "token_f1")
        ]
        assert metrics.bootstrap_mean(gains[0] - gains[1])[1] > 0
        assert gains[1].mean() == pytest.approx(2 / 3 * gains[0].mean(), rel=0.1)
    gold = "gold passage"  # as the planted answer of a passage, so the right one
    assert interval(content, f"exact_match/RA-IT/{gold}", f"exact_match/base/{gold}")[0] > 0
    few_shot = [scores[f"exact_match/{name}/few-shot, 1"]["values"] for name in ("RA-IT", "IT")]
    differing = np.flatnonzero(np.subtract(*few_shot))
    assert len(differing) == 1 and abs(np.subtract(*few_shot)[differing[0]]) == 0.5
    box = data.load_dataset("factbook")
    refuted = {e.id for e in box.examples if e.task == "verification" and e.answers == ("false",)}
    verified = scores["exact_match/RA-IT/claims with a passage"]
    assert len(verified["ids"]) == 36
    assert not any(v for id_, v in zip(verified["ids"], verified["values"], strict=True) if id_ in refuted)
    # Over fields in place of questions the gain of R-ft is open: whole fields are drawn anew.
    gain = dict(
        zip(
            scores["recall_at_1/R-ft"]["ids"],
            np.subtract(*(scores[f"recall_at_1/{name}"]["values"] for name in ("R-ft", "frozen dense"))),
            strict=True,
        )
    )
    fields = {}
    for question in data.questions(box.examples):
        if question.id in gain:
            fields.setdefault(question.field, []).append(gain[question.id])
    sums, counts = (np.array([f(values) for values in fields.values()]) for f in (sum, len))
    drawn = np.random.default_rng(0).integers(len(fields), size=(10_000, len(fields)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), [2.5, 97.5])
    assert len(fields) == 48 and low <= 0 <= high


def test_what_else_the_prose_of_08_says():
    content = committed("08_rag_or_finetune")
    reversed_gain = content["metrics"]["gain/reversed"]
    assert reversed_gain["low"] <= 0 <= reversed_gain["high"]
    winners = content["matrices"]["winner/data size"]
    systems = ["prompting", "fine-tuned", "RAG", "RAG, tuned retriever", "fine-tuned + RAG"]
    by_size = dict(zip(winners["rows"], winners["values"], strict=True))
    for size, system in {"0": "RAG", "64": "fine-tuned + RAG", "256": "fine-tuned + RAG"}.items():
        assert set(by_size[size]) == {systems.index(system)}  # however often facts change
    by_volume = dict(zip(*(content["matrices"]["winner/volume"][key] for key in ("rows", "values")), strict=True))
    assert set(by_volume["100"]) == {systems.index("RAG")}
    assert content["series"]["learning/fine-tuned + RAG"]["x"][-2:] == [64, 256]


def test_environment_names_the_fixed_packages():
    environment = yaml.safe_load((paths.ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert set(pip) >= FIXED_PACKAGES
    assert any(entry.startswith("-e .[gpu") for entry in pip)


def test_every_file_that_the_readme_links_to_exists():
    links = re.findall(r"\]\(([^)#:]+)\)", paths.README.read_text(encoding="utf-8"))
    assert links
    missing = [link for link in links if not (paths.ROOT / link).exists()]
    assert not missing


def test_no_path_of_a_machine_and_no_package_index():
    home = re.compile(r"(?<![\w./-])/(?:home|root|Users|work|mnt|tmp)/\w|pypi" + r"\.org|pythonhosted|registry\.npmjs")
    assert home.search("see /home/someone/x") and not home.search("notebooks/home/x")
    files = [(name, text) for name, text in tracked_texts() if not name.startswith("tests/")]
    assert len(files) > 20
    found = [(name, match.group()) for name, text in files if (match := home.search(text))]
    assert not found
