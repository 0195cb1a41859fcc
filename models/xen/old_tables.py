"""Tables whose teardown was put off to a continuation (since XSA-45, Xen 4.3).

Source: xen/arch/x86/mm.c, put_old_guest_table.
"""

from models.machine.entries import INVALID_MFN
from models.xen.abi import PARTIAL
from models.xen.errno import ERESTART
from models.xen.page_type import put_page_type
from models.xen.references import put_page
from models.xen.state import Vcpu, Xen
from sim.effects import STEP, Activity


def finish_old_table(xen: Xen, vcpu: Vcpu) -> Activity:
    """Go on with the teardown that this vCPU owes: 0, or -ERESTART where it was interrupted."""
    from models.xen.validation import count_linear

    mfn = vcpu.old_guest_table
    if mfn == INVALID_MFN:
        return 0
    index = xen.frames.index(mfn)
    words = xen.frames.type_info
    if vcpu.old_table_partial and not words[index] & PARTIAL:
        rc = 0  # somebody else went on with it; only the reference is left
    else:
        parent = vcpu.old_table_parent
        linear = (
            parent != INVALID_MFN
            and xen.abi.linear_counts
            and (xen.abi.level(words[index]) == xen.abi.level(words[xen.frames.index(parent)]))
        )
        rc = yield from put_page_type(xen, vcpu, mfn, index, preemptible=True)
        if rc == 0 and linear:
            count_linear(xen, parent, mfn, -1)
    if rc:
        vcpu.old_table_partial |= rc == -ERESTART
        return -ERESTART
    vcpu.old_guest_table = vcpu.old_table_parent = INVALID_MFN
    vcpu.old_table_partial = False
    yield STEP
    put_page(xen, index)
    return 0
