/*
 * R3: a new entry of the kernel's half is put into a pgd that is being pinned.
 *
 * The same race as models/races/r03_sync_vs_pin.py, written down once more for another checker,
 * which shares no code with the simulator: CPUs that execute programs, each with a pgd of its own
 * to pin, and one that adds memory to the direct map and copies the new L4 entry into every pgd on
 * pgd_list. Sources: Xen 4.17 mm.c (page_lock, _get_page_type, _put_page_type, do_mmu_update);
 * Linux xen_pgd_pin, sync_global_pgds_l4; commit 617d34d9e5d8.
 *
 *     spin -a -DFIX=0 r03_sync_vs_pin.pml && cc -DSAFETY -o pan pan.c && ./pan
 *     spin -t -p -DFIX=0 r03_sync_vs_pin.pml         # the order that failed, step by step
 *
 * FIX          1: who changes a listed pgd takes its mm's page_table_lock, inside pgd_lock
 * VCPUS        one adds memory, the others execute programs
 * XEN_FLUSHES  0: Xen forgets to flush when a page that was writable becomes a table
 * LOOK_FOR     only this failure is an error: D1, D2_PIN, D2_UPDATE or UNSEEN
 *
 * A statement is a step that other CPUs can come between, and so is what stands in `atomic`.
 * Left out: the tables below the pgd, user mode's pgd (it has no entry of the kernel's half), and
 * unpinning.
 */

#ifndef FIX
#define FIX 1
#endif
#ifndef VCPUS
#define VCPUS 2
#endif
#ifndef XEN_FLUSHES
#define XEN_FLUSHES 1
#endif

#define PGDS (VCPUS - 1)

/* -- what can go wrong: the first failure counts, and the search goes on ------------------------ */

mtype = {
	NOTHING,
	D1,         /* a store faults: the page is read-only, and no L1 that Xen would emulate it to */
	D2_PIN,     /* the pin is refused: the page is in use as another type */
	D2_UPDATE,  /* the mmu_update is refused: the page is neither a table yet nor ordinary memory */
	UNSEEN      /* a plain store changes a table that Xen has checked */
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

/* -- the pgds ----------------------------------------------------------------------------------- */

mtype = { WRITABLE, L4 };

typedef Pgd {
	bool entry;            /* the new entry of the kernel's half is there ... */
	bool counted;          /* ... and Xen holds the L3 that it leads to */

	bool leaf_writable;    /* the page's leaf in the direct map */
	bool loaded;           /* the adder's TLB has that leaf, as it was when it was writable */

	mtype type;            /* Xen's type_info; the direct map's leaf is the one writable use */
	byte count;
	bool validated;
	bool locked;           /* page_lock: a bit of the word, which also counts as a use */
	bool pinned;
	bool checked;          /* Xen has looked at the entries, or is about to */

	bool flag;             /* Linux's PG_pinned */
	bool page_table_lock   /* that of the pgd's mm */
};
Pgd pgd[PGDS];

bool pgd_lock;

#define take(lock) atomic { !lock -> lock = true }
#define give(lock) lock = false

/* -- Xen ---------------------------------------------------------------------------------------- */

/* Waits for the bit; is refused where the page is not validated as anything that is in use. */
inline page_lock(p, got)
{
	atomic {
		!pgd[p].locked ->
		if
		:: pgd[p].validated && pgd[p].count > 0 ->
			pgd[p].locked = true; pgd[p].count++; got = true
		:: else -> got = false
		fi
	}
}

inline page_unlock(p)
{
	atomic { pgd[p].locked = false; pgd[p].count-- }
}

/* The last use but one is not dropped while somebody holds the page lock. */
inline put_page_type(p)
{
	atomic { !(pgd[p].locked && pgd[p].count == 2) -> pgd[p].count-- }
}

/* update_va_mapping(RO): first the leaf is written, then its writable use of the page goes. */
inline map_read_only(p)
{
	pgd[p].leaf_writable = false;
	put_page_type(p)
}

/* PIN_L4_TABLE: the type changes only while the count is zero. It is published first (XSA-401),
 * then translations from before go, and then the entries are checked. */
inline pin_l4_table(p)
{
	if
	:: atomic { pgd[p].count == 0 ->
			pgd[p].type = L4; pgd[p].count = 1; pgd[p].validated = false }
#if XEN_FLUSHES
		pgd[p].loaded = false;
#endif
		atomic { pgd[p].checked = true; pgd[p].counted = pgd[p].entry };
		pgd[p].validated = true;
		pgd[p].pinned = true
	:: atomic { pgd[p].count > 0 -> fails(D2_PIN) }
	fi
}

/* mmu_update: a checked change of a table, or a raw store to an ordinary page. What cannot be
 * locked is neither, unless it can be had as writable for the moment of the store. */
inline mmu_update(p)
{
	page_lock(p, got);
	if
	:: got ->
		if
		:: pgd[p].type == L4 ->
			pgd[p].counted = true;
			pgd[p].entry = true
		:: else -> pgd[p].entry = true
		fi;
		page_unlock(p)
	:: else ->
		if
		:: atomic { pgd[p].type == WRITABLE -> pgd[p].count++ }
			pgd[p].entry = true;
			put_page_type(p)
		:: atomic { pgd[p].type == L4 -> fails(D2_UPDATE) }
		fi
	fi
}

/* The fault of a store through a read-only leaf. Only stores to an L1 are made for the guest, so
 * a pgd is locked and looked at, and that is all. */
inline emulate(p)
{
	page_lock(p, got);
	if
	:: got -> page_unlock(p)
	:: else
	fi
}

/* -- the guest's store -------------------------------------------------------------------------- */

inline plain_store(p)
{
	pgd[p].entry = true;
	if
	:: pgd[p].checked -> fails(UNSEEN)
	:: else
	fi
}

/* Direct, by the leaf or by what the TLB still has of it; or a fault of the kernel's. */
inline store(p)
{
	if
	:: atomic { pgd[p].leaf_writable -> pgd[p].loaded = true; plain_store(p) }
	:: atomic { !pgd[p].leaf_writable && pgd[p].loaded -> plain_store(p) }
	:: atomic { !pgd[p].leaf_writable -> pgd[p].loaded = false }
		emulate(p);
		fails(D1)  /* nothing makes the leaf writable again: an oops */
	fi
}

/* -- the CPUs ----------------------------------------------------------------------------------- */

/* xen_pgd_pin, from exec. The flag is set when the calls are queued, before Xen hears of them. */
proctype executes(byte me)
{
	take(pgd[me].page_table_lock);
	pgd[me].flag = true;
	map_read_only(me);
	pin_l4_table(me);
	give(pgd[me].page_table_lock)
}

/* sync_global_pgds: every pgd is on the list from its allocation on. */
proctype adds_memory()
{
	byte p;
	bool got;

	take(pgd_lock);
	do
	:: p < PGDS ->
#if FIX
		take(pgd[p].page_table_lock);
#endif
		if
		:: atomic { !pgd[p].flag -> skip }
			store(p)
		:: atomic { pgd[p].flag -> skip }
			mmu_update(p)
		fi;
#if FIX
		give(pgd[p].page_table_lock);
#endif
		p++
	:: else -> break
	od;
	give(pgd_lock)
}

init
{
	byte p;

	atomic {
		do
		:: p < PGDS ->
			pgd[p].leaf_writable = true;
			pgd[p].type = WRITABLE;
			pgd[p].count = 1;
			pgd[p].validated = true;
			if  /* whether that CPU has stored to the page before */
			:: pgd[p].loaded = true
			:: skip
			fi;
			run executes(p);
			p++
		:: else -> break
		od;
		run adds_memory()
	}
	/* All have ended. If nothing failed, each pgd is pinned and has the entry, and Xen knows it. */
	_nr_pr == 1;
	p = 0;
	do
	:: p < PGDS ->
		assert(failure != NOTHING || (pgd[p].pinned && pgd[p].validated && pgd[p].type == L4
			&& pgd[p].count == 1 && !pgd[p].locked && pgd[p].entry && pgd[p].counted));
		p++
	:: else -> break
	od
}
