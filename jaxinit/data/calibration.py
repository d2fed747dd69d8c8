"""Scales of kernels by which every layer's output gets unit variance, and a record of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxinit.data.parameters import Parameters, concrete, multiplied
from jaxinit.data.uses import Uses

# From factors of the leaves, and whether each layer's output is normalized before it goes on, to
# the variance at each site, of the shape of its steps.
Measure = Callable[[Mapping[str, Any], Any], dict[str, Any]]


@dataclass(frozen=True)
class Calibration:
    """What was done to parameters.

    Args:
        scales: by the path of a changed leaf, the factor, of a shape that broadcasts to it.
        shifts: by path, what was added after that.
        variances: by the name of a site, of its output in the end, in each step of the scans around
            it, or of each unit.
        passes: how often the function was run.
        history: of what was minimized, a number a step.
        left: by the path of a kernel that was not changed, why.
    """

    scales: Mapping[str, Any]
    shifts: Mapping[str, Any] = field(default_factory=dict)
    variances: Mapping[str, Any] = field(default_factory=dict)
    passes: Any = 1
    history: Any = ()
    left: Mapping[str, str] = field(default_factory=dict)


def calibrated(parameters: Parameters, report: Calibration, with_report: bool) -> Any:
    """The parameters times the scales of a record, and the record if it is wanted."""
    changed = parameters.changed(multiplied(parameters.arrays, report.scales))
    return (changed, report) if with_report else changed


class Scaled(NamedTuple):
    """Factors of the leaves, the variances at the sites for them, and the number of passes."""

    factors: dict[str, Any]
    variances: dict[str, Any]
    passes: Any


class _State(NamedTuple):
    """Logarithms of factors, and the last change of them; what was measured last, raw and pooled.

    `rates` are by how much the logarithm of a layer's deviation grows with that of its factor: 1,
    or up to the number of its uses where they are one after the other.
    """

    logs: dict[str, Any]
    changes: dict[str, Any]
    rates: dict[str, Any]
    pooled: dict[str, Any]
    variances: dict[str, Any]
    passes: Any


def unit_variance(
    uses: Uses, measure: Measure, *, tolerance: float, trials: int, compiled: bool
) -> Scaled:
    """Factors for which the variance, pooled over the uses of a slice of a kernel, is 1.

    Every first pass normalizes the outputs of the layers whose kernels are used once, so that it
    finds all of their factors at once, whatever comes before them. Every second is the function
    itself: it ends the search where all are within the tolerance. A kernel with several uses goes
    through the network as it is, and is found by the secant method, as it multiplies itself.

    Args:
        uses: of the kernels.
        measure: variances from factors.
        tolerance: on a variance.
        trials: most pairs of passes.
        compiled: whether to loop in JAX.

    Returns:
        The factors, the variances of the last pass and the number of passes.
    """
    shapes = uses.shapes
    start = _State(
        {path: jnp.zeros(shape) for path, shape in shapes.items()},
        {path: jnp.zeros(shape) for path, shape in shapes.items()},
        {path: jnp.maximum(jnp.asarray(uses.counts[path]), 1.0) for path in shapes},
        {path: jnp.zeros(shape) for path, shape in shapes.items()},
        {use.site: jnp.zeros(use.steps) for use in uses.uses},
        jnp.zeros((), jnp.int32),
    )

    def again(state: _State) -> Any:
        good = [jnp.all(within(x, tolerance)) for x in uses.pooled(state.variances).values()]
        checked = state.passes % 2 == 0
        found = checked & jnp.all(jnp.stack(good)) & (state.passes > 0)
        return ~found & (state.passes < 2 * trials)

    def advanced(state: _State) -> _State:
        finding = state.passes % 2 == 0
        factors = {path: jnp.exp(log) for path, log in state.logs.items()}
        variances = measure(factors, finding)
        pooled = {path: _log(x) for path, x in uses.pooled(variances).items()}
        rates = {
            path: jnp.where(
                (uses.counts[path] > 1) & (state.passes > 0),
                _secant(rate, pooled[path] - state.pooled[path], state.changes[path]).clip(
                    0.5, np.maximum(uses.counts[path], 1)
                ),
                rate,
            )
            for path, rate in state.rates.items()
        }
        steps = {path: -pooled[path] / 2 / rate for path, rate in rates.items()}
        found = _State(
            {path: log + steps[path] for path, log in state.logs.items()},
            steps,
            rates,
            pooled,
            variances,
            state.passes + 1,
        )
        kept = state._replace(variances=variances, passes=state.passes + 1)
        return jax.tree.map(lambda a, b: jnp.where(finding, a, b), found, kept)

    state = start
    if compiled:
        state = jax.lax.while_loop(again, advanced, start)
    else:
        while again(state):
            state = advanced(state)
    factors = {path: jnp.exp(log) for path, log in state.logs.items()}
    return Scaled(factors, state.variances, state.passes)


def check_variances(uses: Uses, found: Scaled, tolerance: float, what: str) -> None:
    """Refuse variances that are zero, not finite or not 1, by the path of the kernel.

    Args:
        uses: of the kernels.
        found: the result; one that is traced is taken on trust.
        tolerance: on a variance.
        what: was done, for errors.

    Raises:
        ValueError: if one is.
    """
    if not concrete(found.variances):
        return
    pooled: dict[str, Any] = uses.pooled(
        {site: np.asarray(x) for site, x in found.variances.items()}
    )
    for path, values in pooled.items():
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(
                f"{path}: the outputs of {_site(uses, path)!r} have variance "
                f"{values.min() if np.isfinite(values).all() else 'NaN'}, which no scale makes 1: "
                "start it otherwise than at zero, look for what comes before it, or name it in "
                "keep="
            )
    path = max(pooled, key=lambda p: float(abs(pooled[p] - 1).max()))
    worst = float(pooled[path].flat[abs(pooled[path] - 1).argmax()])
    if not within(worst, tolerance):
        raise ValueError(
            f"{path}: the outputs of {_site(uses, path)!r} still have variance {worst:.4g} after "
            f"{int(found.passes)} passes of {what}: raise trials or tolerance={tolerance}, or name "
            "it in keep= (a scale has no effect before a normalization of the kernel itself)"
        )


def within(variance: Any, tolerance: float) -> Any:
    """Whether a variance is 1 but for the tolerance."""
    return abs(variance - 1) <= tolerance


def _site(uses: Uses, path: str) -> str:
    return next(use.site for use in uses.uses if use.path == path)


def _log(variance: Any) -> Any:
    good = jnp.isfinite(variance) & (variance > 0)
    return jnp.log(jnp.where(good, variance, 1))


def _secant(rate: Any, difference: Any, change: Any) -> Any:
    far = abs(change) > 1e-4
    return jnp.where(far, difference / 2 / jnp.where(far, change, 1), rate)
