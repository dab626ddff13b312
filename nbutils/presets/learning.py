"""What 01 and 03 share: how a generator learns to read, and from what a retriever learns what it can use.

One recipe, so that one training and one pool of likelihoods serve both from the cache.
"""

from dataclasses import dataclass, replace

from nbutils.training import TrainingSettings


@dataclass(frozen=True)
class Pool:
    """Training questions whose candidate passages the tuned generator scores once; each retriever learns from some."""

    n_questions: int
    n_drawn: int  # of these, by each seed of a retriever
    n_candidates: int  # passages of each question, as the frozen retriever ranks them


# Chosen on the dev subjects: 1e-3 taught more than 3e-4, and all layers more than the top six.
READING = TrainingSettings(
    n_steps=64,
    batch_size=4,
    learning_rate=1e-3,
    warmup_steps=4,
    lora_rank=16,
    batch_tokens=4_096,
    evaluate_every=16,
)
# On the dev subjects three of MiniLM's six layers learned as much at 1e-4 as all at 3e-5, in half the time; more rate
# or more steps over one pool gained nothing.
RETRIEVER = TrainingSettings(n_steps=100, batch_size=32, encoder_learning_rate=1e-4, warmup_steps=4, question_layers=3)
POOL = Pool(n_questions=800, n_drawn=400, n_candidates=6)

# Sized by arithmetic for one 80 GB GPU, not measured on one.
RETRIEVER_GPU = replace(
    RETRIEVER,
    n_steps=400,
    batch_size=64,
    encoder_learning_rate=1e-5,
    warmup_steps=50,
    question_layers=None,
    batch_tokens=16_384,
)
POOL_GPU = Pool(n_questions=4_000, n_drawn=2_000, n_candidates=10)
