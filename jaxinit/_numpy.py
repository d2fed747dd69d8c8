"""What JAX traces of a scalar, evaluated by numpy on arrays of points, at once.

A value of shape s is held for all points as an array of shape (*s, points), or (*s, 1) if it is the
same for all: numpy's own broadcasting then does what is done entry by entry, and axes are counted
as JAX counts them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxinit._entrywise import interpret
from jaxinit._operations import NUMPY, SHAPED, operations
from jaxinit._quadrature import Numbers

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr

# Points at once, which stay in the cache; turns of a loop, and all steps, that are worth it.
_LOT, _TURNS, _STEPS = 2**13, 64, 2**12


def by_numpy(traced: ClosedJaxpr) -> Callable[..., list[Any]] | None:
    """What numpy makes of a trace of scalars, on arrays; None if it does not know an operation.

    Args:
        traced: of scalars that are given, and of scalars as results.

    Returns:
        A function of points, and of the number of a result if it is the only one to find.

    >>> import jax
    >>> by_numpy(jax.make_jaxpr(jax.nn.relu)(0.0))(np.array([-1.0, 2.0]))[0].tolist()
    [0.0, 2.0]
    """
    function = _Function(traced, traced.in_avals)
    if not function.known:
        return None

    def run(at: Numbers, only: int | None = None) -> list[Any]:
        lots = [
            function(lot, only=only) for lot in np.split(at.ravel(), range(_LOT, at.size, _LOT))
        ]
        return [np.concatenate(parts).reshape(at.shape) for parts in zip(*lots, strict=True)]

    return run


def wanted(results: list[Any], only: int | None) -> list[Any]:
    """All of them, or one."""
    return results if only is None else [results[only]]


@dataclass(frozen=True, eq=False)
class _Made:
    """What an operation makes of others' results; of a point, if there is none."""

    operation: Any
    operands: Sequence[_Made]
    aval: Any

    def evaluate(self, operands: Sequence[Any]) -> Any:
        """The value for all points."""
        found = np.asarray(self.operation(*operands), self.aval.dtype)
        shape = (*self.aval.shape, found.shape[-1])
        return found if found.shape == shape else np.broadcast_to(found, shape)


class _Record:
    """What is made, in order, in the course of a trace."""

    def __init__(self) -> None:
        self.made: list[_Made] = []

    def called(self, traced: Any, operands: Sequence[_Made]) -> list[_Made]:
        """The results of a trace."""

        def constant(variable: Any, x: Any) -> _Made:
            return self._held(x, variable.aval)

        found = interpret(traced, operands, self._step, constant)
        return [self._held(x, aval) for x, aval in zip(found, traced.out_avals, strict=True)]

    def _make(self, operation: Any, operands: Sequence[_Made], aval: Any) -> _Made:
        self.made.append(_Made(operation, operands, aval))
        return self.made[-1]

    def _held(self, x: Any, aval: Any) -> _Made:
        if isinstance(x, _Made):
            return x
        array = np.asarray(x, aval.dtype)[..., None]
        return self._make(lambda: array, (), aval)

    def _step(self, equation: Any, given: list[Any]) -> list[_Made]:
        operands = [self._held(x, v.aval) for x, v in zip(given, equation.invars, strict=True)]
        avals = [variable.aval for variable in equation.outvars]
        name, params = equation.primitive.name, equation.params
        if name == "cond":
            which, *operands = operands
            branches = (self.called(branch, operands) for branch in params["branches"])
            cases = zip(*branches, strict=True)
            chosen = zip(cases, avals, strict=True)
            return [self._make(NUMPY["select_n"], [which, *each], aval) for each, aval in chosen]
        if name == "while":
            loop = _While(params, [x.aval for x in operands])
            ends = [functools.partial(loop, i) if loop.known else None for i in range(len(avals))]
            return [self._make(end, operands, aval) for end, aval in zip(ends, avals, strict=True)]
        if name == "scan" and 0 < params["length"] <= _TURNS and len(self.made) <= _STEPS:
            return self._loop(params, operands, avals)
        pairs = zip(operations(equation), avals, strict=True)
        return [self._make(operation, operands, aval) for operation, aval in pairs]

    def _loop(self, params: Any, operands: list[_Made], avals: list[Any]) -> list[_Made]:
        """A scan step by step: of constants, what is carried on, and rows."""
        body = params["jaxpr"]
        rows = sum(x.aval.ndim > a.ndim for x, a in zip(operands, body.in_avals, strict=True))
        carried = sum(a.ndim == b.ndim for a, b in zip(avals, body.out_avals, strict=True))
        first_row = len(operands) - rows
        constants = operands[: first_row - carried]
        carry = operands[len(constants) : first_row]
        ys: dict[int, list[_Made]] = {}
        for i in range(params["length"])[:: -1 if params["reverse"] else 1]:
            take = functools.partial(np.take, indices=i, axis=0)
            xs = zip(operands[first_row:], body.in_avals[first_row:], strict=True)
            row = [self._make(take, [x], aval) for x, aval in xs]
            found = self.called(body, [*constants, *carry, *row])
            carry, ys[i] = found[:carried], found[carried:]
        stack = functools.partial(SHAPED["stack"], {"axis": 0}, 0)
        columns = zip(*(ys[i] for i in sorted(ys)), strict=True)
        stacks = zip(columns, avals[carried:], strict=True)
        return [*carry, *(self._make(stack, column, aval) for column, aval in stacks)]


class _Function:
    """A trace as a plan of what to make, and when."""

    def __init__(self, traced: Any, avals: Sequence[Any]) -> None:
        record = _Record()
        self._given = [_Made(None, (), aval) for aval in avals]
        self._results = record.called(traced, self._given)
        self._made = record.made
        self._plans: dict[int | None, list[_Made]] = {}
        self.known = all(step.operation for step in self._made)

    def __call__(self, *operands: Any, only: int | None = None) -> list[Any]:
        pairs = zip(self._given, operands, strict=True)
        values = {x: np.asarray(value, x.aval.dtype) for x, value in pairs}
        for step in self._plan(only):
            values[step] = step.evaluate([values[x] for x in step.operands])
        points = max(value.shape[-1] for value in values.values())
        found = (values[x] for x in wanted(self._results, only))
        return [np.broadcast_to(y, (*y.shape[:-1], points)) for y in found]

    def _plan(self, only: int | None) -> list[_Made]:
        """What leads to the results, or to one of them."""
        if only not in self._plans:
            needed = set(map(id, wanted(self._results, only)))
            steps = []
            for step in reversed(self._made):
                if id(step) in needed:
                    steps.append(step)
                    needed.update(map(id, step.operands))
            self._plans[only] = steps[::-1]
        return self._plans[only]


class _While:
    """A loop that each point leaves by itself."""

    def __init__(self, params: Any, avals: list[Any]) -> None:
        self._fixed = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        first, second = self._fixed
        carried = avals[second:]
        self._goes_on = _Function(params["cond_jaxpr"], [*avals[:first], *carried])
        self._body = _Function(params["body_jaxpr"], [*avals[first:second], *carried])
        self.known = self._goes_on.known and self._body.known

    def __call__(self, result: int, *operands: Any) -> Any:
        first, second = self._fixed
        carry = [*operands[second:]]
        while True:
            (going,) = self._goes_on(*operands[:first], *carry)
            if not going.any():
                return carry[result]
            found = self._body(*operands[first:second], *carry)
            carry = [np.where(going, y, x) for x, y in zip(carry, found, strict=True)]
