"""07_hybrid_search: keyword, vector, hybrid and re-ranked retrieval (Microsoft 2023)."""

from dataclasses import dataclass, replace

from nbutils.errors import InputError
from nbutils.presets.learning import READING
from nbutils.presets.sources import EMBEDDED, Sources
from nbutils.presets.sources import PARAMETERS as PARAMETERS
from nbutils.training import TrainingSettings


@dataclass(frozen=True)
class HybridSearch:
    """The sizes of 07_hybrid_search. Raises InputError for a depth or a budget that the experiments need more of."""

    sources: Sources  # the first corpus; one encoder for questions and passages
    human_dataset: str | None  # questions that people asked, the second corpus; None: left out
    reranker: str | None  # a larger encoder, or a cross-encoder; None: left out
    reranker_kind: str  # bi-encoder | cross-encoder
    n_queries: int  # test questions of each type and corpus
    n_dev: int  # dev questions of each type and corpus, on which weights are chosen
    depth: int  # passages of each retriever that are fused, and that are re-ranked
    depths: tuple[int, ...]  # of re-ranking, compared
    rrf_ks: tuple[int, ...]  # k of RRF, compared
    n_likelihood: int  # questions of each type that query likelihood re-ranks
    likelihood_depth: int  # passages of each
    n_chunk_questions: int  # whose answers are looked for in chunks of documents
    chunk_sizes: tuple[int, ...]  # tokens
    budgets: tuple[int, ...]  # tokens that may be read, rising
    n_answered: int  # questions answered from the first passage
    n_several: int  # of these, answered from several passages
    ks_answered: tuple[int, ...]  # passages that it reads of each
    n_reader_dev: int  # dev questions of the reader's learning curve
    sft: TrainingSettings  # the reader learns to read, as in 03
    max_new_tokens: int  # length limit of an answer

    def __post_init__(self) -> None:
        if max(*self.depths, *self.ks_answered, self.likelihood_depth) > self.depth:
            raise InputError(f"depth = {self.depth}: some experiment re-ranks or reads more passages than that")
        if min(self.budgets) < max(self.chunk_sizes):  # or large chunks would lose by construction
            raise InputError(
                f"a budget of {min(self.budgets)} tokens holds no chunk of {max(self.chunk_sizes)}: raise it"
            )


_TINY = HybridSearch(
    sources=EMBEDDED,
    human_dataset="squadshifts-wiki",
    reranker="all-mpnet-base-v2",
    reranker_kind="bi-encoder",
    n_queries=500,
    n_dev=100,
    depth=50,
    depths=(2, 5, 10, 20, 50),
    rrf_ks=(2, 10, 60),
    n_likelihood=100,
    likelihood_depth=8,
    n_chunk_questions=1_000,
    chunk_sizes=(32, 64, 128),  # MiniLM reads 128 tokens
    budgets=(128, 256, 512, 1024, 2048),
    n_answered=500,
    n_several=64,
    ks_answered=(1, 3, 5),
    n_reader_dev=32,
    sft=READING,
    max_new_tokens=10,
)

# Sized by arithmetic for one 80 GB GPU and four hours, not measured on one.
_GPU = replace(
    _TINY,
    sources=replace(
        EMBEDDED,
        dataset="rajpurkar/squad",
        question_encoder="BAAI/bge-base-en-v1.5",
        passage_encoder="BAAI/bge-base-en-v1.5",
        generator="meta-llama/Llama-3.2-1B",
    ),
    reranker="cross-encoder/ms-marco-MiniLM-L6-v2",
    reranker_kind="cross-encoder",
    n_queries=1_000,
    n_dev=500,
    n_likelihood=500,
    likelihood_depth=50,
    n_chunk_questions=2_000,
    chunk_sizes=(64, 128, 256, 512),
    budgets=(512, 1024, 2048, 4096),
    n_answered=1_000,
    n_several=500,
    sft=replace(
        READING, n_steps=500, batch_size=64, learning_rate=1e-4, warmup_steps=50, batch_tokens=16_384, evaluate_every=50
    ),
    max_new_tokens=16,
)

PRESETS = {
    "smoke": replace(
        _TINY,
        sources=replace(EMBEDDED, n_countries=12),
        human_dataset=None,
        reranker="minilm",
        n_queries=8,
        n_dev=4,
        depth=10,
        depths=(2, 5),
        n_likelihood=2,
        likelihood_depth=2,
        n_chunk_questions=6,
        chunk_sizes=(64, 128),
        budgets=(128, 256),
        n_answered=3,
        n_several=2,
        ks_answered=(1, 2),
        n_reader_dev=3,
        sft=replace(READING, n_steps=3, batch_size=2, warmup_steps=1, lora_rank=4, lora_layers=2, evaluate_every=2),
        max_new_tokens=4,
    ),
    "tiny": _TINY,
    "gpu": _GPU,
    # 21 million passages in IVF lists: exact search over so many takes seconds a question.
    "paper": replace(
        _GPU,
        sources=replace(
            _GPU.sources,
            dataset="google-research-datasets/nq_open+facebook/wiki_dpr",
            generator="meta-llama/Llama-3.1-8B",
            quantize="nf4",
            index="IVF65536,SQ8",
            search_parameters="nprobe=128",
        ),
        n_queries=3_610,
    ),
}
