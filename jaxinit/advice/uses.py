"""What a parameter does: its role, and what an initializer has to know of it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from jaxinit.advice.branches import Branch
from jaxinit.axes import Axes
from jaxinit.capture.sites import Activation

# Of the negative side of a PReLU: He et al., 2015.
SLOPE = 0.25

KernelRole: TypeAlias = Literal[
    "dense",
    "conv",
    "transposed conv",
    "depthwise",
    "embedding",
    "tied embedding",
    "attention query",
    "attention key",
    "attention value",
    "packed attention",
    "attention output",
    "recurrent kernel",
    "recurrent input",
    "recurrent input and kernel",
    "gate",
    "low-rank update",
    "residual output",
    "head",
]
OtherRole: TypeAlias = Literal[
    "bias",
    "forget bias",
    "norm scale",
    "norm bias",
    "running mean",
    "running variance",
    "scale",
    "slope",
    "layer scale",
    "kernel scale",
    "positional table",
    "token",
    "other",
    "unused",
]
Role: TypeAlias = KernelRole | OtherRole


@dataclass(frozen=True)
class Use:
    """What a parameter does.

    Args:
        path: of the leaf.
        shape: of the leaf.
        role: what it does.
        activations: that its output goes through next, in the order of its parts.
        axes: of a kernel, if each has one role.
        branch: that it ends, if it does.
        gates: parts of one size that lie side by side in it.
        gate_axis: along which they do.
        forget: which of them is the forget gate's, or None.
    """

    path: str
    shape: tuple[int, ...]
    role: Role
    activations: tuple[Activation, ...] = ()
    axes: Axes | None = None
    branch: Branch | None = None
    gates: int = 1
    gate_axis: int = -1
    forget: int | None = None

    @property
    def activation(self) -> Activation | None:
        """The first that is found, if any."""
        return self.activations[0] if self.activations else None
