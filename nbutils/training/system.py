"""What every training returns, and what answers are asked of."""

from dataclasses import dataclass, field

from nbutils.models import Encoder, Generator
from nbutils.retrieval import DenseIndex
from nbutils.training.settings import History


@dataclass(frozen=True)
class System:
    """A generator, the two encoders of its retriever, the index that they search, and the history of the training.

    None stands for what takes no part. `history` has one value a step under each name; evaluations on dev examples
    have their own, `dev_...`, each beside the steps that were done by then, `dev_step`.
    """

    generator: Generator | None = None
    question_encoder: Encoder | None = None
    passage_encoder: Encoder | None = None
    index: DenseIndex | None = None
    history: History = field(default_factory=dict)
