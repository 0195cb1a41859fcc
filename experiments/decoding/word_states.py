"""What each state of a page is called, what it means, and what to expect of it.

Texts are formats: ``level`` is that of the table, ``above`` the one over it, ``times`` how often
the page is used (once, twice, 3 times) and ``user`` what one use of a table of this level is.
"""

from typing import NamedTuple


class State(NamedTuple):
    """A state that a type word can tell."""

    title: str
    meaning: str
    trouble: str
    """What usually follows from it, or goes wrong with it."""


_CHANGES_TYPE = (
    "It may become anything, page table included: a page changes its type while nothing uses it. "
    "Xen then flushes the TLBs that may still hold an old translation."
)

STATES = {
    "unused": State(
        "untyped, without typed references",
        (
            "Nobody has mapped the page writable or used it as a table since it was given to its "
            "domain, or a validation of it failed and wiped the word."
        ),
        _CHANGES_TYPE,
    ),
    "untyped": State(
        "untyped, and yet in use",
        "A PV page that is in use has a type; this word does not say which.",
        "Check that the word was copied whole, and from the right version.",
    ),
    "writable": State(
        "mapped writable {times}",
        (
            "As many entries with RW point to the page. They count wherever their table stands: "
            "also in a table that is validated and cannot be reached from any base pointer yet."
        ),
        (
            "It cannot become a page table, nor hold descriptors, while one of these entries is "
            "left: pinning or hooking it prints 'Bad type' and gives -EINVAL. Make every mapping "
            "read-only first, the direct map's included."
        ),
    ),
    "becoming_writable": State(
        "becoming writable",
        "The type is set and not yet valid: another CPU is between the two steps.",
        "It lasts for a moment; seen for long, the CPU that set it has stopped.",
    ),
    "was_writable": State(
        "formerly writable, now unmapped",
        "The last writable mapping is gone. The word keeps the old type until the next use.",
        _CHANGES_TYPE,
    ),
    "descriptors": State(
        "in use for segment descriptors {times}",
        "The page holds a part of a GDT or an LDT that a vCPU has loaded.",
        "It can neither be mapped writable nor become a page table until these are unloaded.",
    ),
    "was_descriptors": State(
        "formerly segment descriptors, now unused",
        "No vCPU uses descriptors of this page any more.",
        _CHANGES_TYPE,
    ),
    "shared": State(
        "shared copy-on-write",
        "The page belongs to the sharing of memory between domains; a PV guest never sees one.",
        "In a PV guest, look for a damaged word or for the wrong version of Xen.",
    ),
    "pinned_idle": State(
        "pinned L{level}, idle",
        "The pin alone keeps the page a page table; no entry and no base pointer uses it.",
        (
            "It cannot be mapped writable until it is unpinned. Pinning it again prints 'already "
            "pinned'. A kernel that forgets to unpin it cannot give the page back."
        ),
    ),
    "pinned": State(
        "pinned L{level}, used {times} beside the pin",
        "A use is {user}; the pin is one more reference.",
        (
            "Any writable mapping of it is refused with 'Bad type'. After UNPIN it stays a table "
            "until the last use is gone, too."
        ),
    ),
    "hooked": State(
        "validated L{level}, used {times}, not pinned",
        "A use is {user}. Nothing but these uses keeps it a page table.",
        (
            "The last use that goes takes all its entries apart, and the next one validates all "
            "of them again. Until then any writable mapping of it is refused with 'Bad type'."
        ),
    ),
    "validating": State(
        "being validated as L{level}",
        (
            "A CPU is checking its entries one by one, or is taking them apart. The count without "
            "the validated flag keeps all others out."
        ),
        (
            "Others who want the table wait until the word changes. In a message about a failed "
            "validation the word is shown as it was before being wiped."
        ),
    ),
    "partial": State(
        "partially validated L{level}",
        (
            "A validation or a teardown was interrupted half-way. The page keeps one typed and one "
            "general reference for the work that is left."
        ),
        (
            "Whoever uses the page next goes on with it, usually the same hypercall, continued. "
            "It stays like this if the guest never returns to that call."
        ),
    ),
    "was_table": State(
        "formerly L{level}, now free",
        "The page was a page table, and its entries have been given up.",
        _CHANGES_TYPE,
    ),
    "unknown": State(
        "of a type that this version does not have",
        "The type field holds a value that this version never stores.",
        "Try the other versions: the field has four bits up to Xen 4.9, three from 4.10 on.",
    ),
}

USERS = {
    1: "an L2 entry that points to it",
    2: "an L3 entry that points to it",
    3: "an L4 entry that points to it",
    4: "a base pointer (CR3), of the kernel or of user space",
}

OWNERSHIP = {
    "in use": State(
        "in use, {count} reference{s}",
        (
            "Being allocated counts as one. So does every entry that maps the page or points to it "
            "as a table, a pin, and a base pointer."
        ),
        (
            "A page whose count stays above what its mappings explain is held by somebody else: a "
            "grant, a foreign mapping, a table never torn down."
        ),
    ),
    "free": State(
        "free, nobody's page",
        "The page went back to Xen when its last reference was dropped.",
        "A guest that still names it has a stale frame number: its p2m is wrong or out of date.",
    ),
    "offlining": State(
        "going offline",
        "The page is to be taken out of use as soon as its owner gives it up.",
        "It is in use until then; it will not be given to anybody again.",
    ),
    "offlined": State(
        "offline",
        "The page has been taken out of use, as a rule because its memory failed.",
        "No domain can get it.",
    ),
    "none": State(
        "not allocated",
        "The frame is part of no domain's memory and of no allocation: Xen's own, or a hole.",
        "A guest that names it has computed a frame number from something else.",
    ),
}
"""The same for ``count_info``, by the state of the page."""
