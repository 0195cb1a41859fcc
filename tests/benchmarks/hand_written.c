/*
 * A boot as hand_written.py does it, a word at a time: what the machine itself needs for the work.
 *
 *     hand_written GIB       prints the seconds of CPU
 *
 * For each 2 MiB: look at the frame of the table and map it writable for a while, fill its 512 leaves
 * and draw a cost for each, check each leaf's flags and its frame's owner, reference count and type,
 * write both words of the frame, draw a cost for each, make the table an L1, and enter it into its
 * L2. Costs come out of tables of equally probable quantiles of a lognormal distribution.
 *
 * As there: no events, no effects, no versions, strategies, holes, messages, locks or records; any
 * surprise ends the program.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ENTRIES = 512, QUANTILE_BITS = 12, QUANTILES = 1 << QUANTILE_BITS };

static const uint64_t PRESENT = 1, RW = 2, BAD = 0x98, FLAGS = 1ull << 63 | 0x63;
static const uint64_t WRITABLE = 7ull << 60 | 1ull << 58, L1 = 1ull << 60 | 1ull << 58;
static const uint64_t USES = (1 << 24) - 1, REFERENCES = (1ull << 54) - 1;

static uint64_t *type_info, *count_info;
static uint32_t *stamp;
static uint16_t *owner;
static uint32_t store_cost[QUANTILES], check_cost[QUANTILES];
static uint64_t chance = 0x9e3779b97f4a7c15ull;

struct counters {
    uint64_t ptwr, invlpg, update_va_mapping, pin, mmu_update, validated;
};

static void give_up(const char *why)
{
    fprintf(stderr, "%s\n", why);
    exit(1);
}

static void *zeroed(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (!memory)
        give_up("too little memory");
    return memory;
}

/* The standard normal quantile of p, by halving an interval. */
static double normal_quantile(double p)
{
    double low = -9, high = 9;
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        if (erfc(-middle / sqrt(2)) / 2 < p)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* In 1/1024 ns. */
static void fill_costs(uint32_t *costs, double mean, double sigma)
{
    for (int i = 0; i < QUANTILES; i++) {
        double z = normal_quantile((i + 0.5) / QUANTILES);
        costs[i] = (uint32_t)lround(1024 * mean * exp(sigma * z - sigma * sigma / 2));
    }
}

/* Marsaglia's xorshift (2003): 64 bits, of which each call yields five draws. */
static inline uint64_t random_bits(void)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return chance;
}

static uint64_t draws(const uint32_t *costs, int units)
{
    uint64_t sum = 0, bits = 0;
    for (int i = 0; i < units; i++) {
        if (i % 5 == 0)
            bits = random_bits();
        sum += costs[bits & (QUANTILES - 1)];
        bits >>= QUANTILE_BITS;
    }
    return sum;
}

static void validate(uint64_t *leaves, uint64_t frames)
{
    for (int slot = 0; slot < ENTRIES; slot++) {
        uint64_t leaf = leaves[slot];
        if (!(leaf & PRESENT) || leaf & BAD)
            give_up("flags that no leaf has");
        uint64_t frame = leaf >> 12 & ((1ull << 40) - 1);
        if (frame >= frames || owner[frame] != 1)
            give_up("a frame is somebody else's");
        uint64_t count = count_info[frame];
        if (!(count & REFERENCES) || (count & REFERENCES) == REFERENCES)
            give_up("a reference too many");
        if (leaf & RW) {
            uint64_t type = type_info[frame];
            if ((type & ~USES) != WRITABLE) {
                if (type & USES)
                    give_up("a frame has another type");
                type = WRITABLE;
            }
            type_info[frame] = type + 1;
        }
        count_info[frame] = count + 1;
        leaves[slot] = leaf | 0x104;
    }
}

int main(int argc, char **argv)
{
    long gib = argc > 1 ? atol(argv[1]) : 64;
    uint64_t regions = (uint64_t)gib << 9, frames = regions * ENTRIES + regions;
    uint64_t time_spent = 0;
    uint32_t clock_now = 1;
    struct counters counters = {0};

    type_info = zeroed(frames, sizeof *type_info);
    count_info = zeroed(frames, sizeof *count_info);
    stamp = zeroed(frames, sizeof *stamp);
    owner = zeroed(frames, sizeof *owner);
    uint64_t *tables = zeroed(regions * ENTRIES, sizeof *tables);
    uint64_t *l2s = zeroed(regions, sizeof *l2s);
    fill_costs(store_cost, 5.8, 0.3);
    fill_costs(check_cost, 40.0, 0.42);
    for (uint64_t frame = 0; frame < frames; frame++) {
        count_info[frame] = 1ull << 63 | 1;
        owner[frame] = 1;
    }

    for (uint64_t region = 0; region < regions; region++) {
        uint64_t table = regions * ENTRIES + region, *leaves = tables + region * ENTRIES;

        if (owner[table] != 1 || type_info[table] & USES)
            give_up("the page is in use");
        type_info[table] = WRITABLE + 1;
        count_info[table]++;
        counters.ptwr++;
        counters.invlpg++;

        for (uint64_t slot = 0; slot < ENTRIES; slot++)
            leaves[slot] = (region * ENTRIES + slot) << 12 | FLAGS;
        time_spent += draws(store_cost, ENTRIES);

        type_info[table]--;
        count_info[table]--;
        stamp[table] = clock_now;
        counters.update_va_mapping++;
        counters.invlpg++;

        validate(leaves, frames);
        time_spent += draws(check_cost, ENTRIES);
        if (type_info[table] & USES)
            give_up("the table is mapped writable");
        type_info[table] = L1 + 1;
        count_info[table]++;
        clock_now++;
        counters.pin++;
        counters.validated += ENTRIES;

        type_info[table]++;
        count_info[table]++;
        l2s[region] = table << 12 | 0x67;
        counters.mmu_update++;
    }

    /* Both are looked at, so that no compiler leaves their work out. */
    if (counters.validated != regions * ENTRIES || !time_spent || !l2s[regions - 1])
        give_up("not every entry was validated");
    printf("%.6f\n", (double)clock() / CLOCKS_PER_SEC);
    return 0;
}
