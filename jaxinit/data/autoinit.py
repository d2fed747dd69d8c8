"""Kernels scaled for unit variance by the moments of signals alone: no data but its moments."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinit._checks import finite, positive, whole
from jaxinit.data.calibration import Calibration, calibrated, check_variances, unit_variance
from jaxinit.data.moments import Known, Signal, State, Unknown
from jaxinit.data.parameters import concrete, multiplied, opened
from jaxinit.data.propagation import Propagation
from jaxinit.data.uses import Uses, kernels, layers
from jaxinit.paths import Pattern


def autoinit(
    apply_fn: Callable[[Any, Any], Any],
    params: Any,
    batch: Any,
    key: Any = None,
    *,
    mean: float = 0.0,
    variance: float = 1.0,
    tolerance: float = 0.02,
    trials: int = 10,
    keep: Sequence[Pattern] = (),
    with_report: bool = False,
) -> Any:
    """Kernels W / √ν for which the variance ν of each product is 1, ν from rules, not from data.

    The mean μ and the variance ν of each value follow from those of its operands: a kernel of n
    terms gives n E[W²] (μ² + ν), an activation its Gaussian moments by quadrature, a bias and a
    residual sum add theirs, moves keep them. Normalizations, softmaxes and pooling by maxima or
    windows are drawn from: their input is taken as independent and normal. So are the terms of a
    product of two signals, as of attention, and of a mean over positions, which are not
    independent in fact. A mask before a softmax is left out.

    Args:
        apply_fn: any JAX function of (params, batch), such as `model.apply`.
        params: any pytree of its parameters, their kernels drawn.
        batch: its second argument, arrays or `jax.ShapeDtypeStruct`; only shapes are used.
        key: none is needed.
        mean: of the entries of the batch.
        variance: likewise.
        tolerance: on a variance that is predicted, which matters for kernels with several uses.
        trials: most pairs of passes over the rules, likewise.
        keep: patterns of the paths of kernels to leave as they are.
        with_report: whether to return (params, `Calibration`), with the predicted variances.

    Returns:
        New parameters, in the dtypes and the shardings of params.

    Raises:
        TypeError: if apply_fn is no function, batch holds no array, or params are traced.
        ValueError: before any work if params or batch hold a NaN, or no kernel is found; and if the
            input of a kernel comes from an operation without a rule, naming all of them.

    >>> import jaxinit
    >>> shape = jax.ShapeDtypeStruct((1, 64), "float32")
    >>> def mlp(params, x):
    ...     for kernel in params:
    ...         x = jax.nn.gelu(x @ kernel)
    ...     return x
    >>> start = [jax.random.normal(jax.random.key(i), (64, 64)) for i in range(2)]
    >>> first, second = autoinit(mlp, start, shape)
    >>> print(f"{64 * second.var():.2f} {jaxinit.gain('gelu') ** 2:.2f}")
    2.35 2.35

    Reference:
        Bingham, Miikkulainen, "AutoInit: Analytic Signal-Preserving Weight Initialization for
        Neural Networks", 2023, arXiv:2109.08958, section 3.
    """
    finite("mean", mean)
    positive("variance", variance)
    positive("tolerance", tolerance)
    whole("trials", trials)
    if not concrete(params):
        raise TypeError(
            "params are traced, and autoinit integrates moments before anything runs: call it "
            "outside of jit"
        )
    parameters, traced = opened(apply_fn, params, batch)
    sites, left = layers(traced, parameters, keep, "autoinit")
    shapes = {path: tuple(array.shape) for path, array in parameters.arrays.items()}
    uses = Uses(list(kernels(sites)), shapes)
    given = Signal(float(mean), float(variance))
    count = len(jax.tree.leaves(params))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype) if _abstract(x) else x, batch)

    def state(leaf: int, value: Any) -> State:
        if leaf < count:
            return Known(value)
        known = jnp.issubdtype(value.dtype, jnp.inexact)
        return given if known else Unknown(f"{value.dtype} inputs")

    def measure(factors: Mapping[str, Any], normalize: Any) -> dict[str, Any]:
        changed = parameters.rebuilt(
            {**parameters.arrays, **multiplied(parameters.arrays, factors)}
        )
        values = traced.arguments(changed, (zeros,))
        own = traced.inputs
        states = [state(i, v) for i, v in zip(own, values, strict=True)]
        alone = {s for s in uses.sites if normalize and not uses.shared(s)}
        run = Propagation(traced.plan, set(uses.sites), alone)
        run.run(states)
        if run.missing:
            paths = {site.name: ", ".join(k.path for k in site.kernels) for site in sites}
            lines = "; ".join(f"{paths[site]}: {why}" for site, why in run.missing.items())
            raise ValueError(
                f"no rule gives the moments of the inputs of {len(run.missing)} kernels: {lines}. "
                "Name them in keep=, or scale by data with lsuv"
            )
        return {site: jnp.asarray(np.asarray(run.found[site], np.float32)) for site in uses.sites}

    found = unit_variance(uses, measure, tolerance=tolerance, trials=trials, compiled=False)
    check_variances(uses, found, tolerance, "autoinit")
    report = Calibration(found.factors, {}, found.variances, found.passes, left=left)
    return calibrated(parameters, report, with_report)


def _abstract(value: Any) -> bool:
    return isinstance(value, jax.ShapeDtypeStruct)
