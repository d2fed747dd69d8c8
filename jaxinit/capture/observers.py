"""What to compute at a site: observers, pure functions of a site, a side and the value there."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxinit.capture.sites import Observer, Side, Site

# Below this an activation passes less than a twentieth of the gradient: |z| > 2.2 for tanh.
FLAT = 0.05


def combined(*observers: Observer) -> Observer:
    """The observer whose statistics are those of several, which give dictionaries.

    Args:
        *observers: the later ones win where they give the same name.

    Returns:
        An observer.

    >>> both = combined(moments, lambda site, side, value: {"size": value.size})
    >>> sorted(both(None, "input", jax.numpy.ones(3)))[-3:]
    ['size', 'std', 'zeros']
    """

    def observer(site: Site, side: Side, value: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for each in observers:
            found.update(each(site, side, value) or {})
        return found

    return observer


def moments(site: Site, side: Side, value: Array) -> dict[str, Array]:
    """Scalars of all entries x, in float32.

    `mean`, `mean_square` = E[x²], `rms` its root, `std` = (E[x²] - E[x]²)^½, `max_abs` = max |x|,
    `zeros`, the share of x = 0, and `nonfinite`, the number of infinities and NaN.

    >>> float(moments(None, "output", jnp.array([3.0, -4.0, 0.0, 0.0]))["rms"])
    2.5
    """
    if not jnp.issubdtype(value.dtype, jnp.inexact):
        return {}
    sums = _sums(value, tuple(range(value.ndim)))
    return _shares(sums, max(value.size, 1))


def units(site: Site, side: Side, value: Array) -> dict[str, Array]:
    """Vectors over the units of a kernel or an activation, of their outputs and cotangents.

    `unit_mean`, `unit_mean_square` and `unit_max_abs` (0: dead) are over all else than the units;
    `unit_projection` is the product with one fixed random vector there, over its length's root:
    units that are equal in it are equal everywhere, with probability one.
    """
    if side == "input" or not _has_units(site):
        return {}
    rows = tuple(axis for axis in range(value.ndim) if axis not in site.units)
    return _vectors(_sums(value, rows), _projection(value, rows), value, rows)


def examples(site: Site, side: Side, value: Array) -> dict[str, Array]:
    """`cosine`, the mean cosine between the outputs for two different examples.

    From unit vectors u_i it is (|Σ u_i|² - n) / (n² - n), one pass over the output.
    """
    axis = site.examples
    if side != "output" or axis is None or site.shape[axis] < 2 or not _has_units(site):
        return {}
    n = site.shape[axis]
    rest = tuple(a for a in range(value.ndim) if a != axis)
    x = value.astype(jnp.float32)
    norm = jnp.sqrt(jnp.sum(x * x, rest, keepdims=True))
    weight = jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1), 0)
    present = jnp.sum(norm > 0)
    total = jnp.tensordot(weight.reshape(n), x, ((0,), (axis,)))
    return {"cosine": (jnp.sum(total**2) - present) / jnp.maximum(present * (present - 1), 1)}


def entropy(site: Site, side: Side, value: Array) -> dict[str, Array]:
    """`entropy` of a softmax's rows, over the logarithm of the number of their nonzero entries.

    1 for uniform rows and 0 for one-hot ones, masked or not.
    """
    if side != "output" or site.kind != "softmax":
        return {}
    p = value.astype(jnp.float32)
    bits = -jnp.sum(jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1)), 0))
    most = jnp.sum(jnp.log(jnp.maximum(jnp.sum(p > 0, site.units), 1).astype(jnp.float32)))
    return {"entropy": bits / jnp.where(most > 0, most, 1)}


def slopes(site: Site, side: Side, value: Array) -> dict[str, Array]:
    """Of an activation φ at its inputs z: `flat`, the share with |φ'(z)| < 0.05, and `unit_slope`.

    `unit_slope` is the mean of |φ'(z)| for each unit.
    """
    if side != "input" or site.kind != "activation":
        return {}
    z = value.astype(jnp.float32)
    _, slope = jax.jvp(site.activation.fn, (z,), (jnp.ones_like(z),))
    rows = tuple(axis for axis in range(value.ndim) if axis not in site.units)
    size = jnp.abs(slope)
    flat = jnp.mean((size < FLAT).astype(jnp.float32))
    return {"flat": flat, "unit_slope": jnp.mean(size, rows)}


def statistics(site: Site, side: Side, value: Array) -> dict[str, Array]:
    """The default observer: `moments`, `units`, `examples`, `entropy` and `slopes` together."""
    if side != "input" and _has_units(site) and jnp.issubdtype(value.dtype, jnp.inexact):
        rows = tuple(axis for axis in range(value.ndim) if axis not in site.units)
        sums = _sums(value, rows)
        over = {name: jnp.max(x) if name == "max_abs" else jnp.sum(x) for name, x in sums.items()}
        found = _shares(over, max(value.size, 1))
        found |= _vectors(sums, _projection(value, rows), value, rows)
    else:
        found = moments(site, side, value)
    return {
        **found,
        **examples(site, side, value),
        **entropy(site, side, value),
        **slopes(site, side, value),
    }


def _has_units(site: Site) -> bool:
    return bool(site.kernels) or site.kind == "activation"


def _sums(value: Array, axes: tuple[int, ...]) -> dict[str, Array]:
    x = value.astype(jnp.float32)
    size = jnp.abs(x)
    return {
        "mean": jnp.sum(x, axes),
        "mean_square": jnp.sum(x * x, axes),
        "max_abs": jnp.max(size, axes, initial=0),
        "zeros": jnp.sum((x == 0).astype(jnp.float32), axes),
        "nonfinite": jnp.sum((~jnp.isfinite(x)).astype(jnp.float32), axes),
    }


def _shares(sums: dict[str, Array], size: int) -> dict[str, Array]:
    mean, square = sums["mean"] / size, sums["mean_square"] / size
    return {
        "mean": mean,
        "mean_square": square,
        "rms": jnp.sqrt(square),
        "std": jnp.sqrt(jnp.maximum(square - mean**2, 0)),
        "max_abs": sums["max_abs"],
        "zeros": sums["zeros"] / size,
        "nonfinite": sums["nonfinite"],
    }


def _vectors(
    sums: dict[str, Array], projection: Array, value: Array, rows: tuple[int, ...]
) -> dict[str, Array]:
    count = max(math.prod(value.shape[axis] for axis in rows), 1)
    return {
        "unit_mean": sums["mean"] / count,
        "unit_mean_square": sums["mean_square"] / count,
        "unit_max_abs": sums["max_abs"],
        "unit_projection": projection / math.sqrt(count),
    }


def _projection(value: Array, rows: tuple[int, ...]) -> Array:
    shape = tuple(value.shape[axis] for axis in rows)
    return jnp.tensordot(
        direction(shape), value.astype(jnp.float32), (tuple(range(len(rows))), rows)
    )


def direction(shape: tuple[int, ...]) -> Array:
    """Fixed numbers in [-√3, √3), of variance 1: few operations, as they are at every site."""
    bits = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape) + jnp.uint32(1)
    for factor in (0x9E3779B1, 0x85EBCA77):  # odd, so that no two indices collide
        bits = bits * jnp.uint32(factor)
        bits = bits ^ (bits >> 15)
    return (bits >> 8).astype(jnp.float32) * (math.sqrt(12) / 2**24) - math.sqrt(3)
