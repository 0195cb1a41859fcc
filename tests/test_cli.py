"""The command from end to end, as a user's shell runs it."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from experiments.scenario.strategies import strategy_names

PINLAB = str(Path(sys.executable).with_name("pinlab"))


def pinlab(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder."""
    return subprocess.run(
        [PINLAB, *arguments], cwd=folder, text=True, capture_output=True, check=False
    )


def test_crash_is_told_by_status_1_and_one_json_document(tmp_path: Path) -> None:
    """The guest was expected to boot; what became of it instead is on stdout."""
    process = pinlab(tmp_path, "run", "dom0-2011", "--strategy", "tables-high", "--json")

    assert process.returncode == 1
    # json.loads() refuses anything before or behind the document.
    record = json.loads(process.stdout)
    assert ("pinlab.run/1", "crash") == (record["schema"], record["outcome"])
    assert record["failure"]["console"][1] == "mm.c:3027:d0 Error while pinning mfn b1d89"


def test_crash_that_was_expected_has_status_0_and_a_complete_log(tmp_path: Path) -> None:
    """The log ends with the call that was refused."""
    process = pinlab(
        tmp_path,
        *("run", "dom0-2011", "--strategy", "tables-high"),
        *("--expect", "crash", "--quiet", "--log", "calls.jsonl"),
    )

    assert (0, "") == (process.returncode, process.stderr)
    last = json.loads((tmp_path / "calls.jsonl").read_text().splitlines()[-1])
    assert ("PIN_L1_TABLE", "0xb1d89", -22) == (last["op"], last["target"], last["result"])


def test_log_in_parquet_has_a_row_for_each_hypercall(tmp_path: Path) -> None:
    """Linux 6.1 maps nothing else behind the direct map, so all rows are counted calls."""
    process = pinlab(tmp_path, "run", "dom0-256M-6.1", "--json", "--log", "calls.parquet")

    counts = json.loads(process.stdout)["counts"]
    rows = pl.read_parquet(tmp_path / "calls.parquet")
    assert counts["traps"] + counts["ptwr"] == rows.height
    assert ["calls.parquet"] == [path.name for path in tmp_path.iterdir()]


def test_main_job_shows_the_published_crash(tmp_path: Path) -> None:
    """Without arguments: the crash of 2011, with Xen's own lines under the table."""
    process = pinlab(tmp_path, "compare", "--quiet")

    assert (0, "") == (process.returncode, process.stderr)
    verdict = next(line for line in process.stdout.splitlines() if line.startswith("verdict"))
    assert ["verdict", "ok", "crash", "ok", "ok", "crash", "ok"] == verdict.split()
    assert "(XEN) mm.c:3027:d0 Error while pinning mfn b1d89" in process.stdout.splitlines()


def test_comparison_has_a_record_for_each_strategy(tmp_path: Path) -> None:
    """Each row is what `pinlab run` prints of that strategy."""
    process = pinlab(tmp_path, "compare", "guest-512M", "--json", "--seed", "7")
    alone = pinlab(
        tmp_path, "run", "guest-512M", "--strategy", "ro-window", "--json", "--seed", "7"
    )

    rows = {row["strategy"]: row for row in json.loads(process.stdout)["rows"]}
    assert (0, strategy_names()) == (process.returncode, list(rows))
    # What made them stands once in each document.
    assert json.loads(alone.stdout) | {"provenance": None} == rows["ro-window"]


@pytest.mark.parametrize("strategy", ["shadow", "auto-translated", "offline-pin"])
def test_other_ways_of_the_hypervisor_run_like_the_others(tmp_path: Path, strategy: str) -> None:
    """With a log, and all references recounted at each step."""
    process = pinlab(
        tmp_path,
        *("run", "dom0-256M-6.1", "--strategy", strategy, "--set", "machine.xen=4.2dev"),
        *("--check", "--quiet", "--json", "--log", "calls.jsonl"),
    )

    assert (0, "") == (process.returncode, process.stderr)
    record = json.loads(process.stdout)
    assert ("ok", strategy) == (record["outcome"], record["strategy"])
    assert (tmp_path / "calls.jsonl").exists()


OVERLAPPING = '[["0x0", "0x40000000"], ["0x20000000", "0x80000000"]]'
UNSORTED = '[["0x40000000", "0x80000000"], ["0x0", "0x20000000"]]'


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["dom0-2012"], "no shipped scenario 'dom0-2012'"),
        (["missing.toml"], "cannot read scenario missing.toml: No such file or directory"),
        (["guest-2G", "--set", "guest.ram=2048"], "guest.ram = 2048 has no unit"),
        (["map.toml", "--set", f"guest.e820={OVERLAPPING}"], "0x80000000) overlap"),
        (["map.toml", "--set", f"guest.e820={UNSORTED}"], "guest.e820 is not sorted"),
        (["guest-2G", "--set", "guest.ram=40MiB"], "guest is too small for its kernel"),
        (
            ["guest-2G", "--set", "machine.latency.pin_l1_per_present_pte=1s"],
            "is outside what profile nehalem-2011 allows, 20 to 150 ns",
        ),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    tmp_path: Path, arguments: Sequence[str], complaint: str
) -> None:
    """Status 2, nothing on stdout, and no log, not even an empty one."""
    (tmp_path / "map.toml").write_text("[guest]\n")

    process = pinlab(tmp_path, "run", *arguments, "--log", "calls.jsonl")

    (line,) = process.stderr.splitlines()
    assert line.startswith("pinlab: ")
    assert complaint in line
    assert (2, "") == (process.returncode, process.stdout)
    assert ["map.toml"] == [path.name for path in tmp_path.iterdir()]


def test_log_that_cannot_be_written_is_noticed_before_the_run(tmp_path: Path) -> None:
    """No time is spent on 64 GiB for a file below /dev/null."""
    process = pinlab(tmp_path, "run", "guest-64G", "--log", "/dev/null/calls.jsonl")

    expected = "pinlab: cannot write a log to /dev/null/calls.jsonl: Not a directory\n"
    assert (2, "", expected) == (process.returncode, process.stdout, process.stderr)


def test_interrupt_ends_the_run_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C is no crash: status 130, one line, and no half of a log."""
    with subprocess.Popen(
        [PINLAB, "run", "guest-64G", "--log", "calls.jsonl"],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        assert "run started" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        output, complaint = process.communicate()

    assert (130, "", "pinlab: interrupted\n") == (process.returncode, output, complaint)
    assert [] == list(tmp_path.iterdir())


def test_pasted_crash_of_2011_is_decoded(tmp_path: Path) -> None:
    """A user asks what a line on the console means, and gets an answer without a simulation."""
    line = (
        "(XEN) mm.c:2466:d0 Bad type (saw 7400000000000001 != exp 1000000000000000) "
        "for mfn b1d89 (pfn bacf7)"
    )

    process = pinlab(tmp_path, "decode", line)

    assert (0, "") == (process.returncode, process.stderr)
    assert line == process.stdout.splitlines()[0]
    assert "an L1 page table, but was found so: mapped writable once." in process.stdout


def test_decoded_word_is_one_json_document(tmp_path: Path) -> None:
    """Scripts read the fields of a word."""
    process = pinlab(tmp_path, "decode", "7400000000000001", "--xen", "4.1", "--json")

    (item,) = json.loads(process.stdout)["items"]
    (reading,) = item["readings"]
    assert ("writable_page", ["validated"], 1) == (
        reading["type"],
        reading["flags"],
        reading["count"],
    )
