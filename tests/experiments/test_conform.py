"""pinlab conform: what it says of vectors, right ones and wrong ones."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import main
from experiments.conformance.bench import differences
from experiments.conformance.vectors import load_programs
from experiments.errors import InputError
from tests.conformance.test_vectors import DATA

Vector = dict[str, Any]


def _vector(name: str = "pin_l1_while_rw_mapped", version: str = "4.17") -> Vector:
    """A vector of the tests' own data, as plain data."""
    file = json.loads(gzip.decompress((DATA / "pin.json.gz").read_bytes()))
    vectors: list[Vector] = file["vectors"]
    return next(v for v in vectors if (v["name"], v["version"]) == (name, version))


def _file(folder: Path, *vectors: Vector) -> Path:
    path = folder / "vectors.json"
    path.write_text(json.dumps({"schema": "pinlab.conformance/1", "vectors": vectors}))
    return path


def _found(folder: Path, vector: Vector) -> list[tuple[str, str]]:
    (program,) = load_programs(_file(folder, vector))
    return [(difference.where, difference.what) for difference in differences(program)]


def test_vectors_that_pass(capsys: pytest.CaptureFixture[str]) -> None:
    """One line that counts them; status 0."""
    assert 0 == main(["conform", str(DATA / "multicall.json.gz")])
    assert ("4 passed, 0 failed\n", "") == tuple(capsys.readouterr())


def test_failure_is_shown_operation_by_operation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Expected beside got, words with their meaning; status 1."""
    vector = _vector()
    vector["expect"] = [0]
    vector["after"][0]["b1d89"]["type_info"] = "2c00000000000001"

    assert 1 == main(["conform", str(_file(tmp_path, vector))])
    shown = capsys.readouterr().out
    assert "op 0: ['mmuext', ['PIN_L1', '0xb1d89']]" in shown
    assert "return code          expected  0" in shown
    assert "2c00000000000001  (L1, pinned, validated, count 1)" in shown
    assert "e400000000000001  (writable_page, validated, count 1)" in shown
    assert "0 passed, 1 failed" in shown


def test_json_names_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By operation, what was expected and what came."""
    vector = _vector()
    vector["expect"] = [0]

    assert 1 == main(["conform", "--json", str(_file(tmp_path, vector))])
    document = json.loads(capsys.readouterr().out)
    assert (0, 1) == (document["passed"], document["failed"])
    assert [
        {
            "name": "pin_l1_while_rw_mapped",
            "version": "4.17",
            "expected": {"op 0: return code": 0},
            "got": {"op 0: return code": -22},
        }
    ] == document["failures"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"done": [1]}, ("op 0", "done")),
        ({"messages": [[]]}, ("op 0", "console")),
        ({"info": [[0]]}, ("op 0", "INFO lines")),
        ({"final": {"b1d89": {"type_info": "0", "count": 3}}}, ("at the end", "mfn b1d89 count")),
        ({"final_ptes": {"b1d89": {"7": "1"}}}, ("at the end", "entry 7 of mfn b1d89")),
        ({"flushes": ["cr3:0"]}, ("at the end", "flushes")),
        ({"continuations": 5}, ("at the end", "continuations")),
    ],
)
def test_every_field_is_compared(tmp_path: Path, change: Vector, expected: tuple[str, str]) -> None:
    """And what is null is not."""
    vector = _vector()
    assert [] == _found(tmp_path, vector)
    assert expected in _found(tmp_path, vector | change)
    assert [] == _found(tmp_path, vector | dict.fromkeys(change))


def test_line_numbers_of_recordings_are_placeholders(tmp_path: Path) -> None:
    """They match any number; in other vectors they match none."""
    vector = _vector()
    lines = vector["messages"][0]
    vector["messages"] = [[line.replace(":2938:", ":<line>:") for line in lines]]

    assert [("op 0", "console")] == _found(tmp_path, vector)
    assert [] == _found(tmp_path, vector | {"origin": "real"})


def test_what_is_not_modelled_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    """SET_LDT stops the vector; nothing that comes later is claimed."""
    vector = _vector()
    vector["ops"] = [["mmuext", ["SET_LDT", "0x0"]]]

    assert [("op 0", "run")] == _found(tmp_path, vector)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"version": "5.0"},
            "there is no such version of Xen; there are 4.1, 4.2dev, 4.17, master",
        ),
        ({"expect": []}, "expect has 0 items for 1 operations"),
        (
            {
                "ops": [["pinup"]],
            },
            "there is no operation 'pinup'",
        ),
        ({"ops": [["mmuext", ["PIN_L9", "0x1"]]]}, "cannot be understood"),
        ({"ops": [["mmu_update", ["0x1", "what"]]]}, "cannot be understood"),
        ({"ops": [["guest_store", "0xb1d89", "0x200", "0x0"]]}, "a table has no slot 512"),
        ({"owner": {"b1d89": "nobody"}}, "owner 'nobody' is no domain's number"),
        ({"owner": {"77": "xen"}}, "frame 77 is not among its pages"),
        ({"frames": {"b1d89": {"type_info": "0"}}}, "lacks 'count_info'"),
        ({"m2p": {"b1d89": "1" * 17}}, "is no number of 64 bits"),
    ],
)
def test_vector_that_makes_no_sense(tmp_path: Path, change: Vector, message: str) -> None:
    """One line that names file, vector and mistake."""
    path = _file(tmp_path, _vector() | change)

    with pytest.raises(InputError, match="pin_l1_while_rw_mapped") as mistake:
        load_programs(path)
    assert message in str(mistake.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}", "missing required field"),
        (b'{"schema": "other/1", "vectors": []}', "it should be 'pinlab.conformance/1'"),
        (b"no JSON", "is no file of vectors"),
    ],
)
def test_file_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    """One line on stderr and status 2."""
    path = tmp_path / "vectors.json"
    path.write_bytes(content)

    assert 2 == main(["conform", str(path)])
    out, err = capsys.readouterr()
    assert ("", 1) == (out, err.count("\n"))
    assert message in err


def test_damaged_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A .gz that is none, or ends too early."""
    path = tmp_path / "vectors.json.gz"
    path.write_bytes((DATA / "pin.json.gz").read_bytes()[:200])

    assert 2 == main(["conform", str(path)])
    assert "is damaged" in capsys.readouterr().err
