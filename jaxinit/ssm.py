"""State matrices of state space models x' = A x + B u: HiPPO, its diagonal form, and S4D."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike

from jaxinit import random
from jaxinit._draw import Draw, Spec, fill, sample
from jaxinit._initializer import initializer
from jaxinit.axes import normalize, positions

Measure: TypeAlias = Literal["legs", "legt", "lmu", "lagt", "fout"]
Table: TypeAlias = np.ndarray[Any, np.dtype[Any]]


@initializer
def hippo(spec: Spec, measure: Measure, dtype: DTypeLike | None = None) -> Draw:
    """A such that the states of x' = A x + B u are the coefficients of u's past in a basis.

    With i the row, j the column and s = (2i+1)^½ (2j+1)^½, the entries and the basis are

    - legs: -s if i > j, -(i+1) if i = j, else 0. Legendre polynomials of e^-t: all of the past;
      the eigenvalues are -1, …, -n.
    - legt: -s if i ≥ j, else -s (-1)^(i-j). Legendre polynomials on the last unit of time.
    - lmu: -(2i+1) (-1)^(i-j) if i ≥ j, else -(2i+1). The same states, otherwise scaled.
    - lagt: -1 if i > j, -1/2 if i = j, else 0. Laguerre functions: a past that fades.
    - fout: R - 2 b bᵀ with R turning each pair of states, 2k and 2k+1, by the angle 2πk a unit of
      time, and b = (1, 0, √2, 0, √2, 0, …). Cosines and sines on the last unit of time.

    Another length of the window, or unit of time, is a factor of A and of B. A acts from the left;
    a layer that computes x @ W takes the transpose.

    Args:
        measure: which past counts how much: "legs", "legt", "lmu", "lagt" or "fout".
        dtype: default dtype of the weights.

    Returns:
        An initializer for shapes (..., n, n), the same matrix for each leading index.

    Raises:
        ValueError: for an unknown measure; when called, if the shape is not square, or n is odd
            for "fout".

    >>> print(hippo("legs")(None, (3, 3)).round(1))
    [[-1.   0.   0. ]
     [-1.7 -2.   0. ]
     [-2.2 -3.9 -3. ]]

    Peers:
        s4: transition

    Reference:
        Gu, Dao, Ermon, Rudra, Ré, "HiPPO: Recurrent Memory with Optimal Polynomial Projections",
        2020, arXiv:2008.07669, theorems 1 and 2; Voelker, Kajić, Eliasmith, "Legendre Memory
        Units", NeurIPS 2019 (lmu); Gu, Johnson, Timalsina, Rudra, Ré, "How to Train Your
        HiPPO", 2022, arXiv:2206.12037 (fout).
    """
    shape = spec.shape
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(
            f"shape {shape} does not end in (n, n): a state matrix is square; for the input matrix "
            "use hippo_input"
        )
    _check_pairs(measure, shape[-1])
    entry = {"legs": _legs, "legt": _legt, "lmu": _lmu, "lagt": _lagt, "fout": _fout}[measure]
    return fill(_matrix, entry=entry, real=spec.real)


def _matrix(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    entry: Callable[[Array, Array], Array],
    real: np.dtype[Any],
) -> Array:
    i, j = (k.astype(real) for k in jnp.indices(shape[-2:], jnp.int32, sparse=True))
    return jnp.broadcast_to(entry(i, j).astype(dtype), shape)


def _legs(i: Array, j: Array) -> Array:
    return jnp.where(i > j, -jnp.sqrt((2 * i + 1) * (2 * j + 1)), jnp.where(i == j, -i - 1, 0))


def _legt(i: Array, j: Array) -> Array:
    return -jnp.sqrt((2 * i + 1) * (2 * j + 1)) * jnp.where(i < j, _alternating(j - i), 1)


def _lmu(i: Array, j: Array) -> Array:
    return -(2 * i + 1) * jnp.where(i < j, 1, _alternating(i - j))


def _lagt(i: Array, j: Array) -> Array:
    return jnp.where(i > j, -1, jnp.where(i == j, -0.5, 0))


def _fout(i: Array, j: Array) -> Array:
    turn = jnp.where(i // 2 == j // 2, 2 * math.pi * (i // 2) * jnp.sign(i - j), 0)
    return turn - 2 * jnp.sqrt(_endpoint(i) * _endpoint(j))


def _endpoint(i: Any) -> Any:
    """The squares of 1, 0, √2, 0, √2, 0, …: cosines and sines where the window ends."""
    return (i % 2 == 0) * (2.0 - (i == 0))


def _alternating(k: Any) -> Any:
    return 1 - 2 * (k % 2)


@initializer
def hippo_input(
    spec: Spec,
    measure: Measure,
    axis: Annotated[int, normalize] = -1,
    dtype: DTypeLike | None = None,
) -> Draw:
    """B of x' = A x + B u for the A of `hippo`.

    legs and legt: (2i+1)^½; lmu: (2i+1) (-1)^i; lagt: 1; fout: 2 (1, 0, √2, 0, √2, 0, …).

    Args:
        measure: as in `hippo`.
        axis: of the states; the same vector is repeated along the others.
        dtype: default dtype of the weights.

    Returns:
        An initializer for shapes such as (n,), or (n, 1) with axis=-2.

    Raises:
        ValueError: for an unknown measure; when called, if axis is out of range or holds one state
            next to a longer axis, or the number of states is odd for "fout".

    >>> hippo_input("lmu")(None, (4,)).tolist()
    [1.0, -3.0, 5.0, -7.0]

    Peers:
        s4: transition

    Reference:
        As of `hippo`.
    """
    shape = spec.shape
    (place,) = positions("axis", axis, shape)
    if shape[place] == 1 < max(shape):
        raise ValueError(
            f"shape {shape} has one state along axis={axis}: name the axis of the states; for a "
            "column it is -2"
        )
    _check_pairs(measure, shape[place])
    i = np.arange(shape[place])
    root = np.sqrt(2.0 * i + 1)
    table = {
        "legs": root,
        "legt": root,
        "lmu": (2.0 * i + 1) * _alternating(i),
        "lagt": np.ones(i.size),
        "fout": 2 * np.sqrt(_endpoint(i)),
    }[measure]
    return along(spec, table, place)


def _check_pairs(measure: str, n: int) -> None:
    if measure == "fout" and n % 2:
        raise ValueError(f"n={n} is odd: the states of 'fout' are pairs of a cosine and a sine")


@initializer
def hippo_dplr(
    spec: Spec,
    part: Literal["eigenvalues", "eigenvectors", "low_rank", "input"],
    half: bool = False,
    dtype: DTypeLike | None = None,
) -> Draw:
    """Λ, V, p or b of A = V (Λ - p pᴴ) Vᴴ and B = V b, where A and B are those of LegS.

    A + P Pᵀ is normal with P_i = (i+½)^½: its eigenvalues Λ are -½ + iω, its eigenvectors V are
    unitary, and p = Vᴴ P, b = Vᴴ B. They come in order of falling ω, and with the phases that make
    p and b positive.

    Args:
        part: "eigenvalues" (..., n), "eigenvectors" (..., n, n), "low_rank" (..., n), which is p,
            or "input" (..., n), which is b.
        half: keep the n of 2n eigenvalues with ω > 0, each of which stands for its conjugate too
            (outputs are 2 Re(C x)); eigenvectors are (..., 2n, n).
        dtype: default dtype of the weights; complex for eigenvalues and eigenvectors.

    Returns:
        An initializer, the same for each leading index.

    Raises:
        TypeError: when called, if eigenvalues or eigenvectors are asked for in a real dtype.
        ValueError: for an unknown part; when called, if the shape does not fit it.

    >>> import numpy as np
    >>> v = hippo_dplr("eigenvectors")(None, (4, 4), "complex64")
    >>> diagonal = np.diag(hippo_dplr("eigenvalues")(None, (4,), "complex64"))
    >>> p = hippo_dplr("low_rank")(None, (4,))
    >>> a = v @ (diagonal - np.outer(p, p)) @ v.conj().T
    >>> bool(abs(a - hippo("legs")(None, (4, 4))).max() < 1e-5)
    True

    Peers:
        s4: nplr
        S5: make_DPLR_HiPPO

    Reference:
        Gu, Goel, Ré, "Efficiently Modeling Long Sequences with Structured State Spaces", 2021,
        arXiv:2111.00396, theorem 1 and appendix C; Smith, Warrington, Linderman, "Simplified State
        Space Layers for Sequence Modeling", 2022, arXiv:2208.04933.
    """
    kept = _states(spec)
    n = kept * (1 + half)
    if part == "eigenvectors" and spec.shape[-2:] != (n, kept):
        raise ValueError(f"shape {spec.shape} does not end in ({n}, {kept}), as eigenvectors do")
    eigenvalues, eigenvectors, low_rank = (x[..., :kept] for x in _diagonalized(n))
    table = {
        "eigenvalues": eigenvalues,
        "eigenvectors": eigenvectors,
        "low_rank": low_rank,
        "input": math.sqrt(2) * low_rank,
    }[part]
    return repeated(spec, table)


@functools.lru_cache(maxsize=16)
def _diagonalized(n: int) -> tuple[Table, Table, Table]:
    """Λ, V and p, in double precision."""
    i = np.arange(n)
    root = np.sqrt(2.0 * i + 1)
    # A + P Pᵀ = -½ I + S with S antisymmetric: S V = i V ω makes -ω the eigenvalues of i S.
    s = np.sign(i - i[:, None]) * np.outer(root, root) / 2
    falling, v = np.linalg.eigh(1j * s)
    p = v.conj().T @ (root / math.sqrt(2))
    return -0.5 - 1j * falling, v * (p / abs(p)), abs(p)


@initializer
def s4d(
    spec: Spec,
    variant: Literal["lin", "inv", "legs", "quad", "real", "rand"],
    part: Literal["whole", "real", "imag"] = "whole",
    dtype: DTypeLike | None = None,
) -> Draw:
    """Diagonal of a diagonal A, -½ + iω_k for k = 0, …, n-1, each for itself and its conjugate.

    With N = 2n real states, ω_k is

    - lin: πk, the frequencies of a Fourier series.
    - inv: (N/π) (N/(2k+1) - 1), near those of LegS.
    - legs: the k-th largest of LegS, as `hippo_dplr` has them.
    - quad: (2k+1)²/π.
    - rand: exp(z) with z ~ N(0, 1).

    The variant real is -(k+1), the eigenvalues of LegS itself, with no imaginary part.

    Args:
        variant: "lin", "inv", "legs", "quad", "real" or "rand".
        part: "whole", or the "real" or "imag" part alone, for models that train them apart.
        dtype: default dtype of the weights; complex, unless the variant or the part is real.

    Returns:
        An initializer for shapes (..., n), the same for each leading index (rand: independent).

    Raises:
        TypeError: when called, if complex weights are asked for in a real dtype.
        ValueError: for an unknown variant or part; when called, for a shape without axes.

    >>> print(*(f"{a:.2f}" for a in s4d("lin")(None, (3,), "complex64")))
    -0.50+0.00j -0.50+3.14j -0.50+6.28j

    Peers:
        s4: dplr

    Reference:
        Gu, Gupta, Goel, Ré, "On the Parameterization and Initialization of Diagonal State Space
        Models", 2022, arXiv:2206.11893; rand: the s4 repository.
    """
    n = _states(spec)
    if variant == "rand" and part != "real":
        if part == "whole":
            _require_complex(spec)
        return sample(_random_frequencies, whole=part == "whole")
    k = np.arange(n)
    if variant == "legs":
        diagonal = _diagonalized(2 * n)[0][:n]
    elif variant == "real":
        diagonal = -(k + 1.0)
    else:
        omega = {
            "lin": math.pi * k,
            "inv": 2 * n / math.pi * (2 * n / (2 * k + 1) - 1),
            "quad": (2 * k + 1) ** 2 / math.pi,
            "rand": 0 * k,
        }[variant]
        diagonal = -0.5 + 1j * omega
    return repeated(spec, {"whole": diagonal, "real": diagonal.real, "imag": diagonal.imag}[part])


def _random_frequencies(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], *, whole: bool
) -> Array:
    omega = jnp.exp(random.normal(key, shape, np.finfo(dtype).dtype))
    return lax.complex(jnp.full_like(omega, -0.5), omega) if whole else omega.astype(dtype)


def _states(spec: Spec) -> int:
    if not spec.shape:
        raise ValueError("shape () has no axis for the states: pass (n,)")
    return spec.shape[-1]


def _require_complex(spec: Spec) -> None:
    if spec.real == spec.dtype:
        raise TypeError(
            f"dtype={spec.dtype} is real and these weights are complex: pass dtype=jnp.complex64, "
            "or draw part='real' and part='imag' of s4d apart"
        )


def along(spec: Spec, values: Table, axis: int) -> Draw:
    """The same values along an axis, which is counted from zero, repeated along every other."""
    return repeated(spec, values.reshape(-1, *(1,) * (len(spec.shape) - 1 - axis)))


def repeated(spec: Spec, table: Table) -> Draw:
    """The entries of a table, rounded once, repeated along leading axes."""
    if np.iscomplexobj(table):
        _require_complex(spec)
    return fill(_table, table.astype(spec.dtype if np.iscomplexobj(table) else spec.real))


def _table(shape: tuple[int, ...], dtype: np.dtype[Any], table: Array) -> Array:
    return jnp.broadcast_to(table, shape)
