"""Progress bars: for people who watch, none for a headless run."""

import os


def progress_bar(total: int, description: str):
    """A tqdm bar, used as a context manager and advanced by `update(n)`; it disappears when it is done.

    None is shown for work that is over at once, nor where tqdm's own TQDM_DISABLE is set, as the runner does: tqdm
    itself honours that variable for text bars only, and an empty widget would be saved with the notebook.
    """
    from tqdm.auto import tqdm

    headless = os.environ.get("TQDM_DISABLE", "") not in ("", "0")
    return tqdm(total=total, desc=description, leave=False, disable=headless or total < 8)
