"""Layer-sequential unit variance: every layer's output scaled to variance 1 on a batch."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxinit._checks import check_key, positive, whole
from jaxinit.capture import Kernel, Site, Trace
from jaxinit.data.calibration import Calibration, calibrated, check_variances, unit_variance
from jaxinit.data.parameters import Parameters, multiplied, opened
from jaxinit.data.uses import Uses, kernels, layers
from jaxinit.orthogonal import orthogonal as haar
from jaxinit.paths import Pattern
from jaxinit.rules import Rules
from jaxinit.trees import reinitialize


def lsuv(
    apply_fn: Callable[[Any, Any], Any],
    params: Any,
    batch: Any,
    key: Any = None,
    *,
    orthogonal: bool = True,
    tolerance: float = 0.02,
    trials: int = 10,
    keep: Sequence[Pattern] = (),
    with_report: bool = False,
) -> Any:
    """Kernels W / √Var[W x]: orthogonal, then scaled so that each product has variance 1.

    The variance is over all examples, positions and units of the output of a matrix product or a
    convolution, before its bias. The paper goes from layer to layer; here one forward pass, in
    which every output is normalized before it goes on, finds all scales at once, and a second one
    checks them. A kernel that is stacked along a scan, or that is indexed, has one scale for each
    slice. One with several uses, as in a recurrent network, has one scale, for which the mean
    variance of its uses is 1; it takes some more passes.

    Args:
        apply_fn: any JAX function of (params, batch), such as `model.apply`.
        params: any pytree of its parameters.
        batch: its second argument; a few hundred examples measure a variance to some percent.
        key: of the orthogonal start.
        orthogonal: whether to draw the kernels anew first; False scales those in params.
        tolerance: on a variance, relative.
        trials: most pairs of a pass that measures and one that checks.
        keep: patterns of the paths of kernels to leave as they are, such as a zero head.
        with_report: whether to return (params, `Calibration`).

    Returns:
        New parameters, in the dtypes and the shardings of params.

    Raises:
        TypeError: if apply_fn is no function, batch holds no array or the key is none.
        ValueError: before any work if params or batch hold a NaN, or no kernel is found; and if an
            output has variance zero, or is not within the tolerance after all trials.

    >>> def mlp(params, x):
    ...     for kernel in params:
    ...         x = jax.nn.relu(x @ kernel)
    ...     return x
    >>> x = jax.random.normal(jax.random.key(0), (64, 16))
    >>> found, report = lsuv(mlp, [jnp.ones((16, 16))] * 8, x, jax.random.key(1), with_report=True)
    >>> print(int(report.passes), f"{float(jnp.var(mlp(found[:1], x) @ found[1])):.3f}")
    2 1.000

    Reference:
        Mishkin, Matas, "All you need is a good init", 2015, arXiv:1511.06422, algorithm 1.
    """
    positive("tolerance", tolerance)
    whole("trials", trials)
    parameters, traced = opened(apply_fn, params, batch)
    sites, left = layers(traced, parameters, keep, "lsuv")
    if orthogonal:
        params = orthonormal(params, sites, key)
        parameters = Parameters(params)
    shapes = {path: tuple(array.shape) for path, array in parameters.arrays.items()}
    uses = Uses(list(kernels(sites)), shapes)

    def run(arrays: Mapping[str, Any], batch: Any) -> Any:
        def measure(factors: Mapping[str, Any], normalize: Any) -> dict[str, Any]:
            changed = parameters.rebuilt({**arrays, **multiplied(arrays, factors)})
            return variances(traced, changed, batch, uses, normalize)

        return unit_variance(uses, measure, tolerance=tolerance, trials=trials, compiled=True)

    found = jax.jit(run)(parameters.arrays, batch)
    check_variances(uses, found, tolerance, "lsuv")
    report = Calibration(found.factors, {}, found.variances, found.passes, left=left)
    return calibrated(parameters, report, with_report)


def orthonormal(params: Any, sites: Sequence[Site], key: Any) -> Any:
    """The parameters with the kernels of some sites drawn orthogonal, but those of one unit.

    Raises:
        TypeError: if the key is none.
        ValueError: if the axes of a kernel are not known.
    """
    if key is None:
        raise TypeError(
            "key=None: orthogonal=True draws the kernels anew, so pass a key, or orthogonal=False "
            "to scale those in params"
        )
    check_key(key)
    found: dict[str, Kernel] = {}
    for kernel in (kernel for site in sites for kernel in site.kernels):
        found.setdefault(kernel.path, kernel)
    for path, kernel in found.items():
        if kernel.axes is None:
            raise ValueError(
                f"{path}: which axes of the kernel are inputs is not known, so it cannot be drawn "
                "orthogonal: pass orthogonal=False, or name it in keep="
            )
    rules = {
        re.compile(f"^{re.escape(path)}$"): haar(axes=kernel.axes)
        for path, kernel in found.items()
        if kernel.axes is not None and kernel.axes.out_axis != ()
    }
    return reinitialize(params, Rules(rules), key) if rules else params


def variances(
    traced: Trace, params: Any, batch: Any, uses: Uses, normalize: Any
) -> dict[str, Array]:
    """The variance of each layer's output.

    Args:
        traced: the function.
        params: of it.
        batch: likewise.
        uses: of its kernels.
        normalize: whether to divide those outputs by their deviations whose kernels have no other
            use.

    Returns:
        By site, in float32, in the shape of its steps.
    """
    measured = set(uses.sites)
    alone = {site for site in measured if not uses.shared(site)}

    def observe(site: Site, side: str, value: Any) -> Any:
        return variance(value) if side == "output" and site.name in measured else None

    def replace(site: Site, value: Array) -> Array:
        if site.name not in alone:
            return value
        found = variance(value)
        factor = jnp.where(
            normalize & (found > 0), jax.lax.rsqrt(jnp.where(found > 0, found, 1)), 1
        )
        return value.astype(jnp.promote_types(value.dtype, jnp.float32)) * factor

    run = traced.instrument(observe, backward=False, replace=replace)
    sides = run(params, batch).statistics
    return {site: sides[site]["output"] for site in uses.sites}


def variance(value: Array) -> Array:
    """Of all entries, in float32."""
    x = value.astype(jnp.promote_types(value.dtype, jnp.float32))
    return jnp.var(x).astype(jnp.float32)
