"""Random bits: those of the published algorithms, and what is made of them."""

import hashlib
import struct
from collections import Counter
from itertools import islice, permutations

import pytest

from sim.bits import Bits
from sim.streams import Streams
from tests.sim import pcg64

KEYS = [(7, (0, 1, 2, 3, 4)), (2**40 + 5, (3, 9)), (0, ())]


@pytest.mark.parametrize(("seed", "key"), KEYS)
def test_words_are_those_of_the_published_generator(seed: int, key: tuple[int, ...]) -> None:
    """Seeding and generator, against both in Python's integers."""
    assert list(islice(pcg64.words(seed, key), 50)) == Bits(seed, key).words(50).tolist()


def test_stream_is_found_by_a_hash_of_its_names() -> None:
    """SHA-256 of the names with zero bytes between them; its first half tells the stream."""
    half = hashlib.sha256(b"vcpu0\0pin").digest()[:16]
    expected = pcg64.words(7, (3, *struct.unpack("<4I", half)))

    assert list(islice(expected, 5)) == Streams(7, 3).bits("vcpu0", "pin").words(5).tolist()


def test_four_numbers_of_16_bits_come_from_a_word_the_lowest_first() -> None:
    """However many are asked for at once."""
    expected = [
        word >> shift & 0xFFFF
        for word in islice(pcg64.words(7, (1,)), 4)
        for shift in (0, 16, 32, 48)
    ]
    bits = Bits(7, (1,))

    assert expected == [*bits.sixteens(4), *bits.sixteens(12)]


def test_numbers_are_the_top_of_a_word_each() -> None:
    """So is a share: its 53 highest bits, as a fraction."""
    first, second, third, _, fifth = islice(pcg64.words(7, (1,)), 5)
    bits = Bits(7, (1,))

    assert [first, second >> 4, third >> 63] == [bits.number(n) for n in (64, 60, 1)]
    assert 0 == bits.number(0)
    assert (fifth >> 11) / 2**53 == bits.share()


def test_orders_are_all_as_probable() -> None:
    """Of 24 orders each comes 1/24 of the times, within four deviations."""
    bits = Bits(7, (1,))
    seen = Counter(tuple(bits.order(4)) for _ in range(24_000))

    assert set(permutations(range(4))) == set(seen)
    assert all(abs(times - 1000) < 4 * (1000 * 23 / 24) ** 0.5 for times in seen.values())


def test_numbers_below_a_limit_are_all_as_probable() -> None:
    """Of three, a third each."""
    bits = Bits(7, (1,))
    seen = Counter(bits.below(3) for _ in range(30_000))

    assert {0, 1, 2} == set(seen)
    assert all(abs(times - 10_000) < 4 * (10_000 * 2 / 3) ** 0.5 for times in seen.values())
