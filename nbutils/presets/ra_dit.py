"""03_ra_dit: retrieval-augmented dual instruction tuning (Lin et al. 2023)."""

from dataclasses import dataclass, replace

from nbutils.errors import InputError
from nbutils.presets.sources import EMBEDDED, WIKIPEDIA, Sources
from nbutils.presets.sources import PARAMETERS as OF_SOURCES
from nbutils.training import TrainingSettings


@dataclass(frozen=True)
class RaDit:
    """The sizes of 03_ra_dit. Raises InputError for batches of RA-IT that hold a part of a question's instances."""

    sources: Sources  # the question encoder is trained, the passage encoder in one ablation only
    n_train: int | None  # examples that instruction tuning draws from; None = all
    n_questions: int | None  # test questions; None = all
    n_retrieval: int | None  # test questions on which recall is measured; None = all
    n_few: int  # test questions with solved examples, with concatenated and with wrong passages
    n_claims: int  # test claims, where the data set has them
    n_preference: int  # test questions whose passages the language models rank
    n_examples: int  # solved examples in a few-shot prompt
    n_choices: int  # options of a question without passages
    n_docs: int  # k of RA-IT, one instance a passage
    n_candidates: int  # passages from which R-ft learns
    n_docs_eval: tuple[int, ...]  # two k at test, rising
    n_seeds: int
    sft_order: tuple[str, ...]  # tasks of successive batches, over and over; those the data set lacks are left out
    sft: TrainingSettings  # RA-IT and IT; a batch has n_docs instances of each question
    retriever: TrainingSettings  # R-ft; a batch of queries
    both_encoders: TrainingSettings  # of the ablation in which the passage encoder learns too
    n_lsr_questions: int  # task data of R-ft
    n_lsr_chunks: int  # passages that teach R-ft by their second halves
    max_words_chunk: int  # of a passage's first and of its last words, where they teach R-ft
    corpus_share: float  # of these in R-ft's mix
    lsr_temperature: float  # tau: p_LSR is the softmax of probabilities divided by it
    temperature: float  # p_R is the softmax of the inner products divided by it
    max_new_tokens: int  # length limit of an answer
    max_words_long: int  # to which long answers are cut for tuning

    def __post_init__(self) -> None:
        if self.sft.batch_size % self.n_docs:
            raise InputError(f"sft.batch_size = {self.sft.batch_size}: give a multiple of n_docs = {self.n_docs}")


# Every other batch is questions; the others have claims, long answers, their own passage, or none.
INSTRUCTIONS = (
    "questions", "reading", "questions", "verification", "questions", "closed-book", "questions", "long-form",
)  # fmt: skip

_RETRIEVER = TrainingSettings(
    n_steps=32,
    batch_size=16,
    encoder_learning_rate=3e-5,
    shuffle=False,
    warmup_steps=4,
    batch_tokens=4_096,
)
_TINY = RaDit(
    sources=EMBEDDED,
    n_train=None,
    n_questions=200,
    n_retrieval=800,
    n_few=32,
    n_claims=36,
    n_preference=16,
    n_examples=5,
    n_choices=4,
    n_docs=3,
    n_candidates=6,
    n_docs_eval=(1, 2),
    n_seeds=2,
    sft_order=INSTRUCTIONS,
    sft=TrainingSettings(
        n_steps=28,
        batch_size=9,
        learning_rate=3e-4,
        shuffle=False,
        warmup_steps=4,
        lora_rank=16,
        lora_layers=6,
        batch_tokens=4_096,
    ),
    retriever=_RETRIEVER,
    both_encoders=replace(_RETRIEVER, n_steps=8, batch_size=4),
    n_lsr_questions=80,
    n_lsr_chunks=80,
    max_words_chunk=25,
    corpus_share=0.0,  # with the temperature and the rate chosen on the dev split, where the paper's 0.95 did harm
    lsr_temperature=0.01,
    temperature=0.02,  # MiniLM's inner products are cosines
    max_new_tokens=10,
    max_words_long=30,
)

_RETRIEVER_GPU = TrainingSettings(
    n_steps=400,
    batch_size=64,
    encoder_learning_rate=1e-5,
    shuffle=False,
    warmup_steps=50,
    batch_tokens=16_384,
)
# Sized by arithmetic for one 80 GB GPU and four hours, not measured on one.
_GPU = replace(
    _TINY,
    sources=WIKIPEDIA,
    n_train=40_000,
    n_candidates=10,
    n_few=500,
    n_claims=500,
    n_preference=200,
    n_questions=1_000,
    n_retrieval=1_000,
    n_docs_eval=(1, 10),
    n_seeds=1,
    sft=TrainingSettings(
        n_steps=500,
        batch_size=63,  # of 21 questions; 64 in the paper
        learning_rate=1e-4,
        shuffle=False,
        warmup_steps=50,
        lora_rank=16,
        batch_tokens=16_384,
    ),
    retriever=_RETRIEVER_GPU,
    both_encoders=replace(_RETRIEVER_GPU, batch_size=16),
    n_lsr_questions=2_000,
    n_lsr_chunks=4_000,
    max_words_chunk=40,  # about 50 tokens
    corpus_share=0.95,
    temperature=1.0,
    max_new_tokens=16,
    max_words_long=60,
)

PARAMETERS = OF_SOURCES | {"tuning_steps": ("sft.n_steps",), "retriever_steps": ("retriever.n_steps",)}

PRESETS = {
    "smoke": replace(
        _TINY,
        sources=replace(_TINY.sources, n_countries=12),
        n_questions=4,
        n_retrieval=12,
        n_few=3,
        n_claims=3,
        n_preference=2,
        n_examples=2,
        n_choices=2,
        n_docs=2,
        n_candidates=3,
        n_docs_eval=(1, 2),
        n_seeds=1,
        sft=replace(_TINY.sft, n_steps=3, batch_size=2, warmup_steps=1, lora_rank=4, lora_layers=2),
        retriever=replace(_TINY.retriever, n_steps=3, batch_size=4, warmup_steps=1),
        both_encoders=replace(_TINY.both_encoders, n_steps=2, batch_size=1, warmup_steps=1),
        n_lsr_questions=4,
        n_lsr_chunks=2,
        max_new_tokens=4,
    ),
    "tiny": _TINY,
    "gpu": _GPU,
    # Numbers of the paper's appendix: full fine-tuning of LLaMA on 64 GPUs (here an 8B with all weights; the 65B
    # needs sharding that this package does not have), 900k chunks and 286k task examples for R-ft. Of the 20
    # instruction data sets those are here that the hub gives as questions with answers.
    "paper": replace(
        _GPU,
        sources=replace(
            WIKIPEDIA, generator="meta-llama/Llama-3.1-8B", quantize=None, index="IVF65536,SQ8", n_passages=None
        ),
        n_train=None,
        n_questions=None,
        n_few=1_000,
        sft=replace(
            _GPU.sft,
            batch_size=126,  # of 42 questions; 128 in the paper
            learning_rate=1e-5,
            lora_rank=None,
            warmup_steps=200,
        ),
        retriever=replace(
            _GPU.retriever,
            n_steps=1_850,  # one pass over 900k chunks and 5 % task data, 512 a step
            batch_size=512,
            warmup_steps=200,
        ),
        both_encoders=replace(_GPU.both_encoders, batch_size=128, warmup_steps=200),
        n_lsr_questions=286_000,
        n_lsr_chunks=900_000,
    ),
}
