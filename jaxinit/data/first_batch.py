"""Scales and biases from the first batch: weight normalization and activation normalization."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxinit._checks import positive
from jaxinit.data.affine import of_kernels, of_layers
from jaxinit.data.parameters import Parameters, listed, opened
from jaxinit.data.units import Units, normalized
from jaxinit.data.uses import layers, matches
from jaxinit.paths import Pattern


def weight_norm(
    apply_fn: Callable[[Any, Any], Any],
    params: Any,
    batch: Any,
    key: Any = None,
    *,
    tolerance: float = 0.02,
    keep: Sequence[Pattern] = (),
    with_report: bool = False,
) -> Any:
    """Scales g / σ[t] and biases -μ[t] / σ[t]: every unit t = g v·x / |v| gets mean 0, variance 1.

    Where a leaf multiplies the units of a kernel, as in `flax.linen.WeightNorm`, it is g; else the
    units of the kernel itself are scaled. A layer without a bias keeps its mean. One pass, in which
    the units are normalized before they go on, finds all layers, and a second one checks them.

    Args:
        apply_fn: any JAX function of (params, batch), such as `model.apply`.
        params: any pytree of its parameters, their kernels drawn.
        batch: its second argument: some hundred examples of the data.
        key: none is needed.
        tolerance: on the variance of a unit.
        keep: patterns of the paths of kernels to leave as they are.
        with_report: whether to return (params, `Calibration`).

    Returns:
        New parameters, in the dtypes and the shardings of params.

    Raises:
        TypeError: if apply_fn is no function, or batch holds no array.
        ValueError: before any work if params or batch hold a NaN, no kernel is found, or one has
            several uses, as in a recurrent network; and if a unit has variance 0, or its variance
            is not within the tolerance.

    >>> import jax
    >>> x = 3 + jax.random.normal(jax.random.key(0), (512, 16))
    >>> start = {"kernel": jax.random.normal(jax.random.key(1), (16, 4)), "bias": jax.numpy.ones(4)}
    >>> def apply(params, x):
    ...     return x @ params["kernel"] + params["bias"]
    >>> y = apply(weight_norm(apply, start, x), x)
    >>> print(f"{abs(y.mean(0)).max():.2f} {y.var(0).min():.2f} {y.var(0).max():.2f}")
    0.00 1.00 1.00

    Reference:
        Salimans, Kingma, "Weight Normalization", 2016, arXiv:1602.07868, eq. 5 and 6.
    """
    positive("tolerance", tolerance)
    parameters, traced = opened(apply_fn, params, batch)
    sites, left = layers(traced, parameters, keep, "weight_norm")
    units = Units(traced, list(of_kernels(traced, sites)), parameters, "weight_norm")
    return _finished(units, parameters, batch, tolerance, left, with_report)


def actnorm(
    apply_fn: Callable[[Any, Any], Any],
    params: Any,
    batch: Any,
    key: Any = None,
    *,
    tolerance: float = 0.02,
    keep: Sequence[Pattern] = (),
    with_report: bool = False,
) -> Any:
    """Scales and biases of y = s ⊙ x + b for which every unit of y has mean 0 and variance 1.

    Every place where a signal is multiplied by one leaf and another is added, in either order, is
    such a layer; s may be the exponential of its leaf. Those in a normalization are none, as they
    multiply no signal but its statistics.

    Args:
        apply_fn: any JAX function of (params, batch), such as `model.apply`.
        params: any pytree of its parameters.
        batch: its second argument: some hundred examples of the data.
        key: none is needed.
        tolerance: on the variance of a unit.
        keep: patterns of the paths of scales to leave as they are.
        with_report: whether to return (params, `Calibration`).

    Returns:
        New parameters, in the dtypes and the shardings of params.

    Raises:
        TypeError: if apply_fn is no function, or batch holds no array.
        ValueError: before any work if params or batch hold a NaN, there is no such layer, or one is
            used several times; and if a unit has variance 0, or its variance is not within the
            tolerance.

    >>> import jax
    >>> x = 3 + 2 * jax.random.normal(jax.random.key(0), (512, 4))
    >>> start = {"scale": jax.numpy.ones(4), "bias": jax.numpy.zeros(4)}
    >>> def apply(params, x):
    ...     return params["scale"] * x + params["bias"]
    >>> y = apply(actnorm(apply, start, x), x)
    >>> print(f"{abs(y.mean(0)).max():.2f} {y.var(0).min():.2f} {y.var(0).max():.2f}")
    0.00 1.00 1.00

    Reference:
        Kingma, Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", 2018,
        arXiv:1807.03039, section 3.1.
    """
    positive("tolerance", tolerance)
    parameters, traced = opened(apply_fn, params, batch)
    found = list(of_layers(traced))
    chosen = [t for t in found if not matches(keep, t.scale.path, parameters)]
    if not chosen:
        known = listed([target.scale.path for target in found]) or "none"
        raise ValueError(
            "actnorm found no place in apply_fn(params, batch) where a signal is multiplied by one "
            f"leaf of params and another is added; scales that were kept: {known}"
        )
    left = {t.scale.path: "kept" for t in found if t not in chosen}
    units = Units(traced, chosen, parameters, "actnorm")
    return _finished(units, parameters, batch, tolerance, left, with_report)


def _finished(
    units: Units,
    parameters: Parameters,
    batch: Any,
    tolerance: float,
    left: dict[str, str],
    with_report: bool,
) -> Any:
    end = normalized(units, batch, 0.0)
    units.check(end.moments, tolerance)
    changed = parameters.changed({path: end.arrays[path] for path in units.paths})
    return (changed, units.report(end, 2, left)) if with_report else changed
