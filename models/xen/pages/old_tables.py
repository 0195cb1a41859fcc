"""Tables whose teardown was put off to a continuation (since XSA-45, Xen 4.3).

Source: xen/arch/x86/mm.c, put_old_guest_table.
"""

from models.machine.frames import NOT_RAM
from models.xen.pages.page_type import put_page_type
from models.xen.pages.references import hand_over, put_page, take_over
from models.xen.state import NO_TABLE, Vcpu, Xen
from models.xen.versions.errno import ERESTART
from sim.effects import STEP, Activity


def put_off(
    xen: Xen, vcpu: Vcpu, mfn: int, *, partial: bool = False, parent: int = NOT_RAM
) -> None:
    """Leave a table to the next continuation, with the operation's references to it.

    ``partial``: its teardown has begun, so that there is only a general reference. ``parent``:
    the index of the table that had the entry for it.

    Source: mm.c:put_pt_page.
    """
    hand_over(vcpu, xen.frames.index(mfn), typed=not partial)
    vcpu.old_guest_table, vcpu.old_table_partial = mfn, partial
    vcpu.old_table_parent = parent


def finish_old_table(xen: Xen, vcpu: Vcpu) -> Activity:
    """Go on with the teardown that this vCPU owes: 0, or -ERESTART where it was interrupted.

    Source: mm.c:put_old_guest_table.
    """
    mfn, partial, parent = (
        vcpu.old_guest_table,
        vcpu.old_table_partial,
        vcpu.old_table_parent,
    )
    if mfn == NO_TABLE:
        return 0
    index = xen.frames.index(mfn)
    take_over(vcpu, index, typed=not partial)
    vcpu.old_guest_table = NO_TABLE
    rc = yield from put_page_type(
        xen, vcpu, mfn, index, preemptible=True, partial_set=partial, parent=parent
    )
    if rc:
        put_off(xen, vcpu, mfn, partial=rc == -ERESTART, parent=parent)
        return -ERESTART
    yield STEP
    put_page(xen, vcpu, index)
    return 0
