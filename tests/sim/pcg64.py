"""numpy's bits once more, from the published algorithms, in Python's integers.

The state is hashed out of the seed by the sequence of M. E. O'Neill ("Developing a seed_seq
Alternative", 2015), as numpy.random.SeedSequence documents it; the bits are those of PCG XSL-RR
128/64 (M. E. O'Neill, "PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms
for Random Number Generation", HMC-CS-2014-0905).
"""

from collections.abc import Iterator, Sequence

_MASK32 = (1 << 32) - 1
_MASK64 = (1 << 64) - 1
_MASK128 = (1 << 128) - 1
_POOL = 4
_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645


def words(seed: int, spawn_key: Sequence[int]) -> Iterator[int]:
    """The 64-bit words of PCG64 with this seed; the seed is below 2**128."""
    entropy = [seed >> 32 * i & _MASK32 for i in range(_POOL)]
    high, low, increment_high, increment_low = _state(_pool([*entropy, *spawn_key]))
    increment = ((increment_high << 64 | increment_low) << 1 | 1) & _MASK128
    state = (increment + (high << 64 | low)) & _MASK128
    state = (state * _MULTIPLIER + increment) & _MASK128
    while True:
        state = (state * _MULTIPLIER + increment) & _MASK128
        folded = (state >> 64 ^ state) & _MASK64
        turn = state >> 122
        yield (folded >> turn | folded << (-turn & 63)) & _MASK64


def _pool(entropy: Sequence[int]) -> list[int]:
    constant = 0x43B0D7E5

    def hashed(value: int) -> int:
        nonlocal constant
        value ^= constant
        constant = constant * 0x931E8875 & _MASK32
        value = value * constant & _MASK32
        return value ^ value >> 16

    def mixed(x: int, y: int) -> int:
        result = (0xCA01F9DD * x - 0x4973F715 * y) & _MASK32
        return result ^ result >> 16

    pool = [hashed(word) for word in entropy[:_POOL]]
    for source in range(_POOL):
        for target in range(_POOL):
            if source != target:
                pool[target] = mixed(pool[target], hashed(pool[source]))
    for word in entropy[_POOL:]:
        for target in range(_POOL):
            pool[target] = mixed(pool[target], hashed(word))
    return pool


def _state(pool: Sequence[int]) -> list[int]:
    """Four words of 64 bits."""
    constant = 0x8B51F9DD
    halves = []
    for i in range(8):
        value = pool[i % _POOL] ^ constant
        constant = constant * 0x58F38DED & _MASK32
        value = value * constant & _MASK32
        halves.append(value ^ value >> 16)
    return [low | high << 32 for low, high in zip(halves[::2], halves[1::2], strict=True)]
