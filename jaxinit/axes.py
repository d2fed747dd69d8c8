"""Which axes of a kernel are contracted, and the fans that follow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import NamedTuple


class Fans(NamedTuple):
    """Inputs and outputs of a unit, taps included, and the taps of the receptive field."""

    fan_in: float
    fan_out: float
    receptive_field: float


@dataclass(frozen=True)
class Axes:
    """The role of each axis of a kernel; axes without a role are its receptive field.

    Args:
        in_axis: contracted with the input.
        out_axis: kept in the output.
        batch_axis: independent kernels side by side.

    Raises:
        TypeError: if an axis is not an integer or a sequence of integers.

    >>> Axes(in_axis=-2, out_axis=-1).fans((3, 3, 16, 32))
    Fans(fan_in=144.0, fan_out=288.0, receptive_field=9.0)
    """

    in_axis: int | Sequence[int] = -2
    out_axis: int | Sequence[int] = -1
    batch_axis: int | Sequence[int] = ()

    def __post_init__(self) -> None:
        for role, axes in self._roles():
            object.__setattr__(self, role, normalize(role, axes))

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
            ValueError: if an axis is out of range, or two roles claim it.

        >>> Axes(-2, -1).resolve((3, 8, 4))
        ((1,), (2,), (), (0,))
        """
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
        free = tuple(axis for axis in range(len(shape)) if axis not in taken)
        return (*resolved, free)

    def fans(self, shape: Sequence[int]) -> Fans:
        """n_in k, n_out k and k, with k the taps of the receptive field.

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
        if len(shape) < 2 and (self.in_axis, self.out_axis) == (-2, -1):
            raise ValueError(
                f"shape {shape} is {len(shape)}-D: a bias has no fan-in; use zeros or constant, "
                "or name in_axis and out_axis"
            )
        n_in, n_out, _, taps = (
            math.prod(shape[axis] for axis in axes) for axes in self.resolve(shape)
        )
        return Fans(float(n_in * taps), float(n_out * taps), float(taps))


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
