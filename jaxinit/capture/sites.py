"""The places of a function that are observed, and what is known of each before it runs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from jaxinit.axes import Axes, Fans

Kind: TypeAlias = Literal["matmul", "conv", "embedding", "activation", "softmax", "normalization"]
Side: TypeAlias = Literal["input", "output", "cotangent"]
# From a site, a side and the value there to scalars and vectors, in any pytree.
Observer: TypeAlias = Callable[["Site", Side, Any], Any]


@dataclass(frozen=True)
class Activation:
    """A function of one number, as it was found between two sites.

    Args:
        name: as `jax.nn` or `jax.numpy` names it, or None if it is none of those.
        fn: the function, elementwise.
        params: of the named function, such as (("negative_slope", 0.2),).
    """

    name: str | None
    fn: Callable[[Any], Any] = field(compare=False, repr=False)
    params: tuple[tuple[str, float], ...] = ()


class Slice(NamedTuple):
    """The part of a leaf that a site uses, as far as it is known before the function runs.

    Args:
        scans: pairs of a scan, by its place in the `steps` of the site, and the axis of the leaf
            that it runs over.
        fixed: pairs of an axis of the leaf and the position on it.
    """

    scans: tuple[tuple[int, int], ...] = ()
    fixed: tuple[tuple[int, int], ...] = ()


WHOLE = Slice()


@dataclass(frozen=True)
class Kernel:
    """A leaf of the parameters that a site contracts with its input.

    Args:
        path: of the leaf, parts joined by slashes.
        shape: of the leaf.
        axes: roles of the leaf's axes; axes that indexing, a scan or a vmap runs over are batch
            axes. None if an axis has two roles, as after a reshape that mixes them.
        whole: whether all of the leaf is used here, not a slice of it.
        slice: of the leaf, that is used here.
    """

    path: str
    shape: tuple[int, ...]
    axes: Axes | None
    whole: bool = True
    slice: Slice = WHOLE

    @property
    def fans(self) -> Fans | None:
        """Of the leaf, if its axes are known."""
        return None if self.axes is None else self.axes.fans(self.shape)


@dataclass(frozen=True)
class Site:
    """A place that is observed.

    Args:
        name: the scope, made unique; of a kernel outside any scope, the path of its module.
        kind: what it computes.
        scope: names in force, joined by slashes, as Flax, Haiku and `jax.named_scope` give them.
        shape: of the output, of one step of the scans around.
        dtype: of the output.
        input_shape: of the input, the operand that is not the kernel.
        units: axes of the output that number the units: those of the kernel, or the last; those
            that a softmax or a normalization runs over; none for a product of two activations.
        examples: the axis of the output that numbers the examples, or None if it was lost.
        kernels: leaves that the input is multiplied by: one, several if they are concatenated or
            added before, none for a product of two activations.
        bias: path of the leaf added to the output, or None.
        activations: of an activation, its function; of a kernel, the functions that its output
            goes through before the next product or sum; empty if none, so that it is linear.
        residual: whether the output is added to another signal before it meets a nonlinearity.
        after_sum: of such a kernel, the functions that the sum goes through, as in the gates of an
            LSTM or at the end of a block of a ResNet.
        steps: lengths of the scans around, outermost first, which are the leading axes of its
            statistics.
        bias_slice: of that leaf, that is added here.
        scans: a number for each of those scans, the same at all sites in it.
    """

    name: str
    kind: Kind
    scope: str
    shape: tuple[int, ...]
    dtype: Any
    input_shape: tuple[int, ...]
    units: tuple[int, ...]
    examples: int | None
    kernels: tuple[Kernel, ...] = ()
    bias: str | None = None
    activations: tuple[Activation, ...] = ()
    residual: bool = False
    after_sum: tuple[Activation, ...] = ()
    steps: tuple[int, ...] = ()
    bias_slice: Slice = WHOLE
    scans: tuple[int, ...] = ()

    @property
    def kernel(self) -> Kernel | None:
        """The leaf, where there is exactly one."""
        return self.kernels[0] if len(self.kernels) == 1 else None

    @property
    def activation(self) -> Activation:
        """The first function in `activations`, the identity if there is none."""
        return self.activations[0] if self.activations else IDENTITY


class Unobserved(NamedTuple):
    """An operation that is passed through as it is, and why nothing in it is observed."""

    scope: str
    primitive: str
    reason: str


def _same(z: Any) -> Any:
    return z


IDENTITY = Activation("identity", _same)
