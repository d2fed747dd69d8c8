"""Activations shaped by the authors' own package, and by ours, are the same functions."""

import functools
from typing import Any

import numpy as np
import pytest
from dks.base import activation_transform

from jaxinit import gains

NODES, WEIGHTS = np.polynomial.legendre.leggauss(2000)


def mean(fn: Any) -> Any:
    """Their rule has 1e5 nodes, which take minutes to find; these are as exact for smooth φ."""
    x = 10 * NODES
    return 10 * WEIGHTS @ (np.exp(-(x**2) / 2) * fn(x)) / np.sqrt(2 * np.pi)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # autograd's tanh overflows
@pytest.mark.parametrize(
    ("method", "fn", "depth"),
    [("DKS", "softplus", 50), ("TAT", "gelu", 50), ("TAT", "leaky_relu", 50)],
)
def test_shaped_alike(method: str, fn: str, depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation_transform, "_estimate_gaussian_mean", mean)

    def chain(x: float, layer: Any) -> float:
        return functools.reduce(lambda c, _: layer(c), range(depth), x)

    theirs = activation_transform.get_transformed_activations(
        [fn], method=method, subnet_max_func=chain
    )[fn]
    ours = getattr(gains, method.lower())(fn, depth)
    x = np.linspace(-4, 4, 81)
    np.testing.assert_allclose(ours(x), theirs(x), rtol=0, atol=2e-5)
