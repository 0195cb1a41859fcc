/*
 * R1: fork pins a new address space while reclaim writes to its entries.
 *
 * The same race as models/races/r01_pin_vs_rmap.py, written down once more for another checker,
 * which shares no code with the simulator: one page of the child that is to become an L1, the CPU
 * that forks, and CPUs that reclaim. Sources: Xen 4.17 mm.c (page_lock, _get_page_type,
 * _put_page_type), pv/ro-page-fault.c; Linux xen_pin_page, page_referenced_one; commit
 * 74260714c56d.
 *
 *     spin -a -DFIX=0 r01_pin_vs_rmap.pml && cc -DSAFETY -o pan pan.c && ./pan
 *     spin -t -p -DFIX=0 r01_pin_vs_rmap.pml         # the order that failed, step by step
 *
 * FIX          1: pinning holds the L1's lock from the read-only mapping to the end of the batch
 * VCPUS        one forks, the others reclaim
 * PASSES       how often each of them follows the reverse mapping, each time for another page
 * XEN_FLUSHES  0: Xen forgets to flush when a page that was writable becomes a table
 * LOOK_FOR     only this failure is an error: D1, D2 or UNSEEN
 *
 * A statement is a step that other CPUs can come between, and so is what stands in `atomic`.
 * RO and PIN may go in one multicall or in two: Xen does not stop other CPUs in either.
 */

#ifndef FIX
#define FIX 1
#endif
#ifndef VCPUS
#define VCPUS 2
#endif
#ifndef PASSES
#define PASSES 2
#endif
#ifndef XEN_FLUSHES
#define XEN_FLUSHES 1
#endif

/* -- what can go wrong: the first failure counts, and the search goes on ------------------------ */

mtype = {
	NOTHING,
	D1,     /* a store faults: the page is read-only, and no L1 that Xen would emulate it to */
	D2,     /* the pin is refused: the page is in use as another type */
	UNSEEN  /* a plain store changes a table that Xen has checked */
};
mtype failure = NOTHING;

#ifdef LOOK_FOR
#define UNWANTED (failure == LOOK_FOR)
#else
#define UNWANTED (failure != NOTHING)
#endif

inline fails(how)
{
	atomic {
		if
		:: failure == NOTHING -> failure = how; printf("failure: %e\n", failure)
		:: else
		fi;
		assert(!UNWANTED)
	}
}

/* -- the page ----------------------------------------------------------------------------------- */

bool leaf_writable = true;  /* its leaf in the direct map */
bool loaded[VCPUS];         /* this CPU's TLB has that leaf, as it was when it was writable */
bool accessed[PASSES];      /* the entries in it: reclaim clears this bit */

/* Xen's type_info of the page. The direct map's leaf is the one writable use. */
mtype = { WRITABLE, L1 };
mtype type = WRITABLE;
byte count = 1;
bool validated = true;
bool locked;                /* page_lock: a bit of the word, which also counts as a use */
bool pinned;
bool checked;               /* Xen has looked at the entries, or is about to */

/* -- Linux's locks ------------------------------------------------------------------------------ */

bool ptl;                   /* the L1's own lock */
bool rmap_lock;             /* held while the reverse mapping is followed */

#define take(lock) atomic { !lock -> lock = true }
#define give(lock) lock = false

/* -- Xen ---------------------------------------------------------------------------------------- */

/* Waits for the bit; is refused where the page is not validated as anything that is in use. */
inline page_lock(got)
{
	atomic {
		!locked ->
		if
		:: validated && count > 0 -> locked = true; count++; got = true
		:: else -> got = false
		fi
	}
}

inline page_unlock()
{
	atomic { locked = false; count-- }
}

/* update_va_mapping(RO): first the leaf is written, then its writable use of the page is dropped;
 * the last use but one is not dropped while somebody holds the page lock. */
inline map_read_only()
{
	leaf_writable = false;
	atomic { !(locked && count == 2) -> count-- }
}

/* No CPU may come with a writable translation once the entries are checked. */
inline flush_tlbs()
{
#if XEN_FLUSHES
	d_step {
		do
		:: cpu < VCPUS -> loaded[cpu] = false; cpu++
		:: else -> break
		od
	}
#else
	skip
#endif
}

/* PIN_L1_TABLE: the type changes only while the count is zero. It is published first (XSA-401),
 * then translations from before go, and then the entries are checked. */
inline pin_l1_table()
{
	if
	:: atomic { count == 0 -> type = L1; count = 1; validated = false }
		flush_tlbs();
		checked = true;
		validated = true;
		pinned = true
	:: atomic { count > 0 -> fails(D2) }
	fi
}

/* The fault of a store through a read-only leaf. Only stores to an L1 are made for the guest. */
inline emulate(slot, fixed)
{
	fixed = false;
	page_lock(fixed);
	if
	:: fixed ->
		if
		:: type == L1 -> accessed[slot] = false
		:: else -> fixed = false
		fi;
		page_unlock()
	:: else
	fi
}

/* -- the guest's store -------------------------------------------------------------------------- */

inline plain_store(slot)
{
	accessed[slot] = false;
	if
	:: checked -> fails(UNSEEN)
	:: else
	fi
}

/* Direct, by the leaf or by what the TLB still has of it; emulated; or a fault of the kernel's. */
inline store(me, slot)
{
	if
	:: atomic { leaf_writable -> loaded[me] = true; plain_store(slot) }
	:: atomic { !leaf_writable && loaded[me] -> plain_store(slot) }
	:: atomic { !leaf_writable -> loaded[me] = false }
		emulate(slot, fixed);
		if
		:: fixed
		:: else -> fails(D1)  /* nothing makes the leaf writable again: an oops */
		fi
	fi
}

/* -- the CPUs ----------------------------------------------------------------------------------- */

proctype forks()
{
	byte slot, cpu;

	/* copy_page_range. The child's area is in the reverse mapping already. That the entries are
	 * queued and written by mmu_update makes no difference: the lock is held until they are. */
	take(ptl);
	d_step {
		do
		:: slot < PASSES -> accessed[slot] = true; slot++
		:: else -> break
		od
	}
	give(ptl);

	/* xen_pin_page */
#if FIX
	take(ptl);
#endif
	map_read_only();
	pin_l1_table()
#if FIX
	;
	give(ptl)  /* the batch's callback */
#endif
}

proctype reclaims(byte me)
{
	byte pass;
	bool fixed;

	do
	:: pass < PASSES ->
		take(rmap_lock);
		take(ptl);
		if
		:: accessed[pass] -> store(me, pass)
		:: else
		fi;
		give(ptl);
		give(rmap_lock);
		pass++
	:: else -> break
	od
}

init
{
	byte vcpu = 1;

	atomic {
		run forks();
		do
		:: vcpu < VCPUS -> run reclaims(vcpu); vcpu++
		:: else -> break
		od
	}
	/* All have ended. If nothing failed, the page is an L1, and the pin is its only use. */
	_nr_pr == 1;
	assert(failure != NOTHING || (pinned && validated && type == L1 && count == 1 && !locked))
}
