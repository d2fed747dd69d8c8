"""Activations transformed so that a network of known depth maps lengths and angles as asked."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxinit._checks import fraction, positive, whole
from jaxinit._pointwise import on_the_host
from jaxinit._quadrature import Numbers
from jaxinit.gains.averages import Phi, double, resolved, single
from jaxinit.gains.maps import check_continuous
from jaxinit.gains.names import Activation, activation, fixed, scalar
from jaxinit.gains.roots import roots

_STARTS = tuple(itertools.product((1.0, 0.1), (1.0, 0.0, -1.0), (0.0, 1.0, -1.0)))


@dataclasses.dataclass(frozen=True)
class Shaped:
    """x ↦ output_scale · (φ(input_scale · x + input_shift) + output_shift), a value.

    Attributes:
        fn: φ, an activation.
        params: its parameters, by name.
        input_scale: before φ.
        input_shift: before φ.
        output_shift: after φ.
        output_scale: after the shift.
    """

    fn: Activation
    params: tuple[tuple[str, Hashable], ...] = ()
    input_scale: float = 1.0
    input_shift: float = 0.0
    output_shift: float = 0.0
    output_scale: float = 1.0

    def __call__(self, x: Any) -> Any:
        """The activation of x, elementwise, in its dtype."""
        y = scalar(self.fn, self.params)(self.input_scale * x + self.input_shift)
        return self.output_scale * (y + self.output_shift)


def dks(fn: Activation, depth: int, *, zeta: float = 1.5, **params: Any) -> Shaped:
    """Deep kernel shaping: φ̂ with Q(1) = 1, Q'(1) = 1, C(0) = 0 and C'(1) = ζ^(1/depth).

    Q(q) = E[φ̂(√q z)²] and C are the length and the correlation map of a layer with σ_w² = 1 and
    σ_b² = 0; a chain of depth layers then has slope ζ at c = 1, near a linear network's 1. Its
    weights have variance 1/n_in (`scaled_orthogonal` in the paper) and its biases are 0.

    Args:
        fn: activation φ, as in `length_map`.
        depth: nonlinear layers of the longest chain.
        zeta: ζ, above 1.
        **params: of the activation.

    Returns:
        The activation φ̂(x) = γ (φ(αx + β) + δ), a callable value.

    Raises:
        TypeError: if fn is no function of a scalar.
        ValueError: if depth is less than 1 or zeta not above 1, φ jumps, or no α, β, γ and δ do, as
            for relu, whose kink no scale can soften: `tat` takes a leaky one.

    >>> phi = dks("tanh", depth=20)
    >>> print(f"{phi.input_scale:.4f} {phi.output_scale:.4f}")
    0.2056 6.8292

    Reference:
        Martens, Ballard, Desjardins, Swirszcz, Dalibard, Sohl-Dickstein, Schoenholz, "Rapid
        training of deep neural networks without skip connections or normalization layers using
        Deep Kernel Shaping", 2021, arXiv:2110.01765, section 8.
    """
    if not positive("zeta", zeta) > 1:
        raise ValueError(f"zeta={zeta!r} is not above 1, the slope of a linear network")
    target = zeta ** (1 / whole("depth", depth))

    def conditions(of: _Averages, alpha: Any, beta: Any) -> tuple[Any, ...]:
        shift = -of.mean
        scale2 = 1 / (of.second - of.mean**2)
        slope = scale2 * alpha * (of.growth + shift * of.drift) - 1
        return shift, scale2, jnp.stack([slope, scale2 * alpha**2 * of.slope - target])

    return _shaped("dks", activation("fn", fn), params, conditions, 2)


def tat(fn: Activation, depth: int, *, tau: float = 0.3, eta: float = 0.9, **params: Any) -> Shaped:
    """Tailored transformation: φ̂ with Q(1) = 1, Q'(1) = 1, C'(1) = 1 and C''(1) = τ / depth.

    Q(q) = E[φ̂(√q z)²] and C are the length and the correlation map of a layer with σ_w² = 1 and
    σ_b² = 0. A chain of depth layers then has slope 1 and curvature τ at c = 1. "leaky_relu", whose
    curvature is infinite, is given the negative slope a, and the scale √(2 / (1 + a²)), with which
    the chain takes the correlation 0 to η. Weights have variance 1/n_in and biases are 0.

    Args:
        fn: activation φ with a slope that does not jump, or "leaky_relu".
        depth: nonlinear layers of the longest chain.
        tau: τ, above 0, for a smooth φ.
        eta: η in (0, 1), for leaky_relu: 1 is a linear network's 0, and relu's by depth is 1.
        **params: of the activation; leaky_relu's is found.

    Returns:
        The activation φ̂(x) = γ (φ(αx + β) + δ), a callable value.

    Raises:
        TypeError: if fn is no function of a scalar.
        ValueError: if a number is out of range, the slope of φ jumps, the network is too shallow
            for η, or no α, β, γ and δ do.

    >>> phi = tat("leaky_relu", depth=50)
    >>> print(f"{dict(phi.params)['negative_slope']:.4f} {phi.output_scale:.4f}")
    0.4305 1.2989

    Reference:
        Zhang, Botev, Martens, "Deep Learning without Shortcuts: Shaping the Kernel with Tailored
        Rectifiers", 2022, arXiv:2203.08120, sections 4 and 5.
    """
    fn, depth = activation("fn", fn), whole("depth", depth)
    positive("tau", tau)
    fraction("eta", eta)
    if fn == "leaky_relu":
        if params:
            raise TypeError(f"{min(params)} of leaky_relu is what tat finds: leave it out")
        return _leaky(depth, eta)
    target = tau / depth

    def conditions(of: _Averages, alpha: Any, beta: Any, shift: Any) -> tuple[Any, ...]:
        scale2 = 1 / (of.second + 2 * shift * of.mean + shift**2)
        slope = scale2 * alpha * (of.growth + shift * of.drift) - 1
        curvature = scale2 * alpha**4 * of.bend - target
        return shift, scale2, jnp.stack([slope, scale2 * alpha**2 * of.slope - 1, curvature])

    slants = resolved(fn, fixed(params)).slants
    if slants:
        raise ValueError(
            f"fn={fn!r} has a kink at {slants[0]:.3g}, where its curvature is infinite: tat takes "
            "smooth activations, and 'leaky_relu'"
        )
    return _shaped("tat", fn, params, conditions, 3)


def _leaky(depth: int, eta: float) -> Shaped:
    def end(slopes: Numbers) -> Numbers:
        """Where the chain takes the correlation 0, by Cho and Saul's closed form (2009, eq. 6)."""
        c = np.zeros_like(slopes)
        for _ in range(depth):
            angle = np.arccos(np.minimum(c, 1))
            c = c + (1 - slopes) ** 2 / (1 + slopes**2) * (np.sin(angle) - c * angle) / np.pi
        return c - eta

    most = float(end(np.array([0.0]))[0])
    if most < 0:
        raise ValueError(
            f"eta={eta!r} is more than depth={depth} layers of relu reach, {most + eta:.4g}: no "
            "leaky_relu bends as much; take a smaller eta"
        )
    (slope,) = roots(end, np.array([0.0]), np.array([1.0]))
    parameters = (("negative_slope", float(slope)),)
    return Shaped("leaky_relu", parameters, output_scale=math.sqrt(2 / (1 + slope**2)))


class _Averages(NamedTuple):
    """E[φ], E[φ²], E[φ'²], E[φφ'z], E[φ'z] and E[φ''²] at x = αz + β."""

    mean: Any
    second: Any
    slope: Any
    growth: Any
    drift: Any
    bend: Any


def _terms(phi: Phi, x: Any, z: Any) -> Any:
    f, df, ddf = (jax.vmap(g)(x) for g in (phi, jax.grad(phi), jax.grad(jax.grad(phi))))
    return jnp.stack([f, f**2, df**2, f * df * z, df * z, ddf**2])


def _shaped(
    method: str,
    fn: Activation,
    params: dict[str, Any],
    conditions: Callable[..., tuple[Any, ...]],
    unknowns: int,
) -> Shaped:
    """The transformation that meets conditions, by Newton's method from several starts."""
    check_continuous(fn, params)
    parameters = fixed(params)
    found, phi = resolved(fn, parameters), double(scalar(fn, parameters))

    @jax.jit
    def at(p: Any) -> tuple[Any, Any, Any]:
        of = _Averages(*single(_terms)(phi, found, p[0] ** 2, p[1]))
        shift, scale2, missed = conditions(of, *p)
        return missed, shift, jnp.sqrt(scale2)

    with on_the_host():
        for start in dict.fromkeys(start[:unknowns] for start in _STARTS):
            p, missed = _newton(lambda p: np.asarray(at(p)[0]), np.array(start))
            if missed < 1e-10 and p[0] > 0:
                _, shift, scale = at(p)
                if p[0] * scale < 2:  # of several solutions not a steep one, whose Q is unstable
                    alpha, beta = map(float, p[:2])
                    return Shaped(fn, parameters, alpha, beta, float(shift), float(scale))
    raise ValueError(
        f"fn={fn!r} cannot be shaped so: {method} found no scales and shifts from "
        f"{len(_STARTS)} starts; take another depth, or a smoother activation"
    )


def _newton(f: Callable[[Numbers], Numbers], p: Numbers) -> tuple[Numbers, float]:
    """A root near p, and what f is there, by Newton's steps, halved while that grows."""
    value, small = f(p), 1e-6 * np.eye(p.size)
    for _ in range(60):
        size = abs(value).max()
        slopes = np.stack([(f(p + h) - f(p - h)) / 2e-6 for h in small], axis=1)
        if not np.isfinite(slopes).all() or size < 1e-12:
            break
        step = np.linalg.lstsq(slopes, value)[0]
        step *= min(1, 1 / abs(step).max())
        trials = (p - step * 0.5**halving for halving in range(12))
        better = next((q for q in trials if abs(f(q)).max() < size), None)
        if better is None:
            break
        p, value = better, f(better)
    return p, float(abs(value).max())
