"""Choices without a random generator: each is a digest of a fixed seed and of what is chosen.

So a smaller data set is part of a larger one, and no choice depends on the order of others.
"""

import hashlib

SEED = "factbook-1"


def hash_hex(*parts: str) -> str:
    """64 hex digits that depend on `SEED` and the parts."""
    return hashlib.sha256(" | ".join((SEED, *parts)).encode()).hexdigest()


def hash_fraction(*parts: str) -> float:
    """A number from 0 up to 1 that depends on `SEED` and the parts."""
    return int(hash_hex(*parts)[:8], 16) / 0x100000000
