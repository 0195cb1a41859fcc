"""Say what words and console lines mean."""

from typing import Annotated

from cyclopts import Parameter

from experiments.cli.app import app
from experiments.cli.options import DEFAULTS, Common, Flag
from experiments.cli.telling import emit_json, emit_table


@app.command
def decode(
    *words: Annotated[str, Parameter(metavar="WORD-OR-LINE", allow_leading_hyphen=True)],
    xen: str | None = None,
    count_info: Flag = False,
    common: Common = DEFAULTS,
) -> int:
    """Say what a word or a line of Xen's console means, and what usually causes it.

    Parameters
    ----------
    words
        A type_info word in hexadecimal, a console line in quotes, or - for a log on stdin.
    xen
        The version that it comes from: 4.1, 4.2dev, 4.17 or master.
    count_info
        Words are count_info words.
    """
    from experiments.decoding.document import decode as decode_all
    from experiments.decoding.tables import decode_table

    document = decode_all(words, xen=xen, count_info=count_info)
    if common.json:
        emit_json(document)
    else:
        emit_table(lambda _: decode_table(document))
    return 0
