"""Faults put in place of functions of the package, wherever they have been imported to."""

import sys


def substitute(monkeypatch, module, name, value):
    """`value` in place of `module.name` in every module of the package that holds it under that name."""
    original = getattr(module, name)
    for other_name, other in list(sys.modules.items()):
        if other_name.partition(".")[0] == "nbutils" and getattr(other, name, None) is original:
            monkeypatch.setattr(other, name, value)
