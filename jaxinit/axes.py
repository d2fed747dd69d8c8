"""Which axes of a kernel are contracted, and the fans that follow."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from operator import index
from typing import Annotated, NamedTuple, TypeAlias

from jaxinit._checks import whole

_EINSUM = re.compile(r"(\.\.\.)?([A-Za-z]*),([A-Za-z]+)->(\.\.\.)?([A-Za-z]*)")
_FLATTENED = (
    "; if this is a DenseGeneral, LinearGeneral or attention kernel, Flax flattens it to "
    "(inputs, outputs) before it calls the initializer: pass Axes.dense()"
)


class Fans(NamedTuple):
    """Inputs and outputs of a unit, taps included, and the taps of the receptive field."""

    fan_in: float
    fan_out: float
    receptive_field: float


@dataclass(frozen=True, repr=False, match_args=False)
class Axes:
    """The role of each axis of a kernel; axes without a role are its receptive field.

    Args:
        in_axis: contracted with the input.
        out_axis: kept in the output.
        batch_axis: independent kernels side by side.
        groups: of a grouped convolution; out_axis holds the outputs of all, in_axis the inputs of
            one.
        rank: number of axes of the kernel; None means any.
        in_stride: taps of the receptive field for each that one output sees.
        out_stride: taps of the receptive field for each that one input reaches.

    Raises:
        TypeError: if an axis is not an integer or a sequence of integers, or a number not whole.
        ValueError: if groups, rank or a stride is less than 1.

    >>> Axes(in_axis=-2, out_axis=-1).fans((3, 3, 16, 32))
    Fans(fan_in=144.0, fan_out=288.0, receptive_field=9.0)
    """

    in_axis: int | Sequence[int] = -2
    out_axis: int | Sequence[int] = -1
    batch_axis: int | Sequence[int] = ()
    groups: int = 1
    rank: int | None = None
    in_stride: int = 1
    out_stride: int = 1

    def __post_init__(self) -> None:
        for role, axes in self._roles():
            object.__setattr__(self, role, normalize(role, axes))
        for name in ("groups", "rank", "in_stride", "out_stride"):
            value = getattr(self, name)
            if value is not None or name != "rank":
                object.__setattr__(self, name, whole(name, value))

    def __repr__(self) -> str:
        values = ((f, getattr(self, f.name)) for f in fields(self))
        return f"Axes({', '.join(f'{f.name}={v!r}' for f, v in values if v != f.default)})"

    @classmethod
    def dense(cls) -> Axes:
        """A matrix of inputs by outputs, which is what Flax's flattened kernels are too.

        >>> Axes.dense().fans((64, 32)).fan_in
        64.0
        """
        return cls(rank=2)

    @classmethod
    def einsum(cls, equation: str) -> Axes:
        """The kernel that is the second operand of an einsum.

        An axis that the input shares is contracted, if the output lacks it, and a batch axis, if
        the output has it; the others are kept.

        Args:
            equation: two operands and a result, such as "btd,dhk->bthk".

        Returns:
            The axes.

        Raises:
            ValueError: if it is no such equation.

        >>> Axes.einsum("bthk,hkd->btd").fans((8, 64, 512))
        Fans(fan_in=512.0, fan_out=512.0, receptive_field=1.0)
        """
        match = _EINSUM.fullmatch(equation.replace(" ", ""))
        if match is None:
            raise ValueError(
                f"axes={equation!r} is not an einsum of an input and a kernel: write both and the "
                'result, such as "btd,dhk->bthk", with letters, and "..." in the input alone'
            )
        _, data, kernel, _, result = match.groups()
        roles: dict[str, list[int]] = {"in_axis": [], "out_axis": [], "batch_axis": []}
        for axis, letter in enumerate(kernel):
            if kernel.count(letter) > 1:
                raise ValueError(f"axes={equation!r} names {letter!r} twice in the kernel")
            if letter not in data + result:
                raise ValueError(
                    f"axes={equation!r}: {letter!r} is in the kernel alone, so the kernel would be "
                    "summed over it; name it in the input or the result"
                )
            kept = "batch_axis" if letter in data else "out_axis"
            roles[kept if letter in result else "in_axis"].append(axis)
        inputs, outputs, batch = map(tuple, roles.values())
        return cls(inputs, outputs, batch, rank=len(kernel))

    @classmethod
    def conv(
        cls,
        spatial: int = 2,
        groups: int = 1,
        transpose_kernel: bool = False,
        stride: int | Sequence[int] = 1,
        transposed: bool = False,
    ) -> Axes:
        """A convolution kernel: taps, then inputs of a group, then outputs.

        With a stride s, of the k taps an input reaches k / s (a transposed convolution: an output
        sees k / s), so that is what the fan counts.

        Args:
            spatial: number of spatial axes.
            groups: as in Flax's `feature_group_count`; the channels for a depthwise one.
            transpose_kernel: as in Flax's `ConvTranspose`: outputs before inputs, and transposed.
            stride: of the convolution, one or one per spatial axis.
            transposed: whether it is a transposed convolution.

        Returns:
            The axes.

        Raises:
            TypeError: if a number is not whole.
            ValueError: if a number is less than 1, or the strides are not one a spatial axis.

        >>> Axes.conv(groups=8).fans((3, 3, 4, 64))
        Fans(fan_in=36.0, fan_out=72.0, receptive_field=9.0)
        """
        spatial = whole("spatial", spatial)
        given = normalize("stride", stride)
        strides = given if isinstance(given, tuple) else (given,) * spatial
        if len(strides) != spatial:
            raise ValueError(f"stride={stride} is not one for each of spatial={spatial} axes")
        skipped = math.prod(whole("stride", s) for s in strides)
        transposed = transposed or transpose_kernel
        return cls(
            in_axis=-1 if transpose_kernel else -2,
            out_axis=-2 if transpose_kernel else -1,
            groups=groups,
            rank=spatial + 2,
            in_stride=skipped if transposed else 1,
            out_stride=1 if transposed else skipped,
        )

    @classmethod
    def embedding(cls) -> Axes:
        """A table of tokens by features, of which the features are contracted to score tokens.

        >>> Axes.embedding().fans((50257, 768)).fan_in
        768.0
        """
        return cls(in_axis=-1, out_axis=-2, rank=2)

    def stacked(self, axis: int = 0) -> Axes:
        """These axes with one more in front, or elsewhere, over independent kernels.

        Args:
            axis: position of the new axis in the stack.

        Returns:
            The axes.

        Raises:
            ValueError: if axis is neither 0 nor -1 and the rank is not known, or out of range.

        >>> Axes.dense().stacked().fans((24, 64, 32)).fan_in
        64.0
        """
        if self.rank is None and axis not in (0, -1):
            raise ValueError(f"axis={axis} has no place in axes of any rank: pass 0, -1 or rank=")
        size = 0 if self.rank is None else self.rank + 1
        if self.rank is not None and not -size <= axis < size:
            raise ValueError(f"axis={axis} is out of range for a stack of {self.rank}-D kernels")

        def moved(old: int) -> int:
            if self.rank is None:
                return old + (old >= 0) if axis == 0 else old - (old < 0)
            place = old % self.rank
            return place + (place >= axis % size)

        inputs, outputs, batch = (
            tuple(moved(a) for a in (axes if isinstance(axes, Sequence) else (axes,)))
            for _, axes in self._roles()
        )
        return replace(
            self, in_axis=inputs, out_axis=outputs, batch_axis=(*batch, axis), rank=size or None
        )

    def _roles(self) -> tuple[tuple[str, int | Sequence[int]], ...]:
        return (
            ("in_axis", self.in_axis),
            ("out_axis", self.out_axis),
            ("batch_axis", self.batch_axis),
        )

    def resolve(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """In, out, batch and receptive-field axes of a shape, counted from zero.

        Args:
            shape: of the kernel.

        Returns:
            Four disjoint tuples, which together name every axis.

        Raises:
            ValueError: if the rank is another, an axis is out of range, two roles claim it, or
                groups do not divide the outputs.

        >>> Axes(-2, -1).resolve((3, 8, 4))
        ((1,), (2,), (), (0,))
        """
        rank = len(shape)
        if self.rank is not None and rank != self.rank:
            raise ValueError(
                f"axes={self} are of a {self.rank}-D kernel and shape {shape} is {rank}-D"
                + (_FLATTENED if rank == 2 < self.rank else "")
            )
        if rank < 2 and (self.in_axis, self.out_axis) == (-2, -1):
            raise ValueError(
                f"shape {shape} is {rank}-D: a bias has no fan-in; use zeros or constant, pass "
                "fan= to variance_scaling, or name in_axis and out_axis"
            )
        taken: dict[int, str] = {}
        resolved = []
        for role, axes in self._roles():
            found = positions(role, axes, shape)
            for axis in found:
                if axis in taken:
                    raise ValueError(
                        f"{role}={axes} and {taken[axis]} both name axis {axis} of shape {shape}: "
                        "each axis has one role"
                    )
                taken[axis] = f"{role}={axes}"
            resolved.append(found)
        outputs = math.prod(shape[a] for a in resolved[1])
        if outputs % self.groups:
            raise ValueError(
                f"groups={self.groups} do not divide the {outputs} outputs of shape {shape}"
            )
        free = tuple(axis for axis in range(rank) if axis not in taken)
        return (*resolved, free)

    def fans(self, shape: Sequence[int]) -> Fans:
        """n_in k, n_out k / groups and k, with k the taps of the receptive field.

        Args:
            shape: of the kernel.

        Returns:
            The fans, as floats.

        Raises:
            ValueError: if the axes do not fit the shape.

        >>> Axes(in_axis=0, out_axis=(1, 2)).fans((64, 8, 16)).fan_out
        128.0
        """
        shape = tuple(shape)
        n_in, n_out, _, taps = (
            math.prod(shape[axis] for axis in axes) for axes in self.resolve(shape)
        )
        fan_in, fan_out = n_in * taps / self.in_stride, n_out * taps / self.groups / self.out_stride
        return Fans(fan_in, fan_out, float(taps))


def as_axes(name: str, value: object) -> Axes | None:
    """An `Axes`, from one, from an einsum, or None.

    Args:
        name: of the argument.
        value: as the caller gave it.

    Returns:
        The axes, if any.

    Raises:
        TypeError: if it is something else.
        ValueError: if it is a string that is not an einsum.

    >>> as_axes("axes", "btd,df->btf").fans((8, 4)).fan_in
    8.0
    """
    if isinstance(value, str):
        return Axes.einsum(value)
    if value is None or isinstance(value, Axes):
        return value
    raise TypeError(
        f"{name}={value!r} is a {type(value).__name__}: pass an Axes, or an einsum such as "
        '"btd,dhk->bthk"'
    )


def choose(
    axes: Axes | str | None,
    in_axis: int | Sequence[int],
    out_axis: int | Sequence[int],
    batch_axis: int | Sequence[int],
) -> Axes:
    """The axes given as one, or else one by one in JAX's way.

    Args:
        axes: all roles at once, if given.
        in_axis: contracted with the input.
        out_axis: kept in the output.
        batch_axis: independent kernels.

    Returns:
        The axes.

    Raises:
        ValueError: if they are given in both ways.

    >>> choose(None, 0, 1, ())
    Axes(in_axis=0, out_axis=1)
    """
    given = Axes(in_axis, out_axis, batch_axis)
    axes = as_axes("axes", axes)
    if axes is None:
        return given
    if given != Axes():
        raise ValueError(f"axes={axes} and {given} both say which axes are contracted: pass one")
    return axes


def normalize(role: str, axes: int | Sequence[int]) -> int | tuple[int, ...]:
    """An axis as an int, axes as a tuple of ints.

    Args:
        role: name of the argument.
        axes: as the caller gave them.

    Returns:
        A hashable form.

    Raises:
        TypeError: if an axis is not an integer.

    >>> normalize("in_axis", [0, 1])
    (0, 1)
    """
    try:
        return tuple(map(index, axes)) if isinstance(axes, Sequence) else index(axes)
    except TypeError:
        raise TypeError(
            f"{role}={axes!r} is neither an integer nor a sequence of integers"
        ) from None


def positions(role: str, axes: int | Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Axes of a shape, counted from zero.

    Args:
        role: name of the argument.
        axes: one or several, negative ones from the end.
        shape: of the array.

    Returns:
        Axes in the order given.

    Raises:
        ValueError: if one is out of range.

    >>> positions("column_axis", -1, (4, 8))
    (1,)
    """
    given = tuple(axes) if isinstance(axes, Sequence) else (axes,)
    rank = len(shape)
    for axis in given:
        if not -rank <= axis < rank:
            raise ValueError(
                f"{role}={axes} is out of range for shape {shape}, whose axes are 0 to {rank - 1} "
                f"or {-rank} to -1"
            )
    return tuple(axis % rank for axis in given)


Axis: TypeAlias = Annotated[int | Sequence[int], normalize]
KernelAxes: TypeAlias = Annotated[Axes | str | None, as_axes]
