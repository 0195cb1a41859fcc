"""Xen's console: what is printed, and by whom.

Source: xen/include/xen/config.h (gdprintk) of 4.1 and 4.2, xen/include/xen/lib.h of 4.6 and
later, where a release build compiles gdprintk to nothing. A release build's thresholds drop
what is at INFO level. Rate limiting is not modelled: it needs more than ten lines in five
seconds.
"""

from dataclasses import dataclass

from models.xen.versions.abi import Abi


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
    name: str = ""
    """Its name, by which versions of it are known (:mod:`models.xen.versions.messages`)."""


class Console:
    """All lines printed so far."""

    def __init__(self, abi: Abi, domid: int, *, debug: bool) -> None:
        self.lines: list[Line] = []
        self._abi = abi
        self._domid = domid
        self._debug = debug

    def say(self, vcpu: int, name: str, **arguments: object) -> bool:
        """Print a message on behalf of a guest's vCPU; False if this build does not print it."""
        message = self._abi.text[name]
        silent = message.info or (self._abi.silent_release and not message.always)
        if silent and not self._debug:
            return False
        where = f"d{self._domid}v{vcpu}" if self._abi.names_vcpu else f"d{self._domid}"
        text = message.text.format(**arguments)
        if message.line > 0:
            text = f"{message.file or self._abi.source_file}:{message.line}:{where} {text}"
        elif message.line == 0:
            text = f"{where} {text}"
        self.lines.append(Line(text, vcpu, message.info, name))
        return True
