"""The laws of kernels whose entries know of each other by a random order alone."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxinit
from jaxinit import Axes
from jaxinit.shuffle import shuffle

KEY = jax.random.key(20261126)
Numbers = np.ndarray[Any, Any]


def numbers(init: Any, shape: tuple[int, ...], dtype: Any = None) -> Numbers:
    weights = np.asarray(init(KEY, shape, dtype))
    return weights.astype(np.complex128 if weights.dtype.kind == "c" else np.float64)


def per_unit(weights: Numbers, axes: Axes) -> Numbers:
    """Rows are inputs and taps, columns are units."""
    _, outputs, batch, _ = axes.resolve(weights.shape)
    units = (*batch, *outputs)
    moved = np.moveaxis(weights, units, range(-len(units), 0))
    return moved.reshape(-1, math.prod(weights.shape[a] for a in units))


KERNELS = [
    ((40, 30), Axes()),
    ((3, 3, 5, 16), Axes.conv()),
    ((3, 3, 4, 16), Axes.conv(groups=8)),
    ((3, 3, 16, 5), Axes.conv(transpose_kernel=True)),
    ((40, 4, 8), Axes.einsum("btd,dhk->bthk")),
    ((4, 8, 40), Axes.einsum("bthk,hkd->btd")),
    ((6, 30, 20), Axes.dense().stacked()),
]


@pytest.mark.parametrize(("shape", "axes"), KERNELS, ids=repr)
def test_sparse_has_as_many_nonzeros_into_every_unit(shape: tuple[int, ...], axes: Axes) -> None:
    for init, count in (
        (jaxinit.sparse(7, axes=axes), lambda n: 7),
        (jaxinit.sparse(fraction=0.3, axes=axes), lambda n: round(0.3 * n)),
    ):
        units = per_unit(numbers(init, shape), axes)
        nonzero = (units != 0).sum(axis=0)
        assert set(nonzero.tolist()) == {count(units.shape[0])}
        # A coin for every weight has the right number in the mean only.
        coin = np.random.default_rng(0).random(units.shape) < 7 / units.shape[0]
        assert len(set(coin.sum(axis=0).tolist())) > 1


def test_sparse_weights_are_normal() -> None:
    weights = numbers(jaxinit.sparse(100, 0.3), (400, 1000))
    assert stats.kstest(weights[weights != 0], stats.norm(scale=0.3).cdf).pvalue > 1e-4
    z = numbers(jaxinit.sparse(100, 0.3), (400, 1000), jnp.complex64)
    assert stats.kstest(abs(z[z != 0]) ** 2, stats.expon(scale=0.09).cdf).pvalue > 1e-4


def subsets(nonzero: Numbers, k: int) -> Numbers:
    """How many units see each k of n inputs."""
    codes = np.asarray(2) ** np.arange(nonzero.shape[0]) @ nonzero
    n = nonzero.shape[0]
    every = [sum(2**i for i in chosen) for chosen in itertools.combinations(range(n), k)]
    assert set(codes.tolist()) <= set(every)
    return np.array([(codes == code).sum() for code in every])


def test_sparse_positions_are_uniform_without_replacement() -> None:
    units, level = 60_000, 1e-4
    for n, k in ((5, 2), (6, 3), (7, 1)):
        nonzero = numbers(jaxinit.sparse(k), (n, units)) != 0
        counts = subsets(nonzero, k)
        assert stats.chisquare(counts).pvalue > level
        # Neighbouring units choose independently.
        first, second = nonzero[0, :-1], nonzero[0, 1:]
        assert abs(np.corrcoef(first, second)[0, 1]) < 4 / math.sqrt(units)
        if k > 1:  # a window at a random place is uniform for every input, not for subsets
            window = (np.arange(n)[:, None] + np.arange(units)) % n < k
            assert stats.chisquare(subsets(window, k)).pvalue < level


def test_a_shuffle_is_a_uniform_permutation(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import import_module

    module = import_module("jaxinit.shuffle")

    def pvalue(key: Any) -> float:
        draw = jax.jit(lambda key: module.shuffle(key, (5, 60_000), (0,)))
        places = np.asarray(draw(key)).astype(int)
        np.testing.assert_array_equal(np.sort(places, axis=0)[:, 0], range(5))
        counts = np.unique(5 ** np.arange(5) @ places, return_counts=True)[1]
        return float(stats.chisquare(np.pad(counts, (0, 120 - counts.size))).pvalue)

    keys = jax.random.split(KEY, 3)
    assert min(map(pvalue, keys)) > 1e-4
    draw = jax.jit(lambda key: module.shuffle(key, (64, 200_000), (0,)))
    places = np.asarray(draw(KEY)).astype(int)
    for i, j in ((0, 1), (10, 50), (62, 63)):
        pairs = np.bincount(64 * places[i] + places[j], minlength=4096).reshape(64, 64)
        assert pairs.trace() == 0
        assert stats.chisquare(pairs[~np.eye(64, dtype=bool)]).pvalue > 1e-4
    monkeypatch.setattr(module, "ROUNDS", 8)
    assert min(map(pvalue, keys)) < 1e-4
    # Of no rounds the rotation is left: one order, and every place as likely as any other.
    monkeypatch.setattr(module, "ROUNDS", 0)
    assert min(map(pvalue, keys)) < 1e-4
    single = np.asarray(jax.jit(lambda key: module.shuffle(key, (5, 60_000), (0,)))(KEY))[2]
    assert stats.chisquare(np.bincount(single)).pvalue > 1e-4


def test_a_shuffle_of_more_than_half_of_all_words() -> None:
    """Of three billion places, the last: half are below the half, to four standard errors."""
    shape, last = (1500, 2_000_000), ((1499, 1_990_000), (1500, 2_000_000))
    part = jax.jit(lambda key: jax.lax.slice(shuffle(key, shape, (0, 1)), *last))
    places = np.asarray(part(KEY)).ravel()
    n = places.size
    assert len(set(places.tolist())) == n
    assert places.max() < math.prod(shape)
    assert abs((places < math.prod(shape) / 2).mean() - 0.5) < 4 * 0.5 / math.sqrt(n)


@pytest.mark.parametrize(("shape", "axes"), KERNELS, ids=repr)
@pytest.mark.parametrize("law", ["normal", "uniform"])
def test_low_discrepancy_has_a_weight_in_each_stratum(
    shape: tuple[int, ...], axes: Axes, law: Any
) -> None:
    init = jaxinit.low_discrepancy(law, 1.0, axes=axes)
    units = per_unit(numbers(init, shape), axes)
    n = units.shape[0]
    half = math.sqrt(3)
    u = stats.norm.cdf(units) if law == "normal" else (units + half) / (2 * half)
    # Rounding may move a number across an edge.
    strata = np.sort(u, axis=0) * n - np.arange(n)[:, None]
    assert strata.min() > -1e-3
    assert strata.max() < 1 + 1e-3
    independent = np.sort(np.random.default_rng(0).random(u.shape), axis=0) * n
    assert abs(independent - np.arange(n)[:, None]).max() > 2


@pytest.mark.parametrize(
    ("law", "dtype", "kurtosis", "nearer"),
    [
        ("normal", jnp.float32, 3.0, (27, 14)),
        ("uniform", jnp.float32, 9 / 5, (180, 1000)),
        ("normal", jnp.complex64, 2.0, (27, 14)),
        ("uniform", jnp.complex64, 4 / 3, (3, 180)),
    ],
)
def test_low_discrepancy_is_nearer_to_its_moments(
    law: Any, dtype: Any, kurtosis: float, nearer: tuple[float, float]
) -> None:
    """Spreads, over units of fan-in 256, of the mean and of the mean square."""
    n = 256
    weights = numbers(jaxinit.low_discrepancy(law, 1.0), (n, 2000), dtype)
    mean = abs(weights.mean(axis=0))
    square = (abs(weights) ** 2).mean(axis=0)
    independent = 1 / math.sqrt(n), math.sqrt((kurtosis - 1) / n)
    spread = math.sqrt((mean**2).mean()), math.sqrt(((square - 1) ** 2).mean())
    for ours, theirs, times in zip(spread, independent, nearer, strict=True):
        assert ours < theirs / (0.9 * times)
    # One point in each stratum, its offset independent of the others', is not enough.
    rng = np.random.default_rng(0)
    jittered = stats.norm.ppf((np.arange(n)[:, None] + rng.random((n, 2000))) / n)
    assert (jittered**2).mean(axis=0).std() > math.sqrt(2 / n) / (0.9 * 14)


def test_every_weight_of_low_discrepancy_has_the_law() -> None:
    """Over the units of one key, and over keys."""
    n, keys = 7, jax.random.split(KEY, 20_000)
    init, law = jaxinit.low_discrepancy("normal", 0.3), stats.norm(scale=0.3)
    over_units = numbers(init, (n, 100_000))
    over_keys = np.asarray(jax.vmap(lambda key: init(key, (n, 2)))(keys), np.float64)
    samples = [*over_units, *over_keys.reshape(keys.size, -1).T]
    for sample in samples:
        assert stats.kstest(sample, law.cdf).pvalue > 1e-3 / len(samples)
    # Centred strata, without offsets, have n values.
    u = np.floor(law.cdf(over_units[0]) * n)
    centred = law.ppf((u + 0.5) / n)
    assert stats.kstest(centred, law.cdf).pvalue < 1e-3 / len(samples)


def test_units_and_places_of_low_discrepancy_are_in_no_order() -> None:
    n, units = 16, 200_000
    w = numbers(jaxinit.low_discrepancy("normal", 1.0), (n, units))
    # Inputs: as n numbers sum to almost nothing, two have a correlation of -1 / (n - 1), no more.
    pairs = (w @ w.T / units)[np.triu_indices(n, 1)]
    assert abs(pairs.mean() + 1 / (n - 1)) < 0.1 / n
    assert abs(pairs - pairs.mean()).max() < 5 / math.sqrt(units)
    ordered = np.sort(w, axis=0)
    assert abs((ordered @ ordered.T / units)[0, -1] - pairs.mean()) > 5 / math.sqrt(units)
    # Units: neighbours in one product each, then all pairs of some.
    lagged = (w[:, 1:] * w[:, :-1]).mean(axis=0)
    assert abs(lagged.mean()) < 4 / math.sqrt(n * units)
    assert abs((w[1:, 1:] * w[:-1, :-1]).mean()) < 4 / math.sqrt(n * units)
    w = numbers(jaxinit.low_discrepancy("normal", 1.0), (256, 1000))
    between = (w.T @ w / 256)[np.triu_indices(1000, 1)] * 16
    assert abs(between.mean()) < 4 / math.sqrt(between.size)
    assert abs(between.var() - 256 / 255) < 4 * math.sqrt(2 / between.size)
    assert abs(between).max() < 6.5  # half a million pairs: 5.6 σ is Bonferroni's


def test_complex_low_discrepancy_is_circular() -> None:
    for law in ("normal", "uniform"):
        z = numbers(jaxinit.low_discrepancy(law, 1.0), (64, 3000), jnp.complex64).ravel()  # type: ignore[arg-type]
        modulus = stats.expon() if law == "normal" else stats.uniform(0, 2)
        assert stats.kstest(abs(z) ** 2, modulus.cdf).pvalue > 1e-4
        angle = stats.uniform(-math.pi, 2 * math.pi).cdf
        assert stats.kstest(np.angle(z), angle).pvalue > 1e-4
        assert stats.kstest(np.angle(z.real + 1.08j * z.imag), angle).pvalue < 1e-4


def test_low_discrepancy_of_double_precision_has_finer_numbers() -> None:
    with jax.enable_x64(True):
        weights = np.asarray(jaxinit.low_discrepancy()(KEY, (200, 100), jnp.float64))
    assert np.unique(weights).size == weights.size
    assert (weights != weights.astype(np.float32)).mean() > 0.99


untyped: Any = jaxinit
FACTORY: list[tuple[Any, type[Exception], str]] = [
    (lambda: jaxinit.sparse(0), ValueError, "nonzeros=0 is less than 1"),
    (lambda: untyped.sparse(0.1), TypeError, "nonzeros=0.1 is not a whole number"),
    (lambda: jaxinit.sparse(fraction=1.0), ValueError, r"fraction=1.0 is outside \(0, 1\)"),
    (lambda: jaxinit.sparse(stddev=-1.0), ValueError, "stddev=-1.0 is negative"),
    (
        lambda: untyped.low_discrepancy("sobol"),
        ValueError,
        "law='sobol' is none of 'normal', 'uniform'",
    ),
]


@pytest.mark.parametrize(("make", "error", "message"), FACTORY, ids=range(len(FACTORY)))
def test_factories(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def drawn(init: jaxinit.Bound, shape: tuple[int, ...] = (8, 4)) -> Any:
    return lambda: init(KEY, shape)


CALL: list[tuple[Any, type[Exception], str]] = [
    (drawn(jaxinit.sparse(9)), ValueError, r"nonzeros=9 is more than the 8 inputs .*\(8, 4\)"),
    (drawn(jaxinit.sparse(3, fraction=0.5)), ValueError, "nonzeros=3 and fraction=0.5 both"),
    (drawn(jaxinit.sparse(3), (8,)), ValueError, "is 1-D"),
    (drawn(jaxinit.low_discrepancy(), (8,)), ValueError, "is 1-D"),
    (drawn(jaxinit.low_discrepancy(axes=Axes.conv())), ValueError, "are of a 4-D kernel"),
    (
        lambda: jax.eval_shape(
            lambda key: jaxinit.sparsified(jaxinit.normal(), 0.5)(key, (2**16, 2**16)), KEY
        ),
        ValueError,
        r"axes \(0, 1\) of shape .* hold 4294967296 entries: .* order along fewer axes",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), CALL, ids=range(len(CALL)))
def test_calls(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
    with pytest.raises(error, match=message):  # and so while tracing
        jax.eval_shape(call)
