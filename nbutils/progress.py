"""Whether somebody watches, and progress bars for who does."""

import os
import sys


def is_headless() -> bool:
    """True where tqdm's own TQDM_DISABLE is set, as the runner does: bars and widgets would be kept in the file."""
    return os.environ.get("TQDM_DISABLE", "") not in ("", "0")


def is_watched() -> bool:
    """True in a notebook and on a terminal; a bar that is drawn again and again would fill a log."""
    return not is_headless() and ("ipykernel" in sys.modules or sys.stderr.isatty())


def progress_bar(total: int, description: str, unit: str = "it"):
    """A tqdm bar, used as a context manager and advanced by `update(n)`; it disappears when it is done.

    `unit` "B" counts bytes, and shows them in kB or MB.

    None is shown for work that is over at once, nor where nobody watches: tqdm itself honours TQDM_DISABLE for text
    bars only, and an empty widget would be saved with the notebook.
    """
    from tqdm.auto import tqdm

    hidden = total < 8 or not is_watched()
    return tqdm(total=total, desc=description, unit=unit, unit_scale=unit == "B", leave=False, disable=hidden)
