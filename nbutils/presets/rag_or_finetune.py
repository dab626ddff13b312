"""08_rag_or_finetune: five systems on the same questions; also the sizes of `python -m nbutils pilot` (tiny)."""

from dataclasses import dataclass, replace

from nbutils.presets.sources import EMBEDDED, WIKIPEDIA, Sources
from nbutils.presets.sources import PARAMETERS as OF_SOURCES
from nbutils.training import TrainingSettings


@dataclass(frozen=True)
class RagOrFinetune:
    """The sizes of 08_rag_or_finetune and of the pilot."""

    sources: Sources  # the question encoder is tuned in one system, the passage encoder never; a decoder-only generator
    n_questions: int  # test questions of the main comparison
    n_dev: int  # dev questions on which the loss is followed while readers are trained
    evaluate_every: int  # steps
    n_train: int  # training questions, the same for every system
    n_curve: tuple[int, ...]  # smaller training sets of the learning curve, rising
    n_probe: int  # questions of a smaller probe: style, trained facts, wrong passages, nobody's answers
    n_offices: int  # offices whose holder changed; Factbook only
    n_texts: int  # unrelated texts on which forgetting is measured
    n_timed: int  # prompts that are read, and questions that are answered, to measure time
    n_examples: int  # solved examples that the untuned generator is shown
    n_docs: int  # passages a question
    n_candidates: int  # passages a question from which the retriever learns
    n_seeds: int
    sft: TrainingSettings  # of the generator, closed-book or on passages
    offices: TrainingSettings  # of the generator on the offices of one year
    retriever: TrainingSettings
    lsr_temperature: float
    temperature: float  # p(z|x) is the softmax of the inner products divided by it
    max_new_tokens: int  # length limit of an answer
    max_new_tokens_style: int  # length limit of an answer in the wanted form


_SFT = TrainingSettings(
    n_steps=32,
    batch_size=8,
    learning_rate=3e-4,
    warmup_steps=4,
    lora_rank=16,
    lora_layers=6,
    batch_tokens=4_096,
)
_TINY = RagOrFinetune(
    sources=EMBEDDED,
    n_questions=200,
    n_dev=64,
    evaluate_every=8,
    n_train=256,
    n_curve=(64,),
    n_probe=60,
    n_offices=100,
    n_texts=24,
    n_timed=8,
    n_examples=3,
    n_docs=2,
    n_candidates=4,
    n_seeds=3,
    sft=_SFT,
    offices=replace(_SFT, n_steps=48),
    retriever=replace(_SFT, n_steps=40, batch_size=16, encoder_learning_rate=3e-5),
    lsr_temperature=0.01,
    temperature=0.02,  # as in 03
    max_new_tokens=10,
    max_new_tokens_style=16,
)
_SMOKE_TRAINING = {"n_steps": 2, "batch_size": 2, "warmup_steps": 1, "lora_rank": 4, "lora_layers": 2}

_SFT_GPU = TrainingSettings(
    n_steps=400,
    batch_size=32,
    learning_rate=1e-4,
    warmup_steps=40,
    lora_rank=16,
    batch_tokens=16_384,
)
# Sized by arithmetic for one 80 GB GPU and four hours, not measured on one.
_GPU = replace(
    _TINY,
    sources=WIKIPEDIA,
    n_questions=1_000,
    n_dev=500,
    evaluate_every=50,
    n_train=4_000,
    n_curve=(16, 64, 256, 1_000),
    n_probe=500,
    n_docs=5,
    n_candidates=10,
    n_seeds=1,
    sft=_SFT_GPU,
    offices=replace(_SFT_GPU, n_steps=48),
    retriever=replace(_SFT_GPU, batch_size=64, encoder_learning_rate=1e-5),
    temperature=1.0,
    max_new_tokens=16,
    max_new_tokens_style=22,
)

PARAMETERS = OF_SOURCES | {"tuning_steps": ("sft.n_steps",)}

PRESETS = {
    "smoke": replace(
        _TINY,
        sources=replace(_TINY.sources, n_countries=12),
        n_questions=4,
        n_dev=2,
        evaluate_every=1,
        n_train=8,
        n_curve=(4,),
        n_probe=2,
        n_offices=2,
        n_texts=3,
        n_timed=1,
        n_examples=2,
        n_docs=2,
        n_candidates=2,
        n_seeds=1,
        sft=replace(_TINY.sft, **_SMOKE_TRAINING),
        offices=replace(_TINY.offices, **_SMOKE_TRAINING),
        retriever=replace(_TINY.retriever, **_SMOKE_TRAINING),
        max_new_tokens=4,
        max_new_tokens_style=10,
    ),
    "tiny": _TINY,
    "gpu": _GPU,
    # No work prescribes these: the guides have no numbers. All of NQ's questions, the largest model that one GPU
    # trains in 4 bits, and the whole of Wikipedia.
    "paper": replace(
        _GPU,
        sources=replace(WIKIPEDIA, generator="meta-llama/Llama-3.1-8B", index="IVF65536,SQ8", n_passages=None),
        n_questions=3_610,
        n_train=40_000,
        n_curve=(16, 64, 256, 1_000, 4_000),
        n_docs=10,
        n_seeds=3,
        sft=replace(_GPU.sft, n_steps=2_500),
    ),
}
