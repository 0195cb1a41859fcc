"""The command line of PinLab: the application, and what becomes of a command that goes wrong.

Results go to stdout, all else to stderr. What a command needs is imported where it is used, so
that asking for help does not wait for it.
"""

from collections.abc import Sequence

from cyclopts import App, CycloptsError

from experiments.cli.telling import complaint
from experiments.errors import InputError
from experiments.threads import one_blas_thread


def _version() -> str:
    from importlib.metadata import version

    return version("pinlab")


app = App(
    name="pinlab",
    help="Which way of publishing page tables survives a Xen PV hypervisor, and what does it cost?",
    help_format="plaintext",
    version=_version,
    suppress_keyboard_interrupt=False,
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, ``sys.argv`` by default, and return the exit status."""
    one_blas_thread()
    try:
        return app(arguments) or 0
    except (InputError, CycloptsError) as error:
        return complaint(str(error), status=2)
    except KeyboardInterrupt:
        return complaint("interrupted", status=130)
    except TypeError as error:
        from sim.effects import NotAnEffect

        if not isinstance(error, NotAnEffect):
            raise
        # A strategy of the user's own has yielded it, whatever ran the strategy.
        return complaint(str(error), status=2)
