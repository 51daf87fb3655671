"""The one error that bad input raises."""


class InputError(ValueError):
    """Input or arguments are at fault: one sentence saying what, where and how to fix it.

    Raised by every package for anything a user can mend. The command line prints the message on one line of stderr
    and exits with 2; every other exception is a defect of ours (exit 1).
    """
