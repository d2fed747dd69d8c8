"""The vital signs of a network: what is measured at each site, and what the numbers tell.

All that is asked of a value is a few matrix products, for which XLA compiles nothing new: sums of
squares, the products with two fixed random vectors for each unit, the products of examples.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinit.capture.observers import direction
from jaxinit.capture.sites import Activation, Side, Site
from jaxinit.diagnosis import thresholds

Numbers = np.ndarray[Any, Any]
# Of more examples the first tell enough of what they have in common.
EXAMPLES = 64
_GRID = np.linspace(-30, 30, 6001)
_PRECISION = jax.lax.Precision.HIGHEST


class Signs:
    """The observer of a diagnosis, for the sites of a trace.

    Args:
        sites: of the trace.
    """

    def __init__(self, sites: Sequence[Site]) -> None:
        shapes = {id(f): _shape(f) for s in sites if s.kind == "activation" for f in s.activations}
        self.shapes = {s.name: shapes[id(s.activations[0])] for s in sites if _is_activation(s)}
        self.attention = {s.name for s in _attention(sites)}

    def __call__(self, site: Site, side: Side, value: Any) -> dict[str, Any]:
        """What a side of a site gives."""
        if not jnp.issubdtype(value.dtype, jnp.inexact):
            return {}
        x = (jnp.abs(value) if jnp.iscomplexobj(value) else value).astype(jnp.float32)
        if site.kernels:
            return self._of_kernel(site, side, x)
        shape = self.shapes.get(site.name)
        if shape is not None and side == "input" and shape.steep is not None:
            low, high = shape.steep
            live = (x >= shape.live[0]) & (x <= shape.live[1])
            flat = live & ((x < low) | (x > high))
            return {"flat": jnp.sum(flat) / jnp.maximum(jnp.sum(live), 1)}
        if shape is not None and side == "output" and shape.rectifies:
            return {"projection": _projection(site, x)}
        if side == "output" and site.name in self.attention:
            return _concentration(site, x)
        return {}

    def _of_kernel(self, site: Site, side: Side, x: Any) -> dict[str, Any]:
        found = {"square": jnp.vdot(x, x, precision=_PRECISION)}
        if side != "input":
            found["projection"] = _projection(site, x)
        if side == "output" and site.examples is not None and x.size:
            rows = jnp.moveaxis(x, site.examples, 0)[:EXAMPLES]
            rows = rows.reshape(rows.shape[0], -1)
            found["gram"] = jnp.matmul(rows, rows.T, precision=_PRECISION)
        return found


@dataclass(frozen=True)
class Shape:
    """Where an activation is steep, if it is flat at both ends, and whether it is 0 at one.

    Where a rectifier is 0 it does not saturate: the rest of the line is live.
    """

    steep: tuple[float, float] | None
    rectifies: bool
    live: tuple[float, float] = (-math.inf, math.inf)


def _is_activation(site: Site) -> bool:
    return site.kind == "activation" and bool(site.activations)


def _shape(activation: Activation) -> Shape:
    with jax.ensure_compile_time_eval():
        values = np.asarray(jax.jit(activation.fn)(jnp.asarray(_GRID, jnp.float32)))
    y = values.astype(np.float64)
    steps: Numbers = np.diff(y) / np.diff(_GRID)
    steep = np.flatnonzero(~(np.abs(steps) < thresholds.SLOPE))
    zero_below, zero_above = (not end.any() for end in (y[:100], y[-100:]))
    rectifies = zero_below != zero_above
    # A step has no slope to measure: whoever trains through it has a rule of their own.
    if len(steep) < 3 or steep[0] == 0 or steep[-1] == len(steps) - 1:
        return Shape(None, rectifies)
    low, high = float(_GRID[steep[0]]), float(_GRID[steep[-1] + 1])
    if not rectifies:
        return Shape((low, high), rectifies)
    return Shape((low, high), rectifies, (low, math.inf) if zero_below else (-math.inf, high))


def _attention(sites: Sequence[Site]) -> Iterator[Site]:
    """Softmaxes after which an activation is multiplied by another."""
    products = [i for i, s in enumerate(sites) if s.kind == "matmul" and not s.kernels]
    softmaxes = [i for i, s in enumerate(sites) if s.kind == "softmax"]
    for i, after in zip(softmaxes, [*softmaxes[1:], len(sites)], strict=False):
        if any(i < product < after for product in products):
            yield sites[i]


def _projection(site: Site, x: Any) -> Any:
    rows = tuple(axis for axis in range(x.ndim) if axis not in site.units)
    shape = tuple(x.shape[axis] for axis in rows)
    across = tuple(range(1, len(shape) + 1))
    both = jnp.tensordot(direction((2, *shape)), x, (across, rows), precision=_PRECISION)
    return both.reshape(2, -1)


def _concentration(site: Site, p: Any) -> dict[str, Any]:
    """Nats that rows of attention miss of the largest entropy, over all, and that entropy."""
    # In half precision rows do not sum to 1.
    q = p / jnp.sum(p, site.units, keepdims=True)
    count = jnp.sum(p > 0, site.units, keepdims=True).astype(jnp.float32)
    informed = jnp.where(p > 0, q * jnp.log(jnp.where(p > 0, q * count, 1)), 0)
    return {"missing": jnp.sum(informed), "most": jnp.sum(jnp.log(jnp.maximum(count, 1)))}


@dataclass(frozen=True)
class Reading:
    """What was measured at a site, or at those that share its kernel: numbers by step.

    Args:
        site: the first of them.
        path: of its kernel, with the index of a layer that is scanned over, or its name.
        squares: by side, the sum of squares at each step.
        size: entries of the output at a step.
        given: entries of the input at a step.
        twins: the share of units that compute what another does and get the same gradient.
        cosine: between examples.
        dead: the share of units that are 0 on the whole batch.
        flat: the share of inputs where the activation is flat.
        missing: nats of entropy that attention misses, a row.
        entropy: of attention, over the largest.
    """

    site: Site
    path: str
    squares: Mapping[str, Numbers]
    size: int
    given: int
    twins: float | None = None
    cosine: float | None = None
    dead: float | None = None
    flat: float | None = None
    missing: float | None = None
    entropy: float | None = None

    def rms(self, side: Side) -> float | None:
        """Over all steps; None if it was not measured."""
        squares = self.squares.get(side)
        if squares is None:
            return None
        size = self.given if side == "input" else self.size
        return math.sqrt(float(np.sum(squares)) / max(size * squares.size, 1))

    def norm(self, side: Side) -> float:
        """Of the values at all steps together."""
        return math.sqrt(float(np.sum(self.squares.get(side, np.zeros(1)))))

    @property
    def units(self) -> int:
        """How many the site has."""
        return math.prod(self.site.shape[axis] for axis in self.site.units)

    def finite(self, *sides: Side) -> bool:
        """Whether the sums of squares of some sides are."""
        return all(np.isfinite(self.squares[side]).all() for side in sides if side in self.squares)


def readings(sites: Sequence[Site], statistics: Mapping[str, Any]) -> list[Reading]:
    """The readings of a run, in the order of the computation, a scanned layer each step.

    Args:
        sites: of the trace.
        statistics: by the name of a site and by side, as `Signs` gives them.
    """
    layered = {scan for site in sites for scan in _layers(site)}
    found: list[tuple[tuple[float, ...], Reading]] = []
    groups: dict[Any, list[Site]] = {}
    for site in sites:
        if any(statistics.get(site.name, {}).values()):
            axes = tuple(i for i, scan in enumerate(site.scans) if scan in layered)
            shared = (site.kernels, site.kind, site.shape, site.steps, axes)
            groups.setdefault(shared if site.kernels else (site.name, axes), []).append(site)
    starts: dict[tuple[int, ...], int] = {}
    order = {site.name: i for i, site in enumerate(sites)}
    for (*_, axes), group in groups.items():
        site = group[0]
        start = starts.setdefault(site.scans, order[site.name]) if axes else order[site.name]
        for layer in np.ndindex(*(site.steps[axis] for axis in axes)):
            sides = [_at(statistics[s.name], s, axes, layer) for s in group]
            reading = _reading(site, layer, sides)
            found.append(((start, *layer, order[site.name]), reading))
    return [reading for _, reading in sorted(found, key=lambda pair: pair[0])]


def _layers(site: Site) -> Iterator[int]:
    """The scans around a site that run over an axis of its kernels."""
    for kernel in site.kernels:
        yield from (site.scans[place] for place, _ in kernel.slice.scans)
        # By an index that is not known before: of each step another, if there are as many.
        if not (kernel.whole or kernel.axes is None or kernel.slice.scans):
            batch = kernel.axes.batch_axis
            sizes = {kernel.shape[axis] for axis in np.ravel(np.asarray(batch, int))}
            yield from (s for s, n in zip(site.scans, site.steps, strict=True) if n in sizes)


def _at(
    sides: Mapping[str, Any], site: Site, axes: tuple[int, ...], layer: tuple[int, ...]
) -> dict[str, dict[str, Numbers]]:
    """Numbers of a layer, their first axis that of the steps in time."""
    index = tuple(
        layer[axes.index(axis)] if axis in axes else slice(None) for axis in range(len(site.steps))
    )
    times = len(site.steps) - len(axes)

    def pick(x: Any) -> Numbers:
        chosen = np.asarray(x, np.float64)[index]
        return chosen.reshape(-1, *chosen.shape[times:])

    return {side: {k: pick(v) for k, v in (found or {}).items()} for side, found in sides.items()}


def _reading(
    site: Site, layer: tuple[int, ...], sides: Sequence[dict[str, dict[str, Numbers]]]
) -> Reading:
    def joined(side: str, name: str) -> Numbers | None:
        parts = [each[side][name] for each in sides if name in each.get(side, {})]
        return np.concatenate(parts) if parts else None

    squares = {
        s: x for s in ("input", "output", "cotangent") if (x := joined(s, "square")) is not None
    }
    outputs, cotangents = joined("output", "projection"), joined("cotangent", "projection")
    gram, flat = joined("output", "gram"), joined("input", "flat")
    missing, most = joined("output", "missing"), joined("output", "most")
    rows = math.prod(n for a, n in enumerate(site.shape) if a not in site.units)
    dead = None
    if not site.kernels and outputs is not None:
        dead = float(np.mean(~outputs.any((0, 1))))
    return Reading(
        site,
        (site.kernel.path if site.kernel else site.name) + "".join(f"[{i}]" for i in layer),
        squares,
        math.prod(site.shape),
        math.prod(site.input_shape),
        twins=_twins(outputs, cotangents) if site.kernels else None,
        cosine=None if gram is None else cosine(gram.sum(0)),
        dead=dead,
        flat=None if flat is None else float(flat.mean()),
        missing=None if missing is None else float(missing.mean()) / rows,
        entropy=_entropy(missing, most),
    )


def _entropy(missing: Numbers | None, most: Numbers | None) -> float | None:
    if missing is None or most is None or not most.sum() > 0:
        return None
    return 1 - float(missing.sum()) / float(most.sum())


def _twins(outputs: Numbers | None, cotangents: Numbers | None) -> float | None:
    """The share of units that agree with another in all their projections."""
    if outputs is None or cotangents is None or outputs.shape[-1] < 2:
        return None
    columns = np.concatenate([x.reshape(-1, x.shape[-1]) for x in (outputs, cotangents)])
    if not np.isfinite(columns).all():
        return None
    scale = np.abs(columns).max(1, keepdims=True)
    digits = np.round(columns / np.where(scale > 0, scale, 1) / thresholds.TWIN)
    _, first, counts = np.unique(digits, axis=1, return_inverse=True, return_counts=True)
    return float(np.mean(counts[np.ravel(first)] > 1))


def cosine(gram: Numbers) -> float | None:
    """The mean cosine of different examples, of which some may be 0 and have no direction.

    >>> round(cosine(np.array([[4.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])), 6)
    1.0
    """
    norms = np.sqrt(np.maximum(np.diag(gram), 0))
    alive = norms > 0
    n = int(alive.sum())
    if n < 2 or not np.isfinite(gram).all():
        return None
    unit = gram[np.ix_(alive, alive)] / np.outer(norms[alive], norms[alive])
    return (float(unit.sum()) - n) / (n * n - n)


def trend(norms: Iterable[float]) -> float | None:
    """What a signal is multiplied by from first to last: the median slope of the logarithms.

    The median over all pairs leaves out a layer that is unlike the others, such as a stem.

    Args:
        norms: positive and finite ones count.

    Reference:
        Sen, "Estimates of the regression coefficient based on Kendall's tau", 1968.

    >>> round(trend([8.0, 4.0, 2.0, 1.0]), 6)
    0.125
    """
    kept = [(i, math.log(x)) for i, x in enumerate(norms) if x > 0 and math.isfinite(x)]
    slopes = [(b - a) / (j - i) for i, a in kept for j, b in kept if j > i]
    if not slopes:
        return None
    return math.exp(min(float(np.median(slopes)) * (kept[-1][0] - kept[0][0]), 700.0))
