"""How a guest kernel dies."""

from typing import Literal

CrashKind = Literal["pin", "hook", "remap", "oops", "bug"]


class GuestCrash(Exception):
    """The guest kernel stops here.

    ``kind``: ``pin`` or ``remap`` (a hypercall it cannot do without was refused, BUG()),
    ``oops`` (a fault that nobody handles), ``bug`` (another BUG or panic). ``console`` holds
    what the guest prints, ``pfn`` the page in question, ``vcpu`` the number of who found out.
    """

    def __init__(
        self, kind: CrashKind, message: str, *, pfn: int | None = None, vcpu: int = 0
    ) -> None:
        super().__init__(kind, message, pfn)
        self.kind = kind
        self.message = message
        self.pfn = pfn
        self.vcpu = vcpu
        self.console: list[str] = []
        self.why = ""
        """What led to it, where the page's leaves do not tell."""
