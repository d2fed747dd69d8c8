"""Units of variance 1 within each layer, and layers that learn at one rate."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinit._checks import finite, positive, whole
from jaxinit.advice.roles import roles
from jaxinit.data.affine import of_kernels
from jaxinit.data.parameters import Parameters, concrete, multiplied, opened
from jaxinit.data.units import Moments, Normalized, Units, normalized
from jaxinit.data.uses import Use, Uses, layers
from jaxinit.paths import Pattern

# Where a normalization follows, a kernel times r has the rate 1/r² of before, and elsewhere 1/r or
# less: half of the logarithm is exact there and converges here.
DAMPING = 0.5
_NEAR = 0.1  # enough, if nobody says what is
# Roles of kernels whose outputs are multiplied by each other.
_FACTORS = ("attention query", "attention key")


def krahenbuhl(
    apply_fn: Callable[[Any, Any], Any],
    params: Any,
    batch: Any,
    key: Any = None,
    *,
    loss: Callable[[Any, Any], Any] | None = None,
    mean: float = 0.0,
    tolerance: float | None = None,
    iterations: int = 50,
    keep: Sequence[Pattern] = (),
    with_report: bool = False,
) -> Any:
    """Units of mean β and variance 1, then scales r_k for which all layers learn at one rate.

    Within a layer each unit is scaled and shifted, all layers in one pass. The rate of layer k is
    C_k = (E[(∂ℓ/∂W_k)²] / E[W_k²])^½; kernels are then multiplied by r_k = (C_k / C̄)^½, C̄ the
    geometric mean, and units made equal anew, until all C_k agree or iterations run out; those
    where they were nearest are returned. As the product of the r_k is 1, the output of a chain of
    homogeneous layers keeps its scale, and no layer above has to undo r_k as in the paper. A
    stacked kernel is a layer a slice. In the end the units of a layer have one variance and, with a
    bias, mean β of their deviations.

    The product of the rates of queries and keys does not hang on their scales, so that theirs are
    left out, and only their units made equal. Nor does it in a branch of two kernels that is small
    beside its stream, so that in a transformer there may be no scales that make all rates equal:
    the history tells how near they came.

    Args:
        apply_fn: any JAX function of (params, batch), such as `model.apply`.
        params: any pytree of its parameters, their kernels drawn.
        batch: its second argument: some hundred examples of the data.
        key: none is needed.
        loss: ℓ, from (outputs, batch) to a scalar; None takes the product of the outputs with fixed
            normal noise, as the paper does.
        mean: β, of the units with a bias, in deviations; near 1 most ReLUs are active, and a deep
            network of them is nearly linear.
        tolerance: on C_k / C̄, relative, that has to be reached; None stops at a tenth, and takes
            what can be had, without an error.
        iterations: most, of scales between layers.
        keep: patterns of the paths of kernels to leave as they are.
        with_report: whether to return (params, `Calibration`), whose history is the largest
            |log(C_k / C̄)| of each iteration.

    Returns:
        New parameters, in the dtypes and the shardings of params.

    Raises:
        TypeError: if apply_fn is no function, or batch holds no array.
        ValueError: before any work if params or batch hold a NaN, no kernel is found, or one has
            several uses; if loss gives no scalar; and if a unit has variance 0, a kernel gradient
            0, or the rates never agree to the tolerance.

    >>> def mlp(params, x):
    ...     for kernel in params:
    ...         x = jnp.tanh(x @ kernel)
    ...     return x
    >>> kernels = [3 * jax.random.normal(jax.random.key(i), (16, 16)) for i in range(4)]
    >>> x = jax.random.normal(jax.random.key(9), (64, 16))
    >>> _, report = krahenbuhl(mlp, kernels, x, with_report=True)
    >>> bool(report.history[-1] <= np.log(1.1))
    True

    Reference:
        Krähenbühl, Doersch, Donahue, Darrell, "Data-dependent Initializations of Convolutional
        Neural Networks", 2016, arXiv:1511.06856, algorithms 1 and 2.
    """
    if tolerance is not None:
        positive("tolerance", tolerance)
    whole("iterations", iterations)
    finite("mean", mean)
    parameters, traced = opened(apply_fn, params, batch)
    sites, left = layers(traced, parameters, keep, "krahenbuhl")
    units = Units(traced, list(of_kernels(traced, sites)), parameters, "krahenbuhl")
    within = normalized(units, batch, mean)
    units.check(within.moments, 0.05)
    shapes = {path: tuple(array.shape) for path, array in parameters.arrays.items()}
    whole_layers = Uses(_rated(units, params), shapes)

    def rates(arrays: Mapping[str, Any], batch: Any) -> dict[str, Array]:
        run = traced.instrument(
            lambda *_: None,
            loss=None if loss is None else lambda outputs: loss(outputs, batch),
            backward=False,
            gradients=True,
        )
        slopes = Parameters(run(parameters.rebuilt(arrays), batch).gradients).arrays
        return {p: _rate(slopes[p], arrays[p], shape) for p, shape in whole_layers.shapes.items()}

    def between(arrays: dict[str, Any], batch: Any) -> _State:
        def step(state: _State) -> _State:
            found = rates(state.arrays, batch)
            apart, spread = _apart(whole_layers, found)
            slowest = jnp.stack(
                [jnp.min(jnp.where(_used(whole_layers, p), x, jnp.inf)) for p, x in found.items()]
            )
            spread = jnp.where(jnp.all(slowest > 0), spread, jnp.inf)
            farthest = jnp.stack([x.ravel()[jnp.argmax(jnp.abs(x))] for x in apart.values()])
            measured = _Measured(state.arrays, state.scales, spread, farthest, slowest)
            nearer = (spread < state.best.spread) | (state.passes == 0)
            factors = {p: jnp.exp(DAMPING * x) for p, x in apart.items()}
            changed, equal = equalized({**state.arrays, **multiplied(state.arrays, factors)})
            return _State(
                changed,
                {p: x * equal[p] * factors.get(p, 1) for p, x in state.scales.items()},
                jax.tree.map(lambda new, old: jnp.where(nearer, new, old), measured, state.best),
                state.history.at[state.passes].set(spread),
                state.passes + 1,
            )

        def again(state: _State) -> Any:
            near = state.best.spread <= np.log1p(_NEAR if tolerance is None else tolerance)
            return ~near & (state.passes < iterations)

        def equalized(arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
            start = units.unbiased(arrays)
            found = units.measured(start, batch, mean=mean, divide=False, change=True)
            factors = units.factors(found, False)
            start = units.scaled(start, factors)
            return units.shifted(start, found, mean=mean, divide=False), factors

        ones = {path: jnp.ones(shape) for path, shape in units.scales.shapes.items()}
        zero, none = jnp.zeros((), jnp.int32), jnp.zeros(len(whole_layers.shapes))
        first = _Measured(arrays, ones, jnp.array(jnp.inf, jnp.float32), none, none)
        start = _State(arrays, ones, first, jnp.zeros(iterations), zero)
        return jax.lax.while_loop(again, step, start)

    def last(arrays: dict[str, Any], batch: Any) -> Moments:
        return units.measured(arrays, batch, mean=mean, divide=False, change=False)

    state = jax.jit(between)(within.arrays, batch)
    best = state.best
    _check(whole_layers, state, tolerance)
    changed = parameters.changed({path: best.arrays[path] for path in units.paths})
    if not with_report:
        return changed
    factors = {path: x * best.scales[path] for path, x in within.factors.items()}
    end = Normalized(best.arrays, factors, jax.jit(last)(best.arrays, batch))
    found = units.report(end, 2 + state.passes, left)
    history = state.history[: int(state.passes)] if concrete(state) else state.history
    return changed, replace(found, history=history)


class _Measured(NamedTuple):
    """Arrays, their factors so far, and how far apart their rates are.

    Of each leaf: the log(C_k / C̄) of its farthest slice, and its least rate.
    """

    arrays: dict[str, Any]
    scales: dict[str, Any]
    spread: Any
    farthest: Any
    slowest: Any


class _State(NamedTuple):
    """The next arrays and factors, the best that were measured, and all spreads."""

    arrays: dict[str, Any]
    scales: dict[str, Any]
    best: _Measured
    history: Any
    passes: Any


def _rated(units: Units, params: Any) -> list[Use]:
    """The layers whose rates scales can change: all but queries and keys, if there are others."""
    factors = {use.path for use in roles(units.trace, params) if use.role in _FACTORS}
    rated = [
        target
        for target in units.targets
        if factors.isdisjoint(kernel.path for kernel in target.place.site.kernels)
    ]
    return [target.scale._replace(units=()) for target in rated or units.targets]


def _rate(slope: Array, kernel: Array, shape: tuple[int, ...]) -> Array:
    """(E[g²] / E[W²])^½, over the axes that slices do not number."""
    axes = tuple(axis for axis, n in enumerate(shape) if n == 1)
    squares = [
        jnp.mean(jnp.square(jnp.abs(x).astype(jnp.float32)), axes, keepdims=True)
        for x in (slope, kernel)
    ]
    return jnp.sqrt(squares[0] / jnp.where(squares[1] > 0, squares[1], 1))


def _apart(uses: Uses, rates: Mapping[str, Array]) -> tuple[dict[str, Array], Array]:
    """log(C_k / C̄) of each slice, and the largest size of one."""
    known = {p: _used(uses, p) & (x > 0) for p, x in rates.items()}
    logs = {p: jnp.log(jnp.where(known[p], x, 1)) for p, x in rates.items()}
    count = sum(jnp.sum(x) for x in known.values())
    mean = sum(jnp.sum(x) for x in logs.values()) / jnp.maximum(count, 1)
    apart = {p: jnp.where(known[p], x - mean, 0) for p, x in logs.items()}
    return apart, jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in apart.values()]))


def _used(uses: Uses, path: str) -> Any:
    return uses.counts[path] > 0


def _check(uses: Uses, state: _State, tolerance: float | None) -> None:
    if not concrete(state):
        return
    for path, rate in zip(uses.shapes, np.asarray(state.best.slowest), strict=True):
        if not (np.isfinite(rate) and rate > 0):
            raise ValueError(
                f"{path or 'params'}: the gradient of the kernel is {rate:.3g}, so that no scale "
                "gives it the rate of the others: name it in keep="
            )
    if tolerance is not None and not state.best.spread <= np.log1p(tolerance):
        farthest = np.asarray(state.best.farthest)
        worst, passes = int(np.abs(farthest).argmax()), int(state.passes)
        raise ValueError(
            f"{list(uses.shapes)[worst] or 'params'}: its rate was {np.exp(farthest[worst]):.3g} "
            "times the mean when all were nearest, in iteration "
            f"{np.argmin(state.history[:passes]) + 1} of {passes}: raise iterations, or "
            f"tolerance={tolerance}, or pass None for what can be had, or name it in keep=, and "
            "the other factor if it is one of a product of signals, which keeps its rate whatever "
            "their scales"
        )
