"""What retrieval refuses, in one line, before any work."""

from nbutils.data import Passage
from nbutils.errors import InputError
from nbutils.models import Encoder, embedding_dim


def require_corpus(corpus: dict[str, Passage]) -> None:
    if not corpus:
        raise InputError("the corpus is empty: there is nothing to search")


def require_width(encoder: Encoder, width: int) -> None:
    """InputError where an index over vectors of `width` numbers is given those of an encoder that makes others."""
    made = embedding_dim(encoder)
    if made != width:
        raise InputError(
            f"{encoder.name} makes vectors of {made} numbers, the index holds {width}: "
            "take the encoder that belongs to the one that encoded the passages"
        )
