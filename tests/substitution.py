"""Faults put in place of functions of the package, wherever they have been imported to."""

import inspect
import sys

from nbutils import cache


def substitute(monkeypatch, module, name, value):
    """`value` in place of `module.name` in every module of the package that holds it under that name."""
    original = getattr(module, name)
    # The keys of the cache stay those of the original. What is put back knows it already, or is it.
    is_new = not hasattr(value, "__wrapped__") and inspect.unwrap(original) is not value
    if callable(original) and callable(value) and is_new:
        monkeypatch.setattr(value, "__wrapped__", original, raising=False)
    for other_name, other in list(sys.modules.items()):
        if other_name.partition(".")[0] == "nbutils" and getattr(other, name, None) is original:
            monkeypatch.setattr(other, name, value)


def uncached(function, *arguments, **options):
    """What the function returns when nothing is read from the cache or written to it."""
    with cache.off():
        return function(*arguments, **options)
