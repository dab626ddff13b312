"""Token F1 of SQuAD (Rajpurkar et al. 2016): words shared by prediction and answer, the best of the answers.

F1 = 2 P R / (P + R) over the normalized words as a multiset. As in SQuAD 2.0's script, two texts of which one has no
word left score 1 if both have none, else 0. By rule "own data" the words are those of `text.comparable`, which are
characters where a script has no spaces.
"""

from collections import Counter

import datasets
import evaluate

from nbutils.metrics import check_answers, comparison


class TokenF1(evaluate.Metric):
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
        """{"token_f1": mean over examples, "scores": one F1 per example}."""
        check_answers(predictions, references)
        normalize = comparison(rule)
        scores = [
            max(f1(normalize(prediction).split(), normalize(answer).split()) for answer in answers)
            for prediction, answers in zip(predictions, references, strict=True)
        ]
        return {"token_f1": sum(scores) / len(scores), "scores": scores}


def f1(predicted, accepted):
    """Harmonic mean of precision and recall of two lists of words, as multisets."""
    if not predicted or not accepted:
        return float(predicted == accepted)
    shared = sum((Counter(predicted) & Counter(accepted)).values())
    return 2 * shared / (len(predicted) + len(accepted))
