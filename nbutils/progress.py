"""Whether somebody watches, and progress bars for who does."""

import os


def is_headless() -> bool:
    """True where tqdm's own TQDM_DISABLE is set, as the runner does: bars and widgets would be kept in the file."""
    return os.environ.get("TQDM_DISABLE", "") not in ("", "0")


def progress_bar(total: int, description: str):
    """A tqdm bar, used as a context manager and advanced by `update(n)`; it disappears when it is done.

    None is shown for work that is over at once, nor in a headless run: tqdm itself honours TQDM_DISABLE for text bars
    only, and an empty widget would be saved with the notebook.
    """
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=description, leave=False, disable=is_headless() or total < 8)
