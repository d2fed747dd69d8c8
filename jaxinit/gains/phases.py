"""Order and chaos over weight and bias variances, as numbers and as a figure."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxinit._quadrature import Numbers
from jaxinit.gains.averages import evaluate, second, slope
from jaxinit.gains.criticality import fixed_points
from jaxinit.gains.maps import check_continuous, check_scales
from jaxinit.gains.names import Activation, activation


class PhaseDiagram(NamedTuple):
    """Fixed points and susceptibilities over a grid, and the edge of chaos.

    Attributes:
        fn: activation φ.
        sigma_w2: weight variances times fan-in, the columns.
        sigma_b2: bias variances, the rows.
        q: fixed points of the length map; infinite where the signal explodes.
        chi: susceptibilities χ₁ there, NaN where there is none: below 1 is order, above 1 chaos.
        edge: points (σ_w², σ_b²) with χ₁ = 1 inside the grid, in the order of their q.
    """

    fn: Activation
    sigma_w2: Numbers
    sigma_b2: Numbers
    q: Numbers
    chi: Numbers
    edge: Numbers

    def figure(self) -> Any:
        """The diagram in matplotlib: log χ₁ as colour, and the edge as a line.

        Returns:
            A figure; save it with `savefig`.

        Raises:
            ImportError: without matplotlib.
        """
        from matplotlib.figure import Figure

        drawing = Figure(figsize=(6, 4.5), layout="constrained")
        panel = drawing.subplots()
        with np.errstate(divide="ignore"):
            shade = np.log10(self.chi)
        bound = np.nanmax(abs(shade[np.isfinite(shade)]), initial=0.1)
        mesh = panel.pcolormesh(
            self.sigma_w2, self.sigma_b2, shade, cmap="RdBu_r", vmin=-bound, vmax=bound
        )
        panel.plot(*self.edge.T, color="black", label="edge of chaos, χ₁ = 1")
        panel.set(
            xlabel="weight variance σ_w²",
            ylabel="bias variance σ_b²",
            title=f"{self.fn if isinstance(self.fn, str) else 'φ'}: order (blue) and chaos (red)",
            xlim=self.sigma_w2[[0, -1]],
            ylim=self.sigma_b2[[0, -1]],
        )
        panel.legend(loc="upper left")
        drawing.colorbar(mesh, label="log₁₀ χ₁ at the fixed point")
        return drawing


def phase_diagram(
    fn: Activation,
    sigma_w2: ArrayLike | None = None,
    sigma_b2: ArrayLike | None = None,
    **params: Any,
) -> PhaseDiagram:
    """q* and χ₁ = σ_w² E[φ'(√q* z)²] for each pair of variances, and where χ₁ = 1.

    Args:
        fn: activation φ, as in `length_map`.
        sigma_w2: weight variances times fan-in, ascending; None is 0.1 to 4, 40 of them.
        sigma_b2: bias variances, ascending; None is 0 to 0.5, 26 of them.
        **params: of the activation.

    Returns:
        The numbers, with a method `figure`.

    Raises:
        TypeError: if fn is no function of a scalar.
        ValueError: if a variance is negative, they do not ascend, or φ jumps.

    >>> phase_diagram("relu", [1.0, 2.0, 3.0], [0.0, 0.1]).chi.round(6).tolist()
    [[0.5, 1.0, nan], [0.5, nan, nan]]

    Reference:
        Poole et al. 2016, arXiv:1606.05340, figure 1; Schoenholz et al. 2017, arXiv:1611.01232.
    """
    fn = activation("fn", fn)
    w = np.linspace(0.1, 4, 40) if sigma_w2 is None else np.asarray(sigma_w2, np.float64)
    b = np.linspace(0, 0.5, 26) if sigma_b2 is None else np.asarray(sigma_b2, np.float64)
    check_scales(sigma_w2=w, sigma_b2=b)
    for name, values in (("sigma_w2", w), ("sigma_b2", b)):
        if values.ndim != 1 or values.size < 2 or (np.diff(values) <= 0).any():
            raise ValueError(f"{name}={values!r} is no vector of two or more ascending variances")
    check_continuous(fn, params)
    weights, biases = (part.ravel() for part in np.meshgrid(w, b))
    q = fixed_points(fn, weights, biases, **params)
    known = np.where(np.isfinite(q), q, 1)
    chi = weights * evaluate(slope, fn, params, known, strict=False)
    return PhaseDiagram(
        fn,
        w,
        b,
        q.reshape(b.size, w.size),
        np.where(np.isfinite(q), chi, np.nan).reshape(b.size, w.size),
        _edge(fn, w, b, params),
    )


def _edge(fn: Activation, w: Numbers, b: Numbers, params: dict[str, Any]) -> Numbers:
    q = np.concatenate([[0.0], np.geomspace(1e-6, 1e3, 240)])
    slopes, seconds = (evaluate(a, fn, params, q, strict=False) for a in (slope, second))
    with np.errstate(all="ignore"):
        points = np.stack([1 / slopes, q - seconds / slopes], axis=1)
    points[abs(points[:, 1]) <= 1e-12 * q, 1] = 0
    inside = ((points >= (w[0], b[0])) & (points <= (w[-1], b[-1]))).all(axis=1)
    return points[inside]
