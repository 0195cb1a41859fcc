"""The command line: exit statuses, what goes where, and one line for each mistake."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.errors import InputError
from experiments.record.record import Record
from experiments.scenario.scenario import scenario_hash
from experiments.subjects.boot import Boot
from experiments.subjects.on_clock import Asked
from tests.experiments.records import made_up_record

COMMAND = [
    sys.executable,
    "-c",
    "import sys; from experiments.cli import main; sys.exit(main())",
]


class MadeUpRunner:
    """In place of boots: ``tables-high`` crashes, everything else is ok."""

    def __init__(self) -> None:
        self.asked: Asked | None = None
        self.error: BaseException | None = None

    def on_clock(self, subject: Boot, asked: Asked) -> Record:
        """A made-up record; two rows for the log."""
        self.asked = asked
        if asked.log is not None:
            asked.log.append(0, 160, 0, "mmuext_op", "TLB_FLUSH_LOCAL", None, None, 1, 0)
            asked.log.append(160, 330, 0, "update_va_mapping", "", 0x1000, 0x65, 1, 0)
        if self.error is not None:
            raise self.error
        return made_up_record(
            subject.strategy,
            "crash" if subject.strategy == "tables-high" else "ok",
            scenario=subject.name,
            scenario_hash=scenario_hash(subject.scenario),
            seed=asked.seed,
        )


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> MadeUpRunner:
    """No machine is simulated in these tests."""
    runner = MadeUpRunner()

    def on_clock(subject: Boot, asked: Asked) -> Record:
        return runner.on_clock(subject, asked)

    monkeypatch.setattr(Boot, "on_clock", on_clock)
    return runner


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["frobnicate"],
            (
                'Unknown command "frobnicate". Available commands: run, replay, explore, odds, '
                "compare, sweep, list, conform, ..."
            ),
        ),
        (["run"], 'Command "run" parameter SCENARIO requires an argument.'),
        (["run", "guest-2G", "--sed", "1"], "Unknown option: --sed. Did you mean --seed?"),
        (["run", "guest-2G", "--seed", "-1"], 'Invalid value "-1" for --seed. Must be >= 0.'),
        (
            ["run", "guest-2G", "--expect", "fine"],
            'Invalid value "fine" for --expect. Choose from: "ok", "crash", "latent", "deadlock".',
        ),
        (
            ["run", "guest-2G", "--strategy", "reserve-hok"],
            "no strategy 'reserve-hok'; did you mean reserve-hook?",
        ),
        (
            ["compare", "--strategies", "tables-low,reserve-hok"],
            "no strategy 'reserve-hok'; did you mean reserve-hook?",
        ),
        (
            ["run", "guest-2G", "--set", "guest.rom=2GiB"],
            "guest-2G: unknown key guest.rom; did you mean ram?",
        ),
        (
            ["compare", "guest-2G", "--set", 'sweep.x=["1GiB"]'],
            (
                "guest-2G: describes a sweep, and this command runs one machine; leave out [sweep] "
                "and give its keys with --set"
            ),
        ),
        (
            ["run", "guest-2G", "--log", "missing/calls.jsonl"],
            "cannot write a log to missing/calls.jsonl: No such file or directory",
        ),
        (
            ["run", "guest-2G", "--log", "calls.csv"],
            "cannot write a log to calls.csv: its name ends in none of .jsonl, .parquet",
        ),
    ],
)
def test_mistake_is_one_line_on_stderr_and_status_2(
    runner: MadeUpRunner,
    capsys: pytest.CaptureFixture[str],
    arguments: Sequence[str],
    expected: str,
) -> None:
    """Neither a traceback nor a page of usage hides what is wrong."""
    status = main(arguments)

    assert (2, "", f"pinlab: {expected}\n") == (status, *capsys.readouterr())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--strategy", "reserve-hook"], 0),
        (["--strategy", "tables-high"], 1),
        (["--strategy", "tables-high", "--expect", "crash"], 0),
        (["--strategy", "reserve-hook", "--expect", "crash"], 1),
        (["--strategy", "tables-high", "--set", "expect.outcome=crash"], 0),
        (["--strategy", "reserve-hook", "--set", "expect.outcome=crash"], 1),
        (["--strategy", "reserve-hook", "--set", "expect.outcome=crash", "--expect", "ok"], 0),
    ],
)
def test_status_of_a_run_tells_whether_it_went_as_expected(
    runner: MadeUpRunner, arguments: Sequence[str], expected: int
) -> None:
    """Unless told otherwise, a guest is expected to boot."""
    assert expected == main(["run", "guest-2G", *arguments])


def test_comparison_succeeds_whatever_the_outcomes(runner: MadeUpRunner) -> None:
    """A crash is a result."""
    assert main(["compare", "--strategies", "tables-high"]) == 0


def test_run_prints_one_json_document(
    runner: MadeUpRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing but the record is on stdout, so that scripts can read it."""
    main(["run", "guest-2G", "--json", "--seed", "7"])

    assert json.loads(capsys.readouterr().out)["seed"] == 7


def test_comparison_prints_a_row_for_each_strategy(
    runner: MadeUpRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rows come in the order asked for."""
    main(["compare", "guest-2G", "--json", "--strategies", "reserve-hook,tables-high"])

    document = json.loads(capsys.readouterr().out)
    assert ("pinlab.compare/1", ["reserve-hook", "tables-high"]) == (
        document["schema"],
        [row["strategy"] for row in document["rows"]],
    )


def test_comparison_takes_all_strategies_by_default(
    runner: MadeUpRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without arguments, the main job: every strategy, by its history, on the crash of 2011."""
    main(["compare", "--json"])

    rows = json.loads(capsys.readouterr().out)["rows"]
    expected = ["tables-low", "tables-high", "ro-window", "reserve-hook"]
    expected += ["hook-walk-literal", "hook-walk", "deferred-ro", "deferred-ro-early"]
    expected += ["alloc-only", "publish-free", "tables-first", "ptwr-fill", "shadow"]
    expected += [
        "auto-translated",
        "offline-pin",
        "patch-alias",
        "mapped-only-3.10",
        "mapped-only-5.10",
        "mapped-only-6.1",
    ]
    assert [("dom0-2011", name) for name in expected] == [
        (row["scenario"], row["strategy"]) for row in rows
    ]


def test_same_arguments_print_the_same_bytes(
    runner: MadeUpRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the clock nor the order of a dictionary gets into a result."""
    main(["run", "guest-2G", "--json"])
    first = capsys.readouterr().out
    main(["run", "guest-2G", "--json"])

    assert first == capsys.readouterr().out


def test_options_of_a_run_reach_the_runner(runner: MadeUpRunner) -> None:
    """Checks and the event of each hypercall are the runner's business."""
    main(["run", "guest-2G", "--check", "--every-event", "--seed", "3"])

    assert Asked(seed=3, check=True, every_event=True) == runner.asked


def test_start_and_end_of_a_run_are_logged(
    runner: MadeUpRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody watches, the log is JSON lines."""
    main(["run", "guest-2G"])

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [("run started", None), ("run finished", "ok")] == [
        (line["event"], line.get("outcome")) for line in lines
    ]


def test_quiet_run_leaves_stderr_empty(
    runner: MadeUpRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a script does not want to see it can switch off, even when the outcome is a crash."""
    main(["run", "guest-2G", "--strategy", "tables-high", "--quiet"])

    assert not capsys.readouterr().err


def test_timing_log_has_a_line_for_each_row(runner: MadeUpRunner, tmp_path: Path) -> None:
    """The file is there when the run is over."""
    main(["run", "guest-2G", "--log", f"{tmp_path}/calls.jsonl"])

    assert len((tmp_path / "calls.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "pinlab: interrupted"),
        (InputError("no frame is left"), 2, "pinlab: no frame is left"),
    ],
)
def test_run_that_is_broken_off_leaves_no_log(
    runner: MadeUpRunner,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    error: BaseException,
    status: int,
    line: str,
) -> None:
    """One line says why, and the folder looks as before."""
    runner.error = error

    broken_off = main(["run", "guest-2G", "--quiet", "--log", f"{tmp_path}/calls.jsonl"])

    left = list(tmp_path.iterdir())
    assert (status, f"{line}\n", []) == (broken_off, capsys.readouterr().err, left)


@pytest.mark.parametrize("kind", ["strategies", "profiles", "scenarios", "parameters"])
def test_list_shows_the_same_names_to_people_and_to_scripts(
    capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """Each item is a line that begins with its name, and an object of the JSON document."""
    main(["list", kind, "--json"])
    names = [item["name"] for item in json.loads(capsys.readouterr().out)[kind]]
    main(["list", kind])

    first_words = [line.split(" ")[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [word for word in first_words if word in names]


def test_parameters_have_a_range_in_each_profile(capsys: pytest.CaptureFixture[str]) -> None:
    """What may be set for which machine can be looked up."""
    main(["list", "parameters", "--json"])

    items = json.loads(capsys.readouterr().out)["parameters"]
    costs = {item["name"]: item["costs"] for item in items}
    expected = {"value": 40, "low": 20, "high": 150}
    assert expected == costs["pin_l1_per_present_pte"]["nehalem-2011"]


def test_help_imports_nothing_heavy() -> None:
    """Asking for help does not wait for what a simulation needs."""
    code = (
        "import sys; from experiments.cli import main; main(['--help']); "
        "heavy = {'numpy', 'simpy', 'polars', 'structlog', 'msgspec'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, text=True, capture_output=True, check=False)

    assert not process.stderr


def test_reader_that_goes_away_is_no_error() -> None:
    """``pinlab list parameters | head -1`` ends as quietly as it began."""
    with subprocess.Popen(
        [*COMMAND, "list", "parameters"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read()

    assert (0, b"") == (process.returncode, complaint)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_full_disk_is_one_line() -> None:
    """A result that cannot be written is named like any other mistake."""
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [*COMMAND, "list", "scenarios"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    expected = (2, "pinlab: cannot write to stdout: No space left on device\n")
    assert expected == (process.returncode, process.stderr)
