"""Whose tables and whose pages a call is about.

A guest works on its own, unless it names another domain and has the right to.
Source: get_pg_owner (xen/arch/x86/mm.c; common/page_alloc.c since 4.13), the checks in
do_mmu_update, do_mmuext_op and do_update_va_mapping_otherdomain; include/xsm/dummy.h.
"""

from models.machine.frames import DOMID_IO, DOMID_XEN
from models.xen.state import Vcpu, Xen
from models.xen.versions.errno import ESRCH
from models.xen.words import DOMID_SELF
from sim.effects import Activity


def find_page_owner(xen: Xen, vcpu: Vcpu, named: int) -> Activity:
    """The domain whose pages are meant, or -ESRCH.

    Source: mm.c:get_pg_owner (common/page_alloc.c).
    """
    if named == DOMID_SELF:
        return xen.domid
    if named == xen.domid:
        yield from xen.warn(vcpu, "self_as_foreign")
        return -ESRCH
    # Early versions ask here for the right to name it, later ones where it is used.
    asks = "foreign_xen" in xen.abi.text
    if named == DOMID_XEN:
        if asks and not xen.privileged:
            yield from xen.warn(vcpu, "foreign_xen")
            return -ESRCH
    elif named != DOMID_IO:
        if named not in xen.domains:
            yield from xen.warn(vcpu, "unknown_domain", other=named)
            return -ESRCH
        if asks and not xen.privileged:
            yield from xen.warn(vcpu, "foreign_unprivileged")
            return -ESRCH
    return named


def find_table_owner(xen: Xen, named: int) -> int:
    """The domain whose tables are meant, or a negative errno. ``named`` is its id and one.

    Source: mm.c:do_mmu_update.
    """
    if not named or named - 1 == xen.domid:
        return xen.domid
    if named - 1 not in xen.domains:
        return -xen.abi.unknown_pt_owner_errno
    if "foreign_xen" in xen.abi.text and not xen.privileged:
        return -ESRCH
    return named - 1


def may_work_on(xen: Xen, *owners: int) -> bool:
    """Has the guest the right to work on these domains' pages? Asked by later versions.

    Early ones have asked already, in :func:`find_page_owner`.

    Source: include/xsm/dummy.h:xsm_mmu_update, xsm_mmuext_op, xsm_update_va_mapping.
    """
    if xen.privileged or "foreign_xen" in xen.abi.text:
        return True
    return all(owner == xen.domid for owner in owners)
