"""The one exception that means "the input is wrong", as opposed to "the code is wrong"."""


class InputError(Exception):
    """Bad input: a parameter, a file, a model, a data set.

    The message is one line that says what is wrong, where, and what to do about it.
    The command line prints it without a traceback and exits with status 2.
    """
