"""How a run ends without results."""

import errno

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)  # the `errno` of an OSError that is nobody's mistake


class NotebookFailed(Exception):
    """A notebook that did not finish; the message is one line, with a log below only when the notebook never ran."""
