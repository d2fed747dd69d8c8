"""Units whose mean and variance are set from a batch, all layers in one pass."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinit._checks import wide
from jaxinit.capture import Site, Trace
from jaxinit.capture.instrument import Instrument
from jaxinit.data.affine import Target
from jaxinit.data.calibration import Calibration
from jaxinit.data.parameters import Parameters, concrete, multiplied
from jaxinit.data.uses import Uses


class Moments(NamedTuple):
    """Of the units of each place: the mean of the input, and mean and variance of the output."""

    inputs: dict[str, Any]
    means: dict[str, Any]
    variances: dict[str, Any]


class Units:
    """The scales and the shifts of some places, each of which has its own.

    Args:
        trace: of the function.
        targets: the places.
        parameters: of the function.
        what: is to be done, for errors.

    Raises:
        ValueError: if a leaf has several uses, or is a table that is looked up too.
    """

    def __init__(
        self, trace: Trace, targets: Sequence[Target], parameters: Parameters, what: str
    ) -> None:
        self.trace, self.targets, self.parameters, self.what = trace, targets, parameters, what
        shapes = {path: tuple(array.shape) for path, array in parameters.arrays.items()}
        self.scales = Uses([target.scale for target in targets], shapes)
        self.biases = Uses([t.bias for t in targets if t.bias is not None], shapes)
        self._by_site = {target.site: target for target in targets}
        tables = {k.path for s in trace.sites if s.kind == "embedding" for k in s.kernels}
        for path in self.scales.shapes:
            if path in tables:
                raise ValueError(
                    f"{path or 'params'}: it is looked up as a table too, and what makes its "
                    f"outputs unit in {what} changes what all layers are given: name it in keep="
                )
        for uses in (self.scales, self.biases):
            for use in uses.uses:
                if (uses.counts[use.path] > 1).any():
                    raise ValueError(
                        f"{use.path or 'params'}: it is used {int(uses.counts[use.path].max())} "
                        f"times, and {what} makes the units of each use unit: as in a recurrent "
                        "network no one scale does, so name it in keep="
                    )

    def measured(
        self, arrays: Mapping[str, Any], batch: Any, *, mean: Any, divide: Any, change: Any
    ) -> Moments:
        """The moments of the units.

        Args:
            arrays: of the parameters; where the outputs are changed their biases must be zero.
            batch: of the function.
            mean: of the units, in deviations of the layer, where there is a bias.
            divide: whether the units go on with variance 1, or with the mean variance of a layer.
            change: whether to change the outputs at all.

        Returns:
            By site, of shape (*steps, *units).
        """

        def observe(site: Site, side: str, value: Array) -> Any:
            if side == "output":
                return _moments(value, site.units)
            target = self._by_site[site.name]
            return _moments(value, site.units)[0] if target.before else None

        def replace(site: Site, value: Array) -> Array:
            mu, var = _moments(value, site.units)
            shape = [n if axis in site.units else 1 for axis, n in enumerate(value.shape)]
            mu, var = mu.reshape(shape), _safe(var.reshape(shape))
            spread = _spread(var, 0, divide)
            found = value.astype(wide(value.dtype)) * spread / jnp.sqrt(var)
            if self._by_site[site.name].bias is not None:
                found = found + (mean - mu / jnp.sqrt(var)) * spread
            return jnp.where(change, found, value.astype(found.dtype))

        places = tuple(target.place for target in self.targets)
        run = Instrument(self.trace.plan._replace(places=places), observe, replace).run
        dynamic = self.trace.arguments(self.parameters.rebuilt(arrays), (batch,))
        _, sides = run(dynamic, {})
        return Moments(
            {name: side["input"] for name, side in sides.items() if "input" in side},
            {name: side["output"][0] for name, side in sides.items()},
            {name: side["output"][1] for name, side in sides.items()},
        )

    @property
    def paths(self) -> list[str]:
        """Of the leaves that are changed."""
        return [*self.scales.shapes, *self.biases.shapes]

    def report(self, end: "Normalized", passes: Any, left: dict[str, str]) -> Calibration:
        """The record of what was done."""
        own = self.parameters.arrays
        shifts = {path: end.arrays[path] - own[path] for path in self.biases.shapes}
        return Calibration(end.factors, shifts, end.moments.variances, passes, left=left)

    def unbiased(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """The arrays with zeros for the biases of the units."""
        zeros = {path: jnp.zeros_like(arrays[path]) for path in self.biases.shapes}
        return {**arrays, **zeros}

    def factors(self, found: Moments, divide: Any) -> dict[str, Array]:
        """By path of a scale, what brings its units to variance 1, or to that of their layer."""
        values = {}
        for target in self.targets:
            variance = _safe(found.variances[target.site])
            spread = _spread(variance, len(target.place.site.steps), divide)
            values[target.site] = spread / jnp.sqrt(variance)
        return self.scales.pooled(values)

    def scaled(self, arrays: Mapping[str, Any], factors: Mapping[str, Any]) -> dict[str, Array]:
        """The arrays with scales that multiply the units by factors."""
        forms = {target.scale.path: target.form for target in self.targets}
        linear = {path: x for path, x in factors.items() if forms[path] == "linear"}
        changed = {**arrays, **multiplied(arrays, linear)}
        for path in factors.keys() - linear.keys():
            own = arrays[path]
            changed[path] = (own.astype(wide(own.dtype)) + jnp.log(factors[path])).astype(own.dtype)
        return changed

    def shifted(
        self, arrays: Mapping[str, Any], found: Moments, *, mean: Any, divide: Any
    ) -> dict[str, Array]:
        """The arrays with biases for which each unit has a mean, in deviations of its layer."""
        values = {}
        for target in self.targets:
            variance = _safe(found.variances[target.site])
            if target.before:
                values[target.site] = -found.inputs[target.site]
                continue
            spread = _spread(variance, len(target.place.site.steps), divide)
            values[target.site] = (mean - found.means[target.site] / jnp.sqrt(variance)) * spread
        changed = dict(arrays)
        for path, bias in self.biases.pooled(values).items():
            own = arrays[path]
            full = jnp.broadcast_to(bias, own.shape)
            used = jnp.broadcast_to(self.biases.counts[path] > 0, own.shape)
            changed[path] = jnp.where(used, full.astype(own.dtype), own)
        return changed

    def check(self, found: Moments, tolerance: float) -> None:
        """Refuse units without variance, and those that do not have mean 0 and variance 1.

        Raises:
            ValueError: naming the path of the scale.
        """
        if not concrete(found):
            return
        for target in self.targets:
            variance = np.asarray(found.variances[target.site])
            path = target.scale.path or "params"
            if not (np.isfinite(variance) & (variance > 0)).all():
                raise ValueError(
                    f"{path}: {int((~(variance > 0)).sum())} of {variance.size} units of "
                    f"{target.site!r} have variance 0 or NaN, which no scale makes 1: start it "
                    "otherwise than at zero, look for what comes before it, or name it in keep="
                )
            error = float(np.max(abs(variance - 1)))
            if error > tolerance:
                raise ValueError(
                    f"{path}: the units of {target.site!r} have variances that are off 1 by "
                    f"{error:.3g} after {self.what}: raise tolerance={tolerance}, or name it in "
                    "keep= (a scale has no effect before a normalization of the kernel itself)"
                )


class Normalized(NamedTuple):
    """All arrays, by what the scales were multiplied, and the moments of the units that result."""

    arrays: dict[str, Any]
    factors: dict[str, Any]
    moments: Moments


def normalized(units: Units, batch: Any, mean: float) -> Normalized:
    """The arrays for which every unit has variance 1 and a mean.

    Args:
        units: of the function.
        batch: of it.
        mean: of the units with a bias.

    Returns:
        The arrays, and the moments in a pass of the function itself.
    """

    def run(arrays: Mapping[str, Any], batch: Any) -> Normalized:
        start = units.unbiased(arrays)

        def measured(arrays: Mapping[str, Any], change: Any) -> Moments:
            return units.measured(arrays, batch, mean=mean, divide=True, change=change)

        def step(i: Any, state: Normalized) -> Normalized:
            found = measured(state.arrays, i == 0)
            factors = units.factors(found, True)
            changed = units.shifted(units.scaled(start, factors), found, mean=mean, divide=True)
            first = Normalized(changed, factors, found)
            second = state._replace(moments=found)
            return jax.tree.map(lambda a, b: jnp.where(i == 0, a, b), first, second)

        shapes = jax.eval_shape(lambda: Normalized(start, *_both(units, measured(start, True))))
        empty = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        # A loop, so that both passes are compiled as one.
        return jax.lax.fori_loop(0, 2, step, empty._replace(arrays=start))

    return jax.jit(run)(units.parameters.arrays, batch)


def _both(units: Units, found: Moments) -> tuple[dict[str, Array], Moments]:
    return units.factors(found, True), found


def _moments(value: Array, units: Sequence[int]) -> tuple[Array, Array]:
    x = value.astype(wide(value.dtype))
    rows = tuple(axis for axis in range(value.ndim) if axis not in units)
    return x.mean(rows), x.var(rows)


def _spread(variance: Array, steps: int, divide: Any) -> Array:
    """The deviation that the units of a layer are to have."""
    axes = tuple(range(steps, variance.ndim))
    return jnp.where(divide, 1, jnp.sqrt(variance.mean(axes, keepdims=True)))


def _safe(variance: Any) -> Any:
    return jnp.where((variance > 0) & jnp.isfinite(variance), variance, 1)
