"""06_survey: kNN-LM (Khandelwal et al. 2020) and the places where knowledge enters (Li et al. 2022)."""

from dataclasses import dataclass, replace

from nbutils.errors import InputError
from nbutils.presets.sources import EMBEDDED, Sources
from nbutils.presets.sources import PARAMETERS as SHARED
from nbutils.training import TrainingSettings

# No encoder: the language model makes the keys.
PARAMETERS = {name: SHARED[name] for name in ("dataset", "generator")} | {"train_steps": ("sft.n_steps",)}


@dataclass(frozen=True)
class Survey:
    """The sizes of 06_survey. Raises InputError for shares of more than all, and windows too short."""

    sources: Sources  # text of a domain, and the language model
    other_dataset: str | None  # text that the language model knows better; None: left out
    n_tokens: int  # of a window
    n_dev: int  # documents of the domain on which settings are chosen
    n_windows: int  # of each training document, for the datastore
    n_test_windows: int  # of each dev and test document
    n_other_windows: int  # of each training document of the other text
    n_other_test_windows: int  # of each of its dev and test documents
    train_every: int  # the language model is trained on every so many-th window of the datastore
    n_seeds: int  # of that training
    sft: TrainingSettings
    little: TrainingSettings  # the same on less text, with one seed
    n_curve: int  # dev windows whose loss is measured while the model learns
    ks: tuple[int, ...]  # neighbors, compared
    temperatures: tuple[float, ...]  # in units of the median distance to the nearest key of dev tokens
    lambdas: tuple[float, ...]
    fractions: tuple[float, ...]  # of the datastore's windows, compared; one is a tenth
    cache_lambdas: tuple[float, ...]  # of the continuous cache
    orders: tuple[int, ...]  # of n-grams, compared
    n_piece: int  # tokens of a window that are predicted after one retrieval
    n_query_tokens: int  # of the text before them, by which passages are found
    n_docs: int  # passages of which the predictions are averaged
    n_passage_tokens: int  # that are read of each
    tau: float  # temperature of p(z|x)
    n_dev_questions: int  # of each kind, on which the lambda of answers is chosen
    n_questions: int  # of each kind, answered
    n_solved: int  # solved questions before each
    answer_lambdas: tuple[float, ...]  # compared by the answers that match
    max_new_tokens: int  # of an answer
    index: str  # faiss's description of the approximate index
    n_probes: tuple[int, ...]  # its lists that are looked into, compared

    def __post_init__(self) -> None:
        if max(self.lambdas) + max(self.cache_lambdas) >= 1:
            raise InputError(
                "lambdas and cache_lambdas may reach 1 together: nothing of the language model would be left"
            )
        if self.n_piece >= self.n_tokens:
            raise InputError(
                f"n_tokens = {self.n_tokens}: no piece of {self.n_piece} tokens has text before it, take more"
            )
        if 0.1 not in self.fractions or not 0 < min(self.fractions) <= max(self.fractions) == 1:
            raise InputError("fractions of the datastore: give numbers above 0, with 0.1 and 1 among them")


# On the dev countries 1e-3 taught more in 16 steps than a datastore of the same text lowered the loss.
_SFT = TrainingSettings(
    n_steps=20, batch_size=2, learning_rate=1e-3, warmup_steps=2, lora_rank=16, batch_tokens=2048, evaluate_every=10
)

_TINY = Survey(
    sources=EMBEDDED,
    other_dataset="squadshifts-wiki",
    n_tokens=256,
    n_dev=29,
    n_windows=2,
    n_test_windows=1,
    n_other_windows=16,
    n_other_test_windows=2,
    train_every=6,
    n_seeds=3,
    sft=_SFT,
    little=replace(_SFT, n_steps=5, warmup_steps=1, evaluate_every=5),
    n_curve=4,
    ks=(1, 8, 64, 256, 1024),
    temperatures=(0.1, 0.2, 0.3, 0.5, 1.0),
    lambdas=(0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    fractions=(0.01, 0.03, 0.1, 0.3, 1.0),
    cache_lambdas=(0.01, 0.05, 0.1, 0.15),
    orders=(3, 5, 7),
    n_piece=64,
    n_query_tokens=32,
    n_docs=2,
    n_passage_tokens=96,
    tau=0.05,  # that of 01: MiniLM's vectors have length 1
    n_dev_questions=40,
    n_questions=100,
    n_solved=4,
    answer_lambdas=(0.2, 0.3, 0.4),
    max_new_tokens=10,
    index="IVF256,PQ64",
    n_probes=(1, 8, 32),
)

# Sized by arithmetic for one 80 GB GPU and four hours, not measured on one.
_GPU = replace(
    _TINY,
    sources=replace(EMBEDDED, generator="meta-llama/Llama-3.2-1B"),
    n_tokens=512,
    n_windows=4,
    n_test_windows=2,
    n_other_windows=40,
    n_other_test_windows=4,
    train_every=4,
    sft=replace(_SFT, n_steps=100, batch_size=16, learning_rate=2e-4, warmup_steps=10, batch_tokens=16_384),
    little=replace(_SFT, n_steps=25, batch_size=16, learning_rate=2e-4, warmup_steps=5, batch_tokens=16_384),
    n_curve=16,
    n_docs=3,
    n_dev_questions=200,
    n_questions=600,
    index="IVF1024,PQ64",
)

PRESETS = {
    "smoke": replace(
        _TINY,
        sources=replace(EMBEDDED, n_countries=12),
        other_dataset=None,
        n_tokens=32,
        n_windows=1,
        train_every=2,
        n_seeds=2,
        sft=replace(_SFT, n_steps=2, batch_size=2, warmup_steps=1, lora_rank=4, lora_layers=2, evaluate_every=1),
        little=replace(_SFT, n_steps=2, batch_size=1, warmup_steps=1, lora_rank=4, lora_layers=2, evaluate_every=1),
        n_curve=2,
        ks=(8, 32),
        temperatures=(0.3, 1.0),
        lambdas=(0.05, 0.4),
        fractions=(0.1, 1.0),
        cache_lambdas=(0.1,),
        orders=(2,),
        n_piece=16,
        n_query_tokens=8,
        n_docs=2,
        n_passage_tokens=16,
        n_dev_questions=3,
        n_questions=5,
        n_solved=1,
        answer_lambdas=(0.2, 0.5),
        max_new_tokens=4,
        index="IVF2,SQ8",
        n_probes=(1, 2),
    ),
    "tiny": _TINY,
    "gpu": _GPU,
    "paper": replace(
        _GPU,
        sources=replace(EMBEDDED, generator="meta-llama/Llama-3.1-8B", quantize="nf4"),
        index="IVF4096,PQ64",
        n_probes=(32,),
    ),
}
