"""Decoding: what words and console lines are told to mean."""

import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console as Page

from experiments.cli import main
from experiments.decoding.console_lines import recognise
from experiments.decoding.document import decode
from experiments.decoding.explanations import BAD_TYPES, EXPLANATIONS
from experiments.decoding.tables import decode_table
from experiments.decoding.words import (
    _ENTRY_FLAGS,
    count_flags,
    entry_flags,
    page_state_mask,
    read_count_info,
    read_type_info,
    type_flags,
    unpacked_flags,
)
from experiments.errors import InputError
from models.machine.entries import ADDRESS_MASK, FLAGS_MASK, RW, flags24
from models.xen.console import Console, c_hex
from models.xen.versions.abi import Abi, find_abi, profile_names

BAD_TYPE = (
    "mm.c:2466:d0 Bad type (saw 7400000000000001 != exp 1000000000000000) for mfn b1d89 (pfn bacf7)"
)
PINNING = "mm.c:3027:d0 Error while pinning mfn b1d89"

WORDS = st.integers(0, (1 << 64) - 1)
VERSIONS = [find_abi(name) for name in profile_names()]
MESSAGES = [(abi, name) for abi in VERSIONS for name in abi.text]
DOMAINS = {"4.17": ["d0", "d[IO]", "NULL"], "4.2dev": ["ffff830700001000", "0000000000000000"]}

every_version = pytest.mark.parametrize("abi", VERSIONS, ids=profile_names())


def decoded(*arguments: str, xen: str | None = None, count_info: bool = False) -> dict[str, Any]:
    """The only item that the arguments give."""
    (item,) = decode(arguments, xen=xen, count_info=count_info)["items"]
    assert isinstance(item, dict)
    return item


def values_of(line: str) -> dict[str, str]:
    """What the values of a console line are told to mean."""
    return {value["name"]: value["meaning"] for value in decoded(line)["values"]}


def printed(abi: Abi, name: str, number: int = 0x102, domain: str = "") -> tuple[str, str]:
    """A message as a debug build prints it, all its numbers the same; and the owners' text."""
    owner = domain or DOMAINS["4.17" if abi.names_vcpu else "4.2dev"][0]
    numbers = (
        *("mfn", "pfn", "saw", "want", "entry", "flags", "count_info", "type_info", "entry_va"),
        *("va", "size", "error", "command", "slot", "rc", "domid", "owner", "pg_owner", "number"),
        *("real_owner", "other", "domain_va"),
    )
    arguments: dict[str, object] = dict.fromkeys(numbers, number)
    arguments |= {"hex_slot": c_hex(number), "wanted_text": owner, "owner_text": owner}
    console = Console(abi, domid=0, debug=True)
    console.say(1, name, **arguments)
    return console.lines[0].text, owner


@pytest.mark.parametrize(
    ("xen", "word", "state"),
    [
        ("4.1", "7400000000000001", "mapped writable once"),
        ("4.17", "e400000000000003", "mapped writable 3 times"),
        ("4.2dev", "7400000000000000", "formerly writable, now unmapped"),
        ("4.2dev", "1c00000000000001", "pinned L1, idle"),
        ("4.17", "2c00000000000001", "pinned L1, idle"),
        ("master", "2400000000000001", "validated L1, used once, not pinned"),
        ("4.1", "4c00000000000002", "pinned L4, used once beside the pin"),
        ("4.1", "1c80000000000002", "pinned L1, idle, locked for a change"),
        ("4.17", "3400000000000002", "validated L1, used once, not pinned, locked for a change"),
        ("4.1", "1000000000000000", "formerly L1, now free"),
        ("4.17", "2000000000000001", "being validated as L1"),
        ("4.1", "2100000000000001", "partially validated L2"),
        ("4.17", "4100000000000001", "partially validated L2"),
        ("4.1", "5400000000000002", "in use for segment descriptors twice"),
        ("4.17", "0", "untyped, without typed references"),
        ("4.1", "e400000000000001", "of a type that this version does not have"),
    ],
)
def test_state_of_a_page_is_told_in_words(xen: str, word: str, state: str) -> None:
    """The words that are seen in practice have names."""
    assert [state] == [reading["state"] for reading in decoded(word, xen=xen)["readings"]]


def test_word_is_taken_to_pieces() -> None:
    """Type, flags and count, as they lie in the version's word."""
    (reading,) = decoded("0xe480000000000002", xen="4.17")["readings"]

    expected = ("writable_page", ["validated", "non_coherent"], 2)
    assert expected == (reading["type"], reading["flags"], reading["count"])


def test_word_of_one_layout_is_said_to_be_that() -> None:
    """With three bits of type it would be a locked table that nobody counts."""
    item = decoded("7400000000000001")

    assert (["4.1", "4.2dev"], 1) == (item["only_in"], len(item["readings"]))


def test_word_of_two_layouts_is_read_in_both() -> None:
    """A pinned L2 in 2011 is a pinned L1 today."""
    item = decoded("2c00000000000001")

    expected = [
        (["4.1", "4.2dev"], "pinned L2, idle"),
        (["4.17", "master"], "pinned L1, idle"),
    ]
    assert expected == [(reading["xen"], reading["state"]) for reading in item["readings"]]


def test_word_of_another_version_than_named_is_doubted() -> None:
    """The user may have named the wrong version, and is told which one fits."""
    item = decoded("7400000000000001", xen="4.17")

    expected = ["a locked page is validated and has a count of two or more"]
    assert (["4.1", "4.2dev"], expected) == (item["only_in"], item["readings"][0]["doubts"])


@pytest.mark.parametrize(
    ("word", "versions", "state"),
    [
        ("8000000000000003", profile_names(), "in use, 3 references"),
        ("8c00000000000000", ["4.17"], "free, nobody's page"),
        ("0e00000000000000", ["master"], "free, nobody's page"),
        ("0", profile_names(), "not allocated"),
    ],
)
def test_count_info_tells_references_and_whether_a_page_is_free(
    word: str, versions: list[str], state: str
) -> None:
    """Where its bits lie differs from version to version."""
    readings = decoded(word, count_info=True)["readings"]

    assert [state] == [r["state"] for r in readings if set(versions) <= set(r["xen"])]


@every_version
@given(word=WORDS)
def test_fields_of_a_type_word_give_the_word_again(abi: Abi, word: int) -> None:
    """No bit is left out and none belongs to two fields."""
    reading = read_type_info(abi, word)
    fields = dict(reading.fields)

    parts = [fields["kind"], fields["count"], *(type_flags(abi)[name] for name in reading.flags)]
    assert word == sum(int(part) for part in parts)


@every_version
@given(word=WORDS)
def test_fields_of_a_count_word_give_the_word_again(abi: Abi, word: int) -> None:
    """The state of the page, its caching, the count and the flags."""
    reading = read_count_info(abi, word)
    fields = dict(reading.fields)

    states = ["in use", "offlining", "offlined", "free"]
    state, caching = page_state_mask(abi), abi.cache_attributes
    parts = [
        states.index(str(fields["page_state"])) * (state & -state),
        int(fields.get("cache_attributes", 0)) * (caching & -caching),
        int(fields["count"]),
        *(count_flags(abi)[name] for name in reading.flags),
    ]
    assert word == sum(parts)


@given(entry=WORDS)
def test_flags_of_an_entry_give_the_entry_again(entry: int) -> None:
    """The frame number has the rest of the bits, the flags as Xen prints them none."""
    flags = sum(_ENTRY_FLAGS[name] for name in entry_flags(entry))

    assert entry == flags | entry & ADDRESS_MASK
    assert entry & FLAGS_MASK == unpacked_flags(flags24(entry))


@every_version
def test_every_message_is_explained(abi: Abi) -> None:
    """A message that is added needs its cause and its remedy."""
    assert set() == set(abi.text) - set(EXPLANATIONS)


def test_nothing_is_explained_that_no_version_prints() -> None:
    """A message that goes takes its explanation along."""
    assert set() == set(EXPLANATIONS) - {name for _, name in MESSAGES}


@every_version
@settings(deadline=None)
@given(data=st.data())
def test_message_gives_its_arguments_back(abi: Abi, data: st.DataObject) -> None:
    """Any line that the simulated console prints is recognised for what it is."""
    name = data.draw(st.sampled_from(list(abi.text)))
    number = data.draw(st.integers(0, (1 << 63) - 1))
    domain = data.draw(st.sampled_from(DOMAINS["4.17" if abi.names_vcpu else "4.2dev"]))
    text, owner = printed(abi, name, number, domain)

    line = recognise(f"(XEN) {text}", VERSIONS)

    assert line is not None
    assert (abi.name, name) in [(s.abi.name, s.name) for s in line.sightings]
    values = {v.value for s in line.sightings if s.name == name for v in s.arguments.values()}
    assert values <= {number, owner}


@pytest.mark.parametrize(("abi", "name"), MESSAGES, ids=lambda p: getattr(p, "name", p))
def test_every_message_is_decoded(abi: Abi, name: str) -> None:
    """Its place names the message; what it says is a sentence about its arguments."""
    item = decoded(printed(abi, name)[0])

    explanations = {text["message"]: text for text in item["explanations"]}
    assert abi.name in item["xen"]
    assert "{" not in explanations[name]["says"]
    if item["identified_by"] == "place":
        assert [name] == list(explanations)


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "mm.c:2466:d0 ",
        "(XEN) mm.c:2466:d0 ",
        "(XEN) [2011-05-12 09:00:01] mm.c:2466:d0 ",
        "[ 1.2] (XEN) ",
        "> (XEN) ",
        "d0v1 ",
    ],
)
def test_what_stands_before_the_text_does_not_matter(prefix: str) -> None:
    """Serial consoles, xl dmesg and mails put different things before a line."""
    item = decoded(f"{prefix}{BAD_TYPE.partition(' ')[2]}")

    assert "4.2dev" in item["xen"]
    assert ["bad_type"] == [text["message"] for text in item["explanations"]]


@pytest.mark.parametrize(
    ("line", "versions", "reason"),
    [
        (BAD_TYPE, ["4.2dev"], "place"),
        (BAD_TYPE.replace("2466", "2424"), ["4.1"], "place"),
        (BAD_TYPE.replace("2466", "2467"), ["4.1", "4.2dev"], "text and words"),
        (BAD_TYPE.partition(" ")[2], ["4.1", "4.2dev"], "text and words"),
        ("Error while pinning mfn b1d89", ["4.1", "4.2dev"], "text"),
        ("Multicall reentry is disallowed.", profile_names(), "text"),
        ("Error -22 while pinning mfn b1d89", ["4.17", "master"], "text"),
        ("arch/x86/mm.c:3585:d0v0 Error -22 while pinning mfn b1d89", ["master"], "place"),
    ],
)
def test_place_text_or_words_tell_the_version(line: str, versions: list[str], reason: str) -> None:
    """A line number names one build; without it, what is printed narrows the choice."""
    item = decoded(line)

    assert (versions, reason) == (item["xen"], item["identified_by"])


def test_line_of_2011_says_what_happened() -> None:
    """The page was still mapped writable when it was pinned."""
    (explanation,) = decoded(BAD_TYPE)["explanations"]

    expected = (
        "Page b1d89 (pfn bacf7) was to be used as an L1 page table, but was found so: mapped "
        "writable once."
    )
    cause, remedy = BAD_TYPES["writable_page", "table"]
    assert (expected, cause, remedy) == (
        explanation["says"],
        explanation["cause"],
        explanation["remedy"],
    )


def test_table_that_is_mapped_writable_has_another_cause() -> None:
    """Here the page is the table, and the mapping is what is refused."""
    line = BAD_TYPE.replace("saw 74", "saw 1c").replace("exp 1", "exp 7")

    assert BAD_TYPES["table", "writable_page"][0] == decoded(line)["explanations"][0]["cause"]


def test_line_that_two_functions_print_has_both_explanations() -> None:
    """Without its place, the flags may have been refused in a table or in a request."""
    messages = [text["message"] for text in decoded("Bad L2 flags 198")["explanations"]]

    assert ["bad_flags_l2", "update_bad_flags_l2"] == messages


def test_values_of_an_l1_entry_are_named() -> None:
    """The entry's flags are spelt out, and a pfn that was never set is none."""
    values = values_of(
        "mm.c:907:d16 Error getting mfn 4b8 (pfn 5555555555555555) from L1 entry "
        "80100000004b8067 for l1e_owner=0, pg_owner=32753"
    )

    expected = {
        "mfn": "machine address 0x4b8000",
        "pfn": "none: its machine-to-physical entry was never set",
        "entry": "frame 4b8: PRESENT RW USER ACCESSED DIRTY GUEST_KERNEL NX",
        "owner": "domain 0",
        "pg_owner": "DOMID_IO",
    }
    assert expected == values


@pytest.mark.parametrize(
    ("line", "name", "meaning"),
    [
        ("Bad L1 flags 400080", "flags", "PAT GRANT"),
        ("Bad L2 flags 80", "flags", "PSE"),
        ("Error -16 while pinning mfn 01234", "rc", "-EBUSY"),
        ("Unhandled: vec 14, #PF[0003]", "error", "present, write"),
        ("Failure in alloc_l1_table: entry 258", "slot", "entry 258 of 512, at offset 0x810"),
        (f"Error mfn 00123: rd=d0 od=NULL caf=00000000 taf={0:016x}", "owner_text", "no owner"),
    ],
)
def test_numbers_have_their_names(line: str, name: str, meaning: str) -> None:
    """Flags, error numbers, error codes and slots are what the field calls them."""
    assert meaning in values_of(line)[name]


def test_argument_printed_twice_keeps_both_values() -> None:
    """The address of the fault and that of the access may differ."""
    line = "ptwr_emulate: bad access (cr2=ffff880000000000, addr=ffff880000000003, bytes=8)"

    values = {value["name"]: value["value"] for value in decoded(line)["values"]}
    assert ("ffff880000000000", "ffff880000000003") == (values["va"], values["va_2"])


def test_lines_of_a_log_that_say_nothing_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log is pasted whole, whatever bytes are in it."""
    log = b"Linux version 2.6.39\n(XEN) " + BAD_TYPE.encode() + b"\n\xff\n\n" + PINNING.encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(log)))

    document = decode(["-"], xen=None, count_info=False)

    lines = [f"(XEN) {BAD_TYPE}", PINNING]
    assert (lines, 2) == ([item["line"] for item in document["items"]], document["passed_over"])


def test_line_that_a_mail_has_wrapped_is_one_line() -> None:
    """Also behind the marks of a quotation."""
    wrapped = BAD_TYPE.replace("exp ", "exp\n> ")

    assert BAD_TYPE == decoded(f"> {wrapped}")["line"]


def test_line_without_quotes_is_one_line() -> None:
    """A shell makes an argument of each of its words."""
    assert PINNING == decoded(*PINNING.split())["line"]


def test_line_that_comes_again_is_counted() -> None:
    """Consoles repeat themselves."""
    assert decoded(PINNING, PINNING)["times"] == 2


def test_words_and_lines_may_be_mixed() -> None:
    """Each argument is decoded for itself."""
    document = decode([BAD_TYPE, "7400000000000001"], xen="4.2dev", count_info=False)

    assert ["line", "word"] == [item["kind"] for item in document["items"]]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "nothing to decode: give a word, a console line in quotes, or - for stdin"),
        (["74g0"], "'74g0' is neither a word of hexadecimal digits nor a console line"),
        (["17400000000000001"], "17400000000000001 has more than 64 bits"),
        (["1", "--xen", "4.3"], "no Xen version '4.3'; there are 4.1, 4.2dev, 4.17, master"),
        (["1", "--xn", "4.1"], "Unknown option: --xn; see pinlab decode --help"),
        (
            ["Bad tip"],
            "'Bad tip' is no line that the MMU of Xen 4.1, 4.2dev, 4.17, master prints",
        ),
        (
            ["a b\nc d"],
            "none of the 2 lines is a line that the MMU of Xen 4.1, 4.2dev, 4.17, master prints",
        ),
        (
            [PINNING, "--xen", "4.17"],
            (
                f"'{PINNING}' is no line that the MMU of Xen 4.17 prints; it is known from Xen "
                "4.2dev"
            ),
        ),
        ([" "], "there is no line to decode"),
    ],
)
def test_what_cannot_be_decoded_is_one_line_on_stderr(
    capsys: pytest.CaptureFixture[str], arguments: Sequence[str], complaint: str
) -> None:
    """It says what was wrong with the first thing that nobody understands."""
    status = main(["decode", *arguments])

    assert (2, "", f"pinlab: {complaint}\n") == (status, *capsys.readouterr())


def test_nothing_recognised_is_an_input_error() -> None:
    """Callers in Python get the same answer as users."""
    with pytest.raises(InputError, match="is no line that the MMU"):
        decode(["no such line"], xen=None, count_info=False)


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    """The schema says how to read it."""
    status = main(["decode", BAD_TYPE, "--json"])

    document = json.loads(capsys.readouterr().out)
    assert (0, "pinlab.decode/1", 0) == (status, document["schema"], document["passed_over"])


def test_no_line_is_wider_than_the_page_but_xens_own() -> None:
    """All explanations fit 100 columns; what Xen printed stays whole."""
    texts = [printed(abi, name)[0] for abi, name in MESSAGES]
    document = decode([*texts, "7400000000000001", "2c00000000000001"], xen=None, count_info=False)
    buffer = io.StringIO()
    Page(file=buffer, width=100, highlight=False).print(decode_table(document), crop=False)

    shown = [line.rstrip() for line in buffer.getvalue().splitlines()]
    assert set(texts) <= set(shown)
    assert [] == [line for line in shown if len(line) > 100 and line not in texts]


def test_same_reason_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    """In a long log the second line of a kind is short."""
    main(["decode", BAD_TYPE, BAD_TYPE.replace("b1d89", "b1d8a")])

    output = capsys.readouterr().out
    assert (1, 1) == (output.count("  remedy  "), output.count("cause and remedy: as above"))


def test_line_number_that_is_not_known_is_said_to_be_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A patched build prints the same text from elsewhere; the user may want to know."""
    main(["decode", BAD_TYPE.replace("2466", "2470")])

    assert "though none prints it at mm.c:2470" in capsys.readouterr().out


def test_brackets_in_a_line_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    """What stands in a log is shown as it is, not taken for a style."""
    main(["decode", f"Error mfn 00123: rd=d0 od=d[red] caf={0:08x} taf={0:016x}"])

    assert "od   d[red]  " in capsys.readouterr().out


def test_rw_is_among_the_flags_of_a_writable_entry() -> None:
    """The flag that all this is about has its usual name."""
    assert ["RW"] == entry_flags(RW)
