"""What the values of one array are like, computed where they lie: only numbers travel."""

import contextlib
import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxinit import random
from jaxinit._checks import wide

PROBES = 64
"""Vectors by which a matrix is probed: products with it are all that is known of it."""

PIECE = 2**16
"""Entries read at a time: what a device holds beside its part of the array."""


class Measures(NamedTuple):
    """Of an array: numbers alone; those of its spectrum are None where they were not asked for."""

    mean: complex
    stddev: float
    low: Any
    high: Any
    zeros: int
    not_finite: int
    defect: float | None
    norm: float | None


def measure(value: Any, *, spectral: bool) -> Measures:
    """Moments, extremes and, of a matrix, the spread and the top of its singular values.

    The matrix W (n x m, k the smaller of both) is only ever multiplied with thin blocks, each
    device by the part that it holds. With G = WᴴW or WWᴴ, k x k, and s² = tr G / k:

    - defect = ‖G/s² - I‖ / √k in the norm of Frobenius, estimated from ‖(G/s² - I)z‖ of 64 random
      signs z (Girard 1989, Hutchinson 1990): exact for k <= 64, else within a standard error of at
      most 9 %, and of √(1/2·64·k) where the squares of the singular values spread evenly;
    - norm = max σ from 64 steps of Lanczos with a random start, exact for k <= 64, else from below:
      over starts, of any matrix, the mean error of σ² is at most 0.103 (ln(k 63⁴) / 63)² of it
      (Kuczyński and Woźniakowski 1992, Theorem 3.2): 1.6 % of σ² for k = 4096.

    Sums are taken in float64, products in float32 or wider.

    Args:
        value: an array of numbers with at least one entry.
        spectral: whether to compute what a matrix alone has.

    Returns:
        Numbers of the host.

    >>> measure(jnp.eye(3), spectral=True).norm
    1.0
    """
    sharding = getattr(value, "sharding", None)
    force: Any = contextlib.nullcontext()
    if isinstance(sharding, NamedSharding):
        # In the automatic twin of the mesh the compiler places the products.
        twin = Mesh(sharding.mesh.devices, sharding.mesh.axis_names)
        force, sharding = jax.set_mesh(twin), NamedSharding(twin, sharding.spec)
        value = jax.device_put(value, sharding)
    else:
        sharding = None
    with force, jax.enable_x64(True):
        found = jax.device_get(_measured(value, sharding, spectral))
    mean, variance, low, high, zeros, broken, *spectrum = found
    defect = norm = None
    if spectrum:
        unit, square, alphas, betas = spectrum
        theta = np.linalg.eigvalsh(np.diag(alphas) + np.diag(betas[:-1], -1))[-1]
        defect, norm = float(np.sqrt(square)), float(unit) * float(np.sqrt(max(theta, 0)))
    return Measures(
        mean.item(), float(np.sqrt(variance)), low.item(), high.item(), int(zeros), int(broken),
        defect, norm,
    )  # fmt: skip


@functools.partial(jax.jit, static_argnums=(1, 2))
def _measured(value: Array, sharding: NamedSharding | None, spectral: bool) -> tuple[Any, ...]:
    moments: Any = functools.partial(_moments, size=value.size, axes=())
    if sharding is not None:
        used = [(part,) if isinstance(part, str) else part for part in sharding.spec if part]
        moments.keywords["axes"] = tuple(itertools.chain(*used))
        moments = jax.shard_map(
            moments,
            mesh=sharding.mesh,
            in_specs=sharding.spec,
            out_specs=PartitionSpec(),
            check_vma=False,
        )
    found = mean, variance, low, high, *_ = moments(value)
    if not spectral:
        return found
    largest = jnp.maximum(abs(low), abs(high))
    # In units of about the largest entry nothing overflows. Both they and their root are powers of
    # two, and products are scaled by the root twice, as the inverse may be too small a number.
    half = (jnp.frexp(jnp.maximum(largest, jnp.finfo(largest.dtype).tiny))[1] - 1) // 2
    root = jnp.ldexp(jnp.ones((), largest.dtype), -half)
    inverse = root * root
    power = value.size * (variance * inverse * inverse + _squares(mean * inverse))
    with jax.default_matmul_precision("highest"):
        matrix = value.astype(wide(np.dtype(value.dtype)))
        return *found, 1 / inverse, *_spectrum(matrix, root, power, sharding)


def _moments(shard: Array, size: int, axes: tuple[str, ...]) -> tuple[Array, ...]:
    """Of an array of a size from a device's part of it, read twice, piece by piece."""
    flat = shard.reshape(-1)
    inexact = jnp.issubdtype(flat.dtype, jnp.inexact)
    is_complex = jnp.iscomplexobj(flat)
    double = np.complex128 if is_complex else np.float64
    if inexact:
        exact = wide(np.dtype(flat.dtype))
    else:
        exact = np.dtype(np.int32) if flat.dtype.itemsize < 4 else flat.dtype
    first = jnp.zeros((), int), jnp.zeros((), int), jnp.zeros((), double)

    def read(carry: Any, piece: Array) -> Any:
        (zeros, broken, total), extremes = carry
        piece = piece.astype(exact)
        sizes = abs(piece) if is_complex else piece
        low, high = sizes.min(), sizes.max()
        if extremes:
            low, high = jnp.minimum(extremes[0], low), jnp.maximum(extremes[1], high)
        if inexact:
            broken += jnp.sum(~jnp.isfinite(piece))
        zeros += jnp.sum(piece == 0)
        return (zeros, broken, total + piece.astype(double).sum()), (low, high)

    def everywhere(reduce: Any, x: Any) -> Any:
        return reduce(x, axes) if axes else x

    sums, (low, high) = _folded(read, (first, ()), flat)
    zeros, broken, total = everywhere(jax.lax.psum, sums)
    mean = total / size

    def again(carry: Array, piece: Array) -> Array:
        return carry + _squares(piece.astype(exact).astype(double) - mean).sum()

    squares = everywhere(jax.lax.psum, _folded(again, jnp.zeros((), float), flat))
    low, high = everywhere(jax.lax.pmin, low), everywhere(jax.lax.pmax, high)
    return mean, squares / size, low, high, zeros, broken


def _folded(step: Any, carry: Any, flat: Array) -> Any:
    """step(… step(carry, first piece) …, last piece); the last is the odd one."""
    whole, rest = divmod(flat.size, PIECE)
    if whole:
        carry = step(carry, flat[:PIECE])

        def next_piece(i: Any, carry: Any) -> Any:
            return step(carry, jax.lax.dynamic_slice(flat, (i * PIECE,), (PIECE,)))

        carry = jax.lax.fori_loop(1, whole, next_piece, carry)
    return step(carry, flat[whole * PIECE :]) if rest else carry


def _squares(x: Array) -> Array:
    return x.real**2 + x.imag**2 if jnp.iscomplexobj(x) else x**2


def _spectrum(
    matrix: Array, root: Array, power: Array, sharding: NamedSharding | None
) -> tuple[Array, Array, Array]:
    """The square of the defect, and Lanczos's tridiagonal matrix of G in units of unit²."""
    rows, columns = matrix.shape
    wide_one = columns > rows
    size, dtype = min(rows, columns), matrix.dtype

    def split(x: Array, of: int) -> Array:
        if sharding is None:
            return x
        axes = (*sharding.spec, None, None)[of]
        spec = PartitionSpec(axes, *(None,) * (x.ndim - 1))
        return jax.lax.with_sharding_constraint(x, NamedSharding(sharding.mesh, spec))

    def gram(x: Array) -> Array:
        x = x * root
        if wide_one:
            return split(matrix @ (split(matrix.conj().T @ x, 1) * root * root) * root, 0)
        return split(matrix.conj().T @ (split(matrix @ x, 0) * root * root) * root, 1)

    count = min(size, PROBES)
    real = root.dtype
    draws = random.normal(random.key(0), (size, count + 1), real)
    draws = split(draws, 0 if wide_one else 1).astype(dtype)
    probes = jnp.eye(size, dtype=dtype) if count == size else jnp.sign(draws[:, 1:])
    weight = size if count == size else size * count
    mean_square = (power / size).astype(real)
    away = gram(split(probes, 0 if wide_one else 1)) / mean_square - probes
    square = _squares(away).sum() / weight
    return square, *_lanczos(gram, draws[:, 0], count)


def _lanczos(gram: Any, start: Array, steps: int) -> tuple[Array, Array]:
    """The diagonal and the subdiagonal; reorthogonalized in full, and ended where a step is 0."""
    real = start.real.dtype
    tiny = 8 * jnp.finfo(real).eps

    def norm(x: Array) -> Array:
        return jnp.sqrt(_squares(x).sum())

    def step(i: Any, carry: tuple[Array, Array, Array, Array]) -> Any:
        basis, vector, alphas, betas = carry
        basis = basis.at[i].set(vector)
        image = gram(vector)
        alphas = alphas.at[i].set((vector.conj() @ image).real)
        for _ in range(2):  # once loses orthogonality
            image = image - (basis.conj() @ image) @ basis
        beta = norm(image)
        beta = jnp.where(beta > tiny * alphas.max(), beta, 0)
        vector = jnp.where(beta > 0, image / beta, 0)
        return basis, vector, alphas, betas.at[i].set(beta)

    numbers = jnp.zeros(steps, real)
    basis = jnp.zeros((steps, start.size), start.dtype)
    found = jax.lax.fori_loop(0, steps, step, (basis, start / norm(start), numbers, numbers))
    return found[2], found[3]
