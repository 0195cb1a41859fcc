"""How figures look: colours that everybody can tell apart, sizes, labels, files.

Matplotlib's objects are used without pyplot, so that nothing is kept between figures. The same
numbers give the same bytes.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import Formatter, FuncFormatter, Locator, NullFormatter, NullLocator

from experiments.cells.results import replace

# Okabe and Ito, Color Universal Design (2008).
BLACK = "#000000"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#8C8C8C"
PALE = "#ECECEC"

_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelsize": 9,
    "axes.edgecolor": "#555555",
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "svg.hashsalt": "pinlab",
    # Text stays text: it can be searched, and read aloud.
    "svg.fonttype": "none",
}


# That fit into an inch.
_TITLE_LETTERS, _TEXT_LETTERS = 10, 14


class Label(NamedTuple):
    """What is to stand beside the end of a line."""

    y: float
    """In the data's units."""
    text: str
    colour: str


def style() -> AbstractContextManager[None]:
    """Everything about the looks that matplotlib keeps for all figures."""
    return mpl.rc_context(_STYLE)  # type: ignore[arg-type] # it knows these keys by name only


def titled(title: str, subtitle: str, width: float, height: float) -> Figure:
    """An empty figure, inches wide and high: its title is the message, below it what is shown.

    Both are wrapped to the width.
    """
    title = fill(title, int(_TITLE_LETTERS * width), break_on_hyphens=False)
    subtitle = fill(subtitle, int(_TEXT_LETTERS * width), break_on_hyphens=False)
    figure = Figure(figsize=(width, height))
    left, top = 0.12 / width, height - 0.1
    figure.text(left, top / height, title, va="top", fontsize=11.5, fontweight="bold")
    top -= 0.2 * (title.count("\n") + 1) + 0.04
    figure.text(left, top / height, subtitle, va="top", color="#333333")
    top -= 0.17 * (subtitle.count("\n") + 1) + 0.06
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0, 0, 1, top / height)))
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write ``path``.svg and ``path``.png, each the whole file or nothing. Raises InputError."""
    for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
        buffer = BytesIO()
        figure.savefig(buffer, format=suffix[1:], dpi=150, facecolor="white", metadata=metadata)
        replace(path.with_name(f"{path.name}{suffix}"), buffer.getvalue())


def label_ends(axes: Axes, x: float, labels: Sequence[Label], gap: float = 11) -> None:
    """Write labels to the right of ``x``, each as near to its y as the others let it.

    ``gap``: points between the middles of two labels. The axes' limits must be final.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    per_point = figure.dpi / 72
    wanted = sorted(labels)
    places = [axes.transData.transform((x, label.y))[1] / per_point for label in wanted]
    placed = _spread(places, gap)
    for label, place, moved in zip(wanted, places, placed, strict=True):
        axes.annotate(
            label.text,
            (x, label.y),
            xytext=(14, moved - place),
            textcoords="offset points",
            va="center",
            color=label.colour,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": label.colour,
                "linewidth": 0.6,
                "shrinkA": 0,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
        )


def _spread(places: Sequence[float], gap: float) -> list[float]:
    """Sorted places moved apart to a distance of ``gap``, by little: clusters keep their middle."""
    clusters: list[list[float]] = []
    for place in places:
        clusters.append([place])
        while len(clusters) > 1:
            below, above = clusters[-2], clusters[-1]
            if _ends(below, gap)[1] + gap <= _ends(above, gap)[0]:
                break
            clusters[-2:] = [below + above]
    return [
        _ends(cluster, gap)[0] + number * gap
        for cluster in clusters
        for number in range(len(cluster))
    ]


def _ends(cluster: Sequence[float], gap: float) -> tuple[float, float]:
    middle = sum(cluster) / len(cluster)
    half = (len(cluster) - 1) * gap / 2
    return middle - half, middle + half


def plain_numbers() -> Formatter:
    """Numbers on an axis in full, with commas."""
    return FuncFormatter(lambda value, _: f"{value:,.10g}")


def no_labels() -> Formatter:
    """Ticks without numbers."""
    return NullFormatter()


def no_ticks() -> Locator:
    """No ticks at all."""
    return NullLocator()


def swatch(colour: str, text: str) -> Patch:
    """An entry of a legend, for where nothing can be labelled directly."""
    return Patch(facecolor=colour, label=text)
