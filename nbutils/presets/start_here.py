"""00_start_here: retrieval and a first answer."""

from dataclasses import dataclass, replace

from nbutils.presets.sources import EMBEDDED, Sources
from nbutils.presets.sources import PARAMETERS as PARAMETERS  # an encoder may be named too


@dataclass(frozen=True)
class StartHere:
    """The sizes of 00_start_here."""

    sources: Sources  # one encoder for questions and passages
    n_retrieval: int | None  # test questions of each kind, for retrieval; None: all
    n_questions: int  # test questions that the model answers
    n_examples: int  # solved examples in a few-shot prompt
    max_new_tokens: int  # length limit of an answer


_TINY = StartHere(sources=EMBEDDED, n_retrieval=None, n_questions=200, n_examples=5, max_new_tokens=10)
_GPU = StartHere(
    sources=Sources(
        dataset="google-research-datasets/nq_open+facebook/wiki_dpr",
        question_encoder="sentence-transformers/multi-qa-mpnet-base-dot-v1",
        passage_encoder="sentence-transformers/multi-qa-mpnet-base-dot-v1",
        generator="meta-llama/Llama-3.2-1B",
        n_passages=1_000_000,
    ),
    n_retrieval=3_610,
    n_questions=1_000,
    n_examples=5,
    max_new_tokens=16,
)

PRESETS = {
    "smoke": StartHere(
        sources=replace(EMBEDDED, n_countries=12), n_retrieval=20, n_questions=8, n_examples=2, max_new_tokens=8
    ),
    "tiny": _TINY,
    "gpu": _GPU,
    "paper": replace(
        _GPU,
        sources=replace(_GPU.sources, generator="meta-llama/Llama-3.1-8B", quantize="nf4", n_passages=None),
        n_questions=3_610,
    ),
}
