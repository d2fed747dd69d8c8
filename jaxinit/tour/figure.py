"""The figure: signal by depth, gradient by depth and learning curves, a row a network."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from jaxinit.tour.data import PIXELS
from jaxinit.tour.experiment import Row, Settings
from jaxinit.tour.network import NETWORKS, STARTS

# Earth for the naive starts, colour for the derived ones. Starts of one variance run along one
# line: the later is the thinner and dashed.
LOOKS: tuple[tuple[str, Any, float], ...] = (
    ("#111111", "-", 3.2),
    ("#8c6d4f", "-", 1.8),
    ("#e08214", "-", 1.8),
    ("#a0a0a0", "-", 1.6),
    ("#1f77b4", "-", 3.6),
    ("#d62728", "-", 3.2),
    ("#6fd3e3", (0, (4, 2)), 2.2),
    ("#1b7837", (0, (1, 1.2)), 2.0),
    ("#542788", (0, (4, 2)), 1.6),
)
# A signal past these bounds is off every useful axis; a line to the edge says so.
FLOOR, CEILING = 1e-12, 1e12
TITLES = (
    "forward signal (rms of units' outputs)",
    "backward signal (rms of gradient)",
    "held-out accuracy",
)


def figure(rows: Sequence[Row], settings: Settings) -> Figure:
    """The panels of a tour.

    Args:
        rows: of the tour.
        settings: it was run with.

    Returns:
        A figure; save it with `savefig`.
    """
    drawing = Figure(figsize=(13, 10), dpi=120, layout="constrained")
    panels = drawing.subplots(len(NETWORKS), 3, squeeze=False)
    for network, across in zip(NETWORKS, panels, strict=True):
        part = [row for row in rows if row.network == network]
        _signal(across[0], part, [row.forward for row in part])
        _signal(across[1], part, [row.backward for row in part])
        _curves(across[2], part)
        across[0].set_ylabel(f"{network} network", fontsize=12, fontweight="bold")
    for panel, title in zip(panels[0], TITLES, strict=True):
        panel.set_title(title, fontsize=11)
    for panel, label in zip(panels[-1], ("hidden layer", "hidden layer", "step"), strict=True):
        panel.set_xlabel(label)
    drawing.suptitle(
        f"Before and after {settings.steps} steps: "
        f"{settings.depth} hidden layers of {PIXELS} units on handwritten digits"
    )
    handles = [Line2D([], [], label=label, **_look(label)) for label, _ in STARTS]
    drawing.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    return drawing


def _look(start: str) -> dict[str, Any]:
    place = [label for label, _ in STARTS].index(start)
    return dict(zip(("color", "linestyle", "linewidth"), LOOKS[place], strict=True))


def _signal(panel: Axes, rows: Sequence[Row], signals: Sequence[tuple[float, ...]]) -> None:
    absent = []
    for row, signal in zip(rows, signals, strict=True):
        sizes = [size if size > 0 and math.isfinite(size) else math.nan for size in signal]
        panel.plot(range(1, len(sizes) + 1), sizes, **_look(row.start))
        if all(math.isnan(size) for size in sizes):
            absent.append(row.start)
    panel.set_yscale("log")
    shown = [size for signal in signals for size in signal if size > 0 and math.isfinite(size)]
    low, high = min(shown, default=1.0), max(shown, default=1.0)
    panel.set_ylim(max(low, FLOOR) / 10, min(high, CEILING) * 10)
    if absent:
        _note(panel, 0.02, "left", f"no signal:\n{', '.join(absent)}")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(panel)


def _curves(panel: Axes, rows: Sequence[Row]) -> None:
    for row in rows:
        kept = [
            (step, share)
            for step, share in zip(row.steps, row.curve, strict=True)
            if not row.diverged or step < row.diverged
        ]
        steps, shares = zip(*kept, strict=True)
        panel.plot(steps, shares, **_look(row.start))
        if row.diverged:
            panel.plot(steps[-1], shares[-1], "x", color=_look(row.start)["color"], markersize=9)
    panel.set_ylim(0, 1.02)
    panel.set_xlim(0, rows[0].steps[-1])
    if any(row.diverged for row in rows):
        _note(panel, 0.98, "right", "x: the loss is not finite")
    _finish(panel)


def _note(panel: Axes, x: float, side: str, text: str) -> None:
    look: dict[str, Any] = {"fontsize": 8, "color": "#555555", "horizontalalignment": side}
    panel.text(x, 0.03, text, transform=panel.transAxes, **look)


def _finish(panel: Axes) -> None:
    panel.grid(color="#e6e6e6", linewidth=0.8)
    panel.spines[["top", "right"]].set_visible(False)
