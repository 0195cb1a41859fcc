"""What goes wrong through the user's input, as opposed to a fault of the program."""


class InputError(ValueError):
    """Input that cannot be used.

    The message is one line for the user: where it is, what is wrong, what would be right. The
    command line prints it without a traceback and exits with status 2.
    """
