"""What a diagnosis finds: a row a layer, and findings with their evidence, causes and remedies."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from jaxinit.table import Table, cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Symptom: TypeAlias = Literal[
    "symmetric",
    "vanishing-activations",
    "exploding-activations",
    "vanishing-gradients",
    "exploding-gradients",
    "dead-units",
    "saturated",
    "rank-collapse",
    "attention-collapse",
    "loss-at-chance",
    "slow",
    "diverges",
    "nan",
]
Severity: TypeAlias = Literal["warning", "error"]
# As many paths as a line of text has room for, and as many lines as a remedy.
_SHOWN, _LINES = 3, 6


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A kernel, an activation or a softmax of attention, and what the signal is like there.

    Args:
        path: of the kernel, or the name of the site.
        kind: what it computes.
        shape: of its output, of one step of a scan.
        activation: what its output goes through before the next product, by name.
        rms: of its output.
        ratio: of the rms of its input to that of the first kernel that does not read the data.
        cosine: the mean between the outputs for different examples.
        dead: of a rectifier, the share of units that are 0 on the whole batch.
        flat: of a bounded activation, the share of inputs where it passes under a twentieth of the
            gradient.
        entropy: of attention, over that of uniform weights.
        gradient: rms of the gradient of the loss with respect to its output.
        update: learning rate times rms of the kernel's gradient, over the rms of the kernel.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    activation: str | None = None
    rms: float | None = None
    ratio: float | None = None
    cosine: float | None = None
    dead: float | None = None
    flat: float | None = None
    entropy: float | None = None
    gradient: float | None = None
    update: float | None = None


@dataclass(frozen=True)
class Finding:
    """A symptom.

    Args:
        symptom: its name.
        severity: "error" if it does not train like this, "warning" if it trains badly.
        where: paths of the kernels or names of the sites that show it or make it, in order.
        evidence: numbers, by what they are.
        cause: what makes it, in a sentence.
        remedy: what to do: calls to paste.
    """

    symptom: Symptom
    severity: Severity
    where: tuple[str, ...]
    evidence: Mapping[str, float]
    cause: str
    remedy: str

    def __str__(self) -> str:
        numbers = ", ".join(f"{name} {cell(float(x))}" for name, x in self.evidence.items())
        lines = self.remedy.split("\n")
        more = [f"and {len(lines) - _LINES} more"] if len(lines) > _LINES else []
        remedy = "\n    ".join([*lines[:_LINES], *more])
        return (
            f"{self.symptom} ({self.severity})\n  where: {shown(self.where)}\n"
            f"  evidence: {numbers}\n  cause: {self.cause}\n  remedy: {remedy}"
        )


@dataclass(frozen=True)
class Report(Table):
    """Layers and findings; printed, a table with the findings under it.

    Args:
        layers: in the order of the computation.
        findings: the worst first.
        loss: that was differentiated; None where it was a product with noise.
        rules: the text of a `jaxinit.Rules` that sets every kernel right.
    """

    layers: tuple[Layer, ...]
    findings: tuple[Finding, ...]
    loss: float | None = None
    rules: str = ""

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def cells(self) -> Sequence[Sequence[str]]:
        """The headings of what was measured, then the rows."""
        names = [
            f.name
            for f in fields(Layer)
            if any(getattr(x, f.name) is not None for x in self.layers)
        ]
        return [names, *([cell(getattr(layer, name)) for name in names] for layer in self.layers)]

    def notes(self) -> Sequence[str]:
        """The loss and the findings."""
        loss = [] if self.loss is None else [f"loss {cell(self.loss)}"]
        return [*loss, *(map(str, self.findings) if self.findings else ["no finding: healthy"])]

    def print(self) -> None:
        """Print it to the terminal by rich, or plainly where rich is not installed."""
        try:
            from rich.console import Console
        except ModuleNotFoundError:
            print(self)
            return
        console = Console()
        if not console.is_terminal:
            print(self)
            return
        console.print(self)

    def plot(self) -> "Figure":
        """A figure of the signal, the gradient and the cosine by depth.

        Raises:
            ModuleNotFoundError: without matplotlib.
        """
        from jaxinit.diagnosis.figure import figure

        return figure(self)

    def to_html(self, path: str | Path) -> None:
        """Write one page that needs nothing else, with the figure where matplotlib is installed.

        Args:
            path: of the file.
        """
        from jaxinit.diagnosis.page import page

        Path(path).write_text(page(self), encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """Everything for JSON; a number that is not finite is its name."""
        return _plain(asdict(self) | {"healthy": self.healthy})


def shown(paths: Sequence[str]) -> str:
    """The first of some paths, and how many more there are."""
    more = len(paths) - _SHOWN
    return ", ".join(paths[:_SHOWN]) + (f" and {more} more" if more > 0 else "") or "the whole"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(x) for name, x in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(x) for x in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
