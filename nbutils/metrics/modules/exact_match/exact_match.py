"""Exact match of SQuAD (Rajpurkar et al. 2016): 1 where the normalized prediction equals a normalized answer.

By rule "published" answers are normalized as SQuAD's script does; by "own data" as `text.comparable` says.
"""

import datasets
import evaluate

from nbutils.metrics import check_answers, comparison


class ExactMatch(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description="predictions: list of strings; references: for each one, the list of accepted answers.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
            ),
        )

    def _compute(self, predictions, references, rule="published"):
        """{"exact_match": mean over examples, "scores": one 0.0 or 1.0 per example}."""
        check_answers(predictions, references)
        normalize = comparison(rule)
        scores = [
            float(normalize(prediction) in {normalize(answer) for answer in answers})
            for prediction, answers in zip(predictions, references, strict=True)
        ]
        return {"exact_match": sum(scores) / len(scores), "scores": scores}
