"""The diagram as SVG: the guest's column, the hypervisor's, and an arc for each conflict."""

from collections.abc import Iterator, Sequence
from textwrap import wrap
from xml.sax.saxutils import escape

from experiments.counterexamples.counterexample import Counterexample
from experiments.counterexamples.rows import Row
from sim.explore.program import Finding

_WIDTH = 1180
_TOP = 24
_LINE = 17
_PADDING = 6
_GAP = 6
_NUMBERS_X, _WINDOW_X = 84, 92
_GUEST_X, _GUEST_WIDTH = 108, 400
_XEN_X, _XEN_WIDTH = 548, 500
_ARCS_X = _XEN_X + _XEN_WIDTH + 4
_CHARACTER = 6.9
"""Width of a character of the text in boxes."""
_FILLS = ("#dbeafe", "#fef3c7", "#dcfce7", "#f3e8ff", "#ffe4e6")
_LINES = ("#1d4ed8", "#b45309", "#15803d", "#7e22ce", "#be123c")
_RED = "#c81e1e"
_STYLE = (
    "text{font-family:DejaVu Sans Mono,Menlo,Consolas,monospace;font-size:11.5px;fill:#1f2937}"
    ".title{font-size:15px;font-weight:bold}.head{font-size:13px;font-weight:bold}"
    ".dim{fill:#6b7280}.red{fill:#c81e1e;font-weight:bold}.bold{font-weight:bold}"
)


def svg(found: Counterexample) -> str:
    """The picture of a counterexample."""
    return picture(found.explored.title, found.cause, found.rows, found.finding)


def picture(title: str, text: str, rows: Sequence[Row], finding: Finding) -> str:
    """Title, text, rows, and what they lead to."""
    parts: list[str] = []
    y: float = _TOP + 4
    parts.append(_text(24, y, title, "title"))
    for line in wrap(text, 158):
        y += _LINE
        parts.append(_text(24, y, line))
    y += 2 * _LINE + 4
    on_clock = any(row.time_ns is not None for row in rows)
    parts += [
        _text(_NUMBERS_X, y, "time" if on_clock else "step", "dim", anchor="end"),
        _text(_GUEST_X, y, "guest", "head"),
        _text(_XEN_X, y, "hypervisor", "head"),
    ]
    y += _GAP
    top = y
    places: dict[str, list[float]] = {}
    before: int | None = None
    body: list[str] = []
    for row in rows:
        if row.vcpu != before:
            y += _switch(body, row, y, begins=before is None)
        before = row.vcpu
        y += _row(body, row, y, places) + _GAP
    parts += [
        f'<line x1="{x}" y1="{top}" x2="{x}" y2="{y}" stroke="#e5e7eb"/>'
        for x in (_GUEST_X - 8, _XEN_X - 20)
    ]
    parts += body
    parts += _arcs(places)
    y += _GAP
    message = wrap(f"{finding.kind}: {finding.message}", 130)
    height = len(message) * _LINE + 2 * _PADDING
    parts.append(
        f'<rect x="{_GUEST_X}" y="{y}" width="{_XEN_X + _XEN_WIDTH - _GUEST_X}" height="{height}" '
        f'rx="4" fill="#fee2e2" stroke="{_RED}"/>'
    )
    for number, line in enumerate(message, 1):
        parts.append(_text(_GUEST_X + _PADDING, y + number * _LINE + 1, line, "red"))
    y += height + 2 * _LINE
    parts.append(_text(_GUEST_X, y, _legend(rows), "dim"))
    y += _LINE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y:g}" '
        f'viewBox="0 0 {_WIDTH} {y:g}"><style>{_STYLE}</style>'
        f'<rect width="{_WIDTH}" height="{y:g}" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _legend(rows: Sequence[Row]) -> str:
    said = "a, b, ...: the same word, changed by one vCPU and met by another"
    if not any(detail.mark for row in rows for detail in row.details):
        return "red bar: the window is open" if any(row.window for row in rows) else ""
    return f"red bar: the window is open; {said}" if any(row.window for row in rows) else said


def _switch(body: list[str], row: Row, y: float, *, begins: bool) -> float:
    """The line at which another vCPU goes on; its height."""
    colour = _LINES[row.vcpu % len(_LINES)]
    if not begins:
        body.append(
            f'<line x1="24" y1="{y + 8}" x2="{_XEN_X + _XEN_WIDTH}" y2="{y + 8}" stroke="#9ca3af" '
            'stroke-dasharray="5 4"/>'
        )
    said = f"vCPU {row.vcpu}" if begins else f"vCPU {row.vcpu} goes on"
    width = len(said) * _CHARACTER + 14
    body.append(
        f'<rect x="24" y="{y}" width="{width:g}" height="16" rx="8" fill="{colour}"/>'
        f'<text x="31" y="{y + 12}" style="fill:white;font-weight:bold">{said}</text>'
    )
    return 22


def _row(body: list[str], row: Row, y: float, places: dict[str, list[float]]) -> float:
    """One row; its height. Notes the height at which each conflict's ends are."""
    x, width = (_XEN_X, _XEN_WIDTH) if row.hypervisor else (_GUEST_X, _GUEST_WIDTH)
    columns = int((width - 2 * _PADDING) / _CHARACTER)
    lines: list[tuple[str, str, str]] = []  # text, class, mark
    name = row.name if row.hypervisor else row.path
    style = "dim" if row.left_out else "bold"
    lines += [(line, style, "") for line in wrap(name, columns)]
    for detail in row.details:
        mark = f"{detail.mark} " if detail.mark else ""
        style = "red" if detail.mark else ""
        for number, line in enumerate(wrap(f"{mark}{detail.text}", columns - 1)):
            lines.append((f" {line}", style, "" if number else detail.mark))
    height = len(lines) * _LINE + 2 * _PADDING
    colour = row.vcpu % len(_LINES)
    dashes = ' stroke-dasharray="3 3"' if row.left_out else ""
    body.append(
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" '
        f'fill="{"white" if row.left_out else _FILLS[colour]}" stroke="{_LINES[colour]}"{dashes}/>'
    )
    first = y + _PADDING + 12
    for number, (text, style, mark) in enumerate(lines):
        line_y = first + number * _LINE
        body.append(_text(x + _PADDING, line_y, text, style))
        if mark:
            places.setdefault(mark, []).append(line_y - 4)
    body.append(_text(_NUMBERS_X, first, row.when, "dim", anchor="end"))
    if row.window:
        body.append(
            f'<rect x="{_WINDOW_X}" y="{y - 2}" width="4" height="{height + 4}" fill="{_RED}"/>'
        )
    if row.hypervisor:
        body += _call(row, first)
    return height


def _call(row: Row, y: float) -> Iterator[str]:
    """Who called the hypervisor, and an arrow."""
    colour = _LINES[row.vcpu % len(_LINES)]
    yield _text(_GUEST_X + _PADDING, y, row.path, "dim")
    begin = _GUEST_X + _PADDING + len(row.path) * _CHARACTER + 10
    end = _XEN_X - 3
    if row.path and begin < end - 10:
        yield (
            f'<path d="M{begin:g} {y - 4}H{end} m-6 -4 l6 4 l-6 4" fill="none" stroke="{colour}"/>'
        )


def _arcs(places: dict[str, list[float]]) -> Iterator[str]:
    """For each conflict an arc on the right, from the change to who met it."""
    for number, (mark, ends) in enumerate(sorted(places.items())):
        begin, end = ends[0], ends[-1]
        x = _ARCS_X + 14 + 16 * number
        yield (
            f'<path d="M{_ARCS_X} {begin}H{x}V{end}H{_ARCS_X} m7 -4 l-7 4 l7 4" fill="none" '
            f'stroke="{_RED}" stroke-width="1.3"/>'
        )
        yield _text(x + 3, (begin + end) / 2, mark, "red")


def _text(x: float, y: float, said: str, style: str = "", anchor: str = "") -> str:
    css = f' class="{style}"' if style else ""
    side = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:g}" y="{y:g}"{css}{side} xml:space="preserve">{escape(said)}</text>'
