"""The rows that go with an evaluation file of "Every Eval Ever": one for each score of each question."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from nbutils.metrics import ANSWER_METRICS

UNSTATED = "not stated by the record"
ONE_SEED = "of one training seed; the score is the mean over all"


def rows(
    scores: Mapping[str, Mapping[str, Any]], answers: Mapping[str, Mapping], evaluation: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The rows of a record's `scores`, each linked to a result of `evaluation`, which has one of each score's name.

    Question, accepted answers and output are in a row where `answers`, the content of an `answers.json`, has them.
    """
    texts = _scored_texts(scores, answers.get("systems", {}))
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
        metric, _, rest = name.partition("/")
        outputs = texts.get(rest, {}) if metric in ANSWER_METRICS else {}
        of_seed = {"output": ONE_SEED} if outputs and "seed_means" in of_name else {}
        for i, (id_, value) in enumerate(zip(of_name["ids"], of_name["values"], strict=True)):
            labels = {label: of_name[f"{label}s"][i] for label in ("subject", "field") if f"{label}s" in of_name}
            labels |= {} if is_share else {"is_correct": "not defined for this metric"}
            said = _texts(metric, answers.get("questions", {}).get(id_), outputs.get(id_))
            yield {
                **link,
                "sample_id": id_,
                "interaction_type": "single_turn",
                **said,
                "evaluation": {"score": value, "is_correct": is_share and value == 1},
                "metadata": {**labels, **of_seed, **said["metadata"]},
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


def _scored_texts(scores: Mapping[str, Mapping], systems: Mapping[str, Mapping]) -> dict[str, Mapping[str, Mapping]]:
    """{"RAG/held out": {id: answer}}: what was scored under each "exact_match/RAG/held out", and other metrics of it.

    The name of a system alone does not tell, as it answers several sets of questions, or with other passages. So it
    must have been right as often as scored on each question, and that under one score alone.
    """
    exact = {name.partition("/")[2]: of_name for name, of_name in scores.items() if name.startswith("exact_match/")}
    found = {}
    for system, given in systems.items():
        of_system = [rest for rest in exact if system in (rest, rest.partition("/")[0]) and _agree(exact[rest], given)]
        if len(of_system) == 1:
            found[of_system[0]] = given
    return found


def _agree(scored: Mapping[str, Any], given: Mapping[str, Mapping]) -> bool:
    pairs = zip(scored["ids"], scored["values"], strict=True)
    return all(id_ in given and math.isclose(given[id_]["right"], value, abs_tol=1e-9) for id_, value in pairs)
