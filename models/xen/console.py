"""Xen's console: what is printed, and by whom.

Source: xen/include/xen/config.h (gdprintk) of 4.1 and 4.2, xen/include/xen/lib.h of 4.6 and
later, where a release build compiles gdprintk to nothing. Rate limiting is not modelled: it
needs more than ten lines in five seconds.
"""

from dataclasses import dataclass

from models.xen.abi import Abi


def c_hex(value: int) -> str:
    """A number as C's ``%#x`` prints it: no prefix for zero."""
    return f"{value:#x}" if value else "0"


@dataclass(frozen=True)
class Line:
    """One console line, without the ``(XEN)`` in front."""

    text: str
    vcpu: int
    info: bool = False
    """Printed at INFO level; the others are warnings."""


class Console:
    """All lines printed so far."""

    def __init__(self, abi: Abi, domid: int, *, debug: bool) -> None:
        self.lines: list[Line] = []
        self._abi = abi
        self._domid = domid
        self._debug = debug

    def warn(self, vcpu: int, name: str, **arguments: object) -> bool:
        """Print a message on behalf of a guest's vCPU; False if this build does not print it."""
        if self._abi.silent_release and not self._debug:
            return False
        message = self._abi.text[name]
        where = self._domain(vcpu)
        prefix = f"{message.file or self._abi.source_file}:{message.line}:{where} "
        self.lines.append(Line(prefix + message.text.format(**arguments), vcpu))
        return True

    def warn_linear(self, vcpu: int, level: int) -> bool:
        """The message of the macro that makes the linear tables' functions, one a level."""
        if self._abi.silent_release and not self._debug:
            return False
        # In 4.17 the macro's line is that of its instantiation as in the versions before.
        line = self._abi.text[f"linear_l{level}"].line
        text = self._abi.text["linear_with_write_perms"].text
        self.lines.append(Line(f"{self._abi.source_file}:{line}:{self._domain(vcpu)} {text}", vcpu))
        return True

    def inform(self, vcpu: int, name: str, **arguments: object) -> bool:
        """Print an INFO message: dropped by a release build's default thresholds."""
        if not self._debug:
            return False
        message = self._abi.text[name]
        where = self._domain(vcpu)
        prefix = (
            f"{where} " if message.line == 0 else f"{self._abi.source_file}:{message.line}:{where} "
        )
        self.lines.append(Line(prefix + message.text.format(**arguments), vcpu, info=True))
        return True

    def _domain(self, vcpu: int) -> str:
        return f"d{self._domid}v{vcpu}" if self._abi.names_vcpu else f"d{self._domid}"
