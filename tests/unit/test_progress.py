"""Who sees a progress bar."""

import sys
from types import SimpleNamespace

from nbutils import progress


def test_bars_are_for_terminals_and_notebooks(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    for on_terminal in (True, False):
        monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda on_terminal=on_terminal: on_terminal))
        assert progress.is_watched() is on_terminal
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    assert progress.is_watched()
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert progress.is_headless() and not progress.is_watched()
