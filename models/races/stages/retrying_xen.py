"""The stage of X2 and X4: Xen looks again when a type is in flux, and the kernel takes no lock.

Source: Xen fda843e7c0ba (2010), reverted two days later by 4c4d34b390e7, which gives two reasons.
The kernel is as Xen's own were then: it changes a pgd by hypercall whether it is pinned or not.
"""

from models.linux.run.all_pgds import sync_global_pgds
from models.linux.run.pgd_sync import LATE_SLOTS, add_kernel_slot
from models.linux.run.process import begin_exec
from models.races.race import Fix, Stage, pause
from sim.effects import Activity

RETRIES = (("update_retries", 3),)
"""A few times: how often it was is not known, and no number would do."""
GUEST_LOCK = Fix(
    "sync_takes_page_table_lock",
    "the kernel's own lock: the mm's page_table_lock is taken before its pgd is changed",
    ("617d34d9e5d8",),
)
LIMITS = "The number of tries is a guess; the tests show that more of them change nothing."


def prepare_new(stage: Stage) -> Activity:
    """A new program that is not pinned yet, and an entry that its pgd does not have."""
    stage.mms["new"] = yield from begin_exec(stage.cpu(0), "new")
    yield from add_kernel_slot(stage.cpu(0), LATE_SLOTS[0])


def syncs(stage: Stage, number: int) -> Activity:
    """vmalloc_sync_all() on a CPU: the new entry is copied into every pgd."""
    yield from pause()
    locks = stage.kernel.fixes.sync_takes_page_table_lock
    yield from sync_global_pgds(
        stage.cpu(number), LATE_SLOTS[0], takes_page_table_lock=locks, always_asks_xen=True
    )
