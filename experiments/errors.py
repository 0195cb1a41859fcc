"""What goes wrong through the user's input, as opposed to a fault of the program."""

from collections.abc import Sequence
from difflib import get_close_matches


class InputError(ValueError):
    """Input that cannot be used.

    The message is one line for the user: where it is, what is wrong, what would be right. The
    command line prints it without a traceback and exits with status 2.
    """


def offer(word: str, known: Sequence[str]) -> str:
    """What the user may have meant by ``word``, or else all there is."""
    nearest = get_close_matches(word, known, n=1)
    return f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}"
