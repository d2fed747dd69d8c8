"""Axes and fans: against brute force, and against the layers that Flax really builds."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxinit
from jaxinit import Axes, Fans

KEY = jax.random.key(11)
untyped: Any = jaxinit


def count(equation: str, sizes: dict[str, int]) -> tuple[float, float]:
    """The fans of an einsum's kernel, by computing it on ones."""
    (a, b), result = equation.split("->")[0].split(","), equation.split("->")[1]
    x, w = (jnp.ones([sizes[c] for c in part]) for part in (a, b))
    y = jnp.einsum(f"{a},{b}->{result}", x, w)
    return float(y.mean()), float(y.sum() / x.size)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(
    roles=st.lists(st.sampled_from(["in", "out", "batch"]), min_size=1, max_size=5),
    sizes=st.lists(st.integers(1, 4), min_size=6, max_size=6),
)
def test_an_einsum_counts_its_fans(roles: list[str], sizes: list[int]) -> None:
    letters = "abcde"[: len(roles)]
    data = "z" + "".join(c for c, role in zip(letters, roles, strict=True) if role != "out")
    result = "z" + "".join(c for c, role in zip(letters, roles, strict=True) if role != "in")
    equation = f"{data},{letters}->{result}"
    by_letter = dict(zip("abcdez", sizes, strict=True))
    shape = tuple(by_letter[c] for c in letters)
    fans = Axes.einsum(equation).fans(shape)
    assert fans[:2] == pytest.approx(count(equation, by_letter), rel=1e-5)
    deeper = Axes.einsum(equation).stacked(-1)
    assert deeper.fans((*shape, 7)) == fans
    assert Axes.einsum(equation).stacked(0).fans((7, *shape)) == fans


@pytest.mark.parametrize(
    ("axes", "shape", "fans"),
    [
        (Axes.dense(), (64, 32), (64, 32, 1)),
        (Axes.dense().stacked(), (5, 64, 32), (64, 32, 1)),
        (Axes.dense().stacked(1), (64, 5, 32), (64, 32, 1)),
        (Axes.dense().stacked().stacked(-1), (5, 64, 32, 7), (64, 32, 1)),
        (Axes().stacked(), (5, 3, 3, 16, 32), (144, 288, 9)),
        (Axes(0, 1).stacked(), (5, 64, 32), (64, 32, 1)),
        (Axes.conv(3), (3, 3, 3, 8, 16), (216, 432, 27)),
        (Axes.conv(1, groups=4), (5, 8, 64), (40, 80, 5)),
        (Axes.conv(groups=32), (3, 3, 1, 64), (9, 18, 9)),
        (Axes.conv(stride=(2, 1)), (4, 4, 8, 16), (128, 128, 16)),
        (Axes.conv(transpose_kernel=True), (3, 3, 32, 16), (144, 288, 9)),
        (Axes.conv(transpose_kernel=True, stride=2), (4, 4, 32, 16), (64, 512, 16)),
        (Axes.conv().stacked(), (12, 3, 3, 16, 32), (144, 288, 9)),
        (Axes.embedding(), (1000, 64), (64, 1000, 1)),
        (Axes.einsum("...d, dhk -> ...hk"), (64, 8, 16), (64, 128, 1)),
    ],
    ids=str,
)
def test_fans(axes: Axes, shape: tuple[int, ...], fans: tuple[float, ...]) -> None:
    assert axes.fans(shape) == Fans(*map(float, fans))


def test_axes_are_values_that_print_as_they_are_written() -> None:
    axes = Axes.einsum("btd,dhk->bthk")
    assert repr(axes) == "Axes(in_axis=(0,), out_axis=(1, 2), rank=3)"
    assert eval(repr(axes)) == axes
    assert jaxinit.he_normal(axes="btd,dhk->bthk") == jaxinit.he_normal(axes=axes)
    assert repr(Axes.dense()) == "Axes(rank=2)"


def test_structured_laws_hold_for_each_slice_and_group() -> None:
    def assert_orthogonal(matrices: Any) -> None:
        for q in np.asarray(matrices, np.float64):
            q = q if q.shape[0] >= q.shape[1] else q.T
            np.testing.assert_allclose(q.T @ q, np.eye(q.shape[1]), atol=3e-6)

    kernel = jaxinit.orthogonal(axes="btd,dhk->bthk")(KEY, (24, 4, 3))
    assert_orthogonal(kernel.reshape(1, 24, 12))
    kernel = jaxinit.orthogonal(axes="bthk,hkd->btd")(KEY, (4, 3, 24))
    assert_orthogonal(kernel.reshape(1, 12, 24))
    kernel = jaxinit.orthogonal(axes="bthk,hvk->bthv")(KEY, (5, 6, 7))
    assert_orthogonal(jnp.moveaxis(kernel, 1, 2))
    grouped = jaxinit.orthogonal(axes=Axes.conv(groups=4))(KEY, (3, 3, 2, 20))
    assert_orthogonal(jnp.moveaxis(grouped.reshape(18, 4, 5), 1, 0))
    turned = jaxinit.orthogonal(axes=Axes.conv(1, transpose_kernel=True))(KEY, (3, 20, 4))
    assert_orthogonal(jnp.moveaxis(turned, 1, 2).reshape(1, 12, 20))


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: Axes.einsum("btd->bthk"), ValueError, "axes='btd->bthk' is not an einsum"),
    (lambda: Axes.einsum("btd,dhk"), ValueError, "is not an einsum of an input and a kernel"),
    (lambda: Axes.einsum("bd,dd->b"), ValueError, "names 'd' twice in the kernel"),
    (lambda: Axes.einsum("bd,dk->b"), ValueError, "'k' is in the kernel alone"),
    (lambda: jaxinit.he_normal(axes="dense"), ValueError, "axes='dense' is not an einsum"),
    (lambda: jaxinit.he_normal(axes=3), TypeError, "axes=3 is a int: pass an Axes"),  # type: ignore[arg-type]
    (lambda: Axes(groups=0), ValueError, "groups=0 is less than 1"),
    (lambda: untyped.Axes(groups=1.5), TypeError, "groups=1.5 is not a whole number"),
    (lambda: untyped.Axes(groups="a"), TypeError, "groups='a' is not a whole number"),
    (lambda: untyped.Axes(groups=None), TypeError, "groups=None is not a whole number"),
    (lambda: untyped.Axes(in_stride=1.5), TypeError, "in_stride=1.5 is not a whole number"),
    (lambda: untyped.Axes(rank=2.5), TypeError, "rank=2.5 is not a whole number"),
    (lambda: Axes.conv(0), ValueError, "spatial=0 is less than 1"),
    (lambda: untyped.Axes.conv(1.5), TypeError, "spatial=1.5 is not a whole number"),
    (lambda: Axes.conv(stride=(-1, -2)), ValueError, "stride=-1 is less than 1"),
    (lambda: untyped.Axes.conv(stride=1.5), TypeError, "stride=1.5 is neither an integer"),
    (lambda: untyped.Axes.conv(stride=np.array([2, 2])), TypeError, "stride=.* is neither an int"),
    (lambda: Axes.conv(2, stride=(2, 2, 2)), ValueError, "is not one for each of spatial=2"),
    (lambda: Axes().stacked(1), ValueError, "axis=1 has no place in axes of any rank"),
    (lambda: Axes.dense().stacked(5), ValueError, "axis=5 is out of range"),
    (lambda: Axes.dense().fans((3, 4, 5)), ValueError, r"2-D kernel and shape \(3, 4, 5\) is 3-D"),
    (lambda: Axes.conv().fans((4, 5)), ValueError, "4-D kernel .* is 2-D; if this is a Dense"),
    (lambda: Axes.conv(groups=3).fans((3, 3, 4, 8)), ValueError, "groups=3 do not divide the 8"),
    (lambda: Axes(0, (0, 1)).fans((4, 8)), ValueError, "both name axis 0"),
    (lambda: Axes(0, 5).fans((4, 8)), ValueError, "out_axis=5 is out of range"),
    (
        lambda: jaxinit.he_normal(0, 1, axes="bd,df->bf")(KEY, (4, 8)),
        ValueError,
        "both say which axes are contracted: pass one",
    ),
    (
        lambda: jaxinit.orthogonal(1.0, 0, axes=Axes.dense())(KEY, (4, 8)),
        ValueError,
        "both say what the columns are: pass one",
    ),
    (
        lambda: jaxinit.orthogonal(axes=Axes(0, ()))(KEY, (4, 8)),
        ValueError,
        "has no axis for the columns",
    ),
    (
        lambda: jaxinit.orthogonal(axes=Axes(0, (1, 2), groups=3))(KEY, (4, 4, 3)),
        ValueError,
        "groups=3 do not divide axis 1",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_errors(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
