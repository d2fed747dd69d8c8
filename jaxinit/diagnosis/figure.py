"""A report drawn: the signal, the gradient and what examples have in common, by depth."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxinit.diagnosis.report import Report

_COLOUR, _MARKED = "#1f77b4", "#d62728"
_PANELS = (
    ("rms", "signal (rms of outputs)"),
    ("gradient", "gradient (rms at outputs)"),
    ("cosine", "mean cosine between examples"),
)


def figure(report: Report) -> Figure:
    """Three panels by depth; the layers of a finding are marked.

    Args:
        report: to draw.

    Returns:
        A figure; save it with `savefig`.
    """
    drawing = Figure(figsize=(11, 3.4), dpi=110, layout="constrained")
    kernels = [layer for layer in report.layers if layer.gradient is not None]
    marked = {path for finding in report.findings for path in finding.where}
    ill = [i for i, layer in enumerate(kernels, 1) if layer.path in marked]
    for panel, (name, title) in zip(drawing.subplots(1, len(_PANELS)), _PANELS, strict=True):
        _draw(panel, [getattr(layer, name) for layer in kernels], ill, log=name != "cosine")
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("kernel, in order")
    return drawing


def _draw(panel: Axes, values: Sequence[float | None], ill: Sequence[int], *, log: bool) -> None:
    def fits(x: float | None) -> bool:
        return x is not None and math.isfinite(x) and (x > 0 or not log)

    shown = [x if x is not None and fits(x) else math.nan for x in values]
    panel.plot(range(1, len(shown) + 1), shown, "o-", color=_COLOUR, markersize=4)
    panel.plot(ill, [shown[i - 1] for i in ill], "o", color=_MARKED, markersize=6)
    if log and any(map(fits, values)):
        panel.set_yscale("log")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(color="#e6e6e6", linewidth=0.8)
    panel.spines[["top", "right"]].set_visible(False)
