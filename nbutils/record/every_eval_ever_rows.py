"""The rows that go with an evaluation file of "Every Eval Ever": one for each score of each question."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nbutils.errors import InputError
from nbutils.metrics import ANSWER_METRICS

UNSTATED = "not stated by the record"


def load_answers(path: Path) -> dict[str, dict]:
    """The texts beside a record: questions with their accepted answers, and what each system answered; none if missing.

    Raises InputError for a file that holds anything else.
    """
    if not path.is_file():
        return {"questions": {}, "systems": {}}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"questions": {**content["questions"]}, "systems": {**content["systems"]}}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not hold questions and systems: run the notebook again") from error


def rows(
    scores: Mapping[str, Mapping[str, Any]], answers: Mapping[str, Mapping], evaluation: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The rows of a record's `scores`, each linked to a result of `evaluation`, which has one of each score's name.

    Question, accepted answers and output stand in a row where `answers` has them.
    """
    results = {result["evaluation_result_id"]: result for result in evaluation["evaluation_results"]}
    for name, of_name in scores.items():
        link = {
            "schema_version": evaluation["schema_version"],
            "evaluation_id": evaluation["evaluation_id"],
            "model_id": evaluation["model_info"]["id"],
            "evaluation_name": results[name]["evaluation_name"],
            "evaluation_result_id": name,
        }
        is_share = "max_score" in results[name]["metric_config"]
        outputs = _outputs(scores, name, answers["systems"])
        for i, (id_, value) in enumerate(zip(of_name["ids"], of_name["values"], strict=True)):
            labels = {label: of_name[f"{label}s"][i] for label in ("subject", "field") if f"{label}s" in of_name}
            labels |= {} if is_share else {"is_correct": "not defined for this metric"}
            texts = _texts(name.partition("/")[0], answers["questions"].get(id_), outputs.get(id_))
            yield {
                **link,
                "sample_id": id_,
                "interaction_type": "single_turn",
                **texts,
                "evaluation": {"score": value, "is_correct": is_share and value == 1},
                "metadata": {**labels, **texts["metadata"]},
            }


def _texts(method: str, question: Mapping | None, output: Mapping | None) -> dict[str, Any]:
    """Input, output and what of it was scored. Accepted answers are given with the output alone: a control is scored
    against others.
    """
    known = {"raw": question["question"] if question else "", "reference": []}
    metadata = {} if question else {"input": UNSTATED}
    if not output:
        return {
            "input": known,
            "output": {"raw": []},
            "answer_attribution": [],
            "metadata": {**metadata, "output": UNSTATED},
        }
    known["reference"] = [*question["answers"]] if question else []
    # The schema's own recipe, so that the same question is found again in other evaluations.
    digest = hashlib.sha256(json.dumps(known, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    attribution = {
        "turn_idx": 0,
        "source": "output.raw",
        "extracted_value": output["text"],
        "extraction_method": method,
        "is_terminal": True,
    }
    if output.get("passages"):
        metadata["passages"] = json.dumps(output["passages"])
    return {
        **({"sample_hash": digest} if question else {}),
        "input": known,
        "output": {"raw": [output["text"]]},
        "answer_attribution": [attribution],
        "metadata": metadata,
    }


def _outputs(scores: Mapping[str, Mapping], name: str, systems: Mapping[str, Mapping]) -> Mapping[str, Mapping]:
    """id -> what was scored under `name`: by the system of that name, if it was right on these very questions.

    A system answers several sets of questions, and some of them with other passages: its name alone does not tell
    which of its scores the texts belong to.
    """
    metric, _, rest = name.partition("/")
    exact = scores.get(f"exact_match/{rest}")
    if metric not in ANSWER_METRICS or exact is None or scores[name]["ids"] != exact["ids"]:
        return {}
    for system in (rest, rest.partition("/")[0]):
        found = systems.get(system, {})
        pairs = zip(exact["ids"], exact["values"], strict=True)
        if all(id_ in found and math.isclose(found[id_]["right"], value, abs_tol=1e-9) for id_, value in pairs):
            return found
    return {}
