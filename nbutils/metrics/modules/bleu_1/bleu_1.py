"""BLEU-1 (Papineni et al. 2002) by sacrebleu: clipped unigram precision times the brevity penalty, in [0, 1].

sacrebleu's BLEU with max_ngram_order=1, lowercase=True, tokenize="13a", smooth_method="none"; all answers of an example
are its references. "bleu_1" is the corpus-level score that papers report. "scores" are the same formula for each
example alone, as intervals need them: their mean is not the corpus-level score.
"""

import datasets
import evaluate

from nbutils.metrics import check_answers


class Bleu1(evaluate.Metric):
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
        """{"bleu_1": corpus-level score, "scores": one sentence-level score per example}."""
        from sacrebleu.metrics import BLEU

        check_answers(predictions, references)
        bleu = BLEU(max_ngram_order=1, lowercase=True, tokenize="13a", smooth_method="none", effective_order=True)
        # sacrebleu wants the i-th reference of every example together, and None where an example has fewer.
        width = max(len(answers) for answers in references)
        columns = [[answers[i] if i < len(answers) else None for answers in references] for i in range(width)]
        # sacrebleu takes exp(log(...)): a perfect match comes out as 100.00000000000004.
        scores = [
            min(1.0, bleu.sentence_score(prediction, answers).score / 100)
            for prediction, answers in zip(predictions, references, strict=True)
        ]
        return {"bleu_1": min(1.0, bleu.corpus_score(predictions, columns).score / 100), "scores": scores}
