"""ROUGE-L F1 (Lin 2004) by the rouge-score library: longest common subsequence of words, the best of the answers.

No stemming. rouge-score's own tokenizer keeps runs of a-z and 0-9 after lower-casing: an accented letter ends a word,
and a text in another script has no words and scores 0.
"""

import datasets
import evaluate

from nbutils.metrics import check_answers


class RougeL(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description="predictions: list of strings; references: for each one, the list of accepted answers.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
            ),
        )

    def _compute(self, predictions, references):
        """{"rouge_l": mean over examples, "scores": one F1 per example}."""
        from rouge_score.rouge_scorer import RougeScorer

        check_answers(predictions, references)
        scorer = RougeScorer(["rougeL"], use_stemmer=False)
        scores = [
            float(scorer.score_multi(answers, prediction)["rougeL"].fmeasure)
            for prediction, answers in zip(predictions, references, strict=True)
        ]
        return {"rouge_l": sum(scores) / len(scores), "scores": scores}
