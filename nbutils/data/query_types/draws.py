"""Choices by digest: each depends on its key alone, so that a smaller sample is part of a larger one."""

from collections.abc import Sequence
from typing import TypeVar

from nbutils.files import sha256_text

Option = TypeVar("Option")


def drawn(options: Sequence[Option], *key: str) -> Option:
    """One of the options, each as likely."""
    return options[int(sha256_text(*key), 16) % len(options)]


def drawn_order(options: Sequence[Option], *key: str) -> list[Option]:
    """All options in an order, each as likely."""
    return [options[i] for i in sorted(range(len(options)), key=lambda i: sha256_text(*key, str(i)))]
