"""The report of parameters: its numbers, its honesty, and that it gathers nothing."""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import jaxinit
from jaxinit import describe
from jaxinit.measure import PIECE, PROBES, _measured, measure

KEY = jax.random.key(6)
P = PartitionSpec
MESH = Mesh(np.array(jax.devices()).reshape(4, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)


def singular(matrix: Any) -> np.ndarray[Any, Any]:
    kind = np.complex128 if jnp.iscomplexobj(matrix) else np.float64
    return np.linalg.svd(np.asarray(matrix).astype(kind), compute_uv=False)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((90, 50), "float32"), ((200, 300), "bfloat16"), ((70, 90), "complex64")],
    ids=str,
)
def test_the_numbers_are_those_of_numpy(shape: tuple[int, int], dtype: str) -> None:
    weights = jaxinit.sparsified(jaxinit.normal(0.5), 0.25)(KEY, shape, dtype)
    row = describe({"w": weights}).rows[0]
    exact = np.asarray(weights).astype(np.complex128 if dtype == "complex64" else np.float64)
    squares = singular(weights) ** 2
    assert (row.count, row.bytes) == (weights.size, weights.nbytes)
    assert row.mean == pytest.approx(exact.mean(), abs=1e-12)
    assert row.std == pytest.approx(exact.std(), rel=1e-12)
    assert row.zeros == np.mean(exact == 0) > 0.2
    if dtype == "complex64":
        assert row.min is None
    else:
        assert (row.min, row.max) == (exact.min(), exact.max())
    assert row.norm == pytest.approx(math.sqrt(squares[0]), rel=1e-5)
    # The probes' standard error, for squares that spread evenly over k directions.
    defect = np.sqrt(np.mean((squares / squares.mean() - 1) ** 2))
    few = min(shape) <= PROBES
    assert row.defect == pytest.approx(
        defect, rel=1e-5 if few else 4 / math.sqrt(2 * PROBES * min(shape))
    )


def test_orthogonal_matrices_have_no_defect_at_any_scale() -> None:
    for shape, scale in (((40, 60), 3.0), ((300, 200), 1e-12), ((500, 100), 1e20)):
        found = measure(jaxinit.orthogonal()(KEY, shape) * scale, spectral=True)
        assert found.defect is not None
        assert found.norm == pytest.approx(scale, rel=1e-4)
        assert found.defect < 1e-5


def test_a_defect_in_one_column_is_seen() -> None:
    """A single direction is the worst case of the probes: a standard error of 9 % at most."""
    weights = jaxinit.orthogonal()(KEY, (512, 256)).at[:, 0].multiply(3.0)
    squares = singular(weights) ** 2
    found = measure(weights, spectral=True)
    expected = math.sqrt(np.mean((squares / squares.mean() - 1) ** 2))
    assert found.defect == pytest.approx(expected, rel=4 * 0.09)
    assert found.norm == pytest.approx(3.0, rel=1e-5)


def test_sums_of_many_entries_do_not_drift() -> None:
    count = 3 * PIECE + 17
    entries = np.linspace(1, 2, count).astype(np.float32)
    found = measure(jnp.asarray(entries), spectral=False)
    assert found.mean == pytest.approx(entries.astype(np.float64).mean(), rel=1e-13)
    assert found.stddev == pytest.approx(entries.astype(np.float64).std(), rel=1e-12)
    assert measure(jnp.full((count,), 0.1, jnp.float32), spectral=False).stddev < 1e-14
    ramp = measure(jnp.arange(count), spectral=False)
    assert ramp.mean == pytest.approx((count - 1) / 2, rel=1e-14)
    assert (ramp.low, ramp.high, ramp.zeros) == (0, count - 1, 1)


@jax.tree_util.register_dataclass
@dataclass
class Block:
    """A user's own parameters."""

    kernel: Any
    scale: Any


def test_every_kind_of_leaf() -> None:
    tree = {
        "f8": jnp.ones((4, 4), jnp.float8_e4m3fn),
        "int": jnp.arange(6, dtype=jnp.int8).reshape(2, 3),
        "bool": jnp.array([True, False]),
        "wide": np.array([2**40, 0]),
        "double": np.full((2, 2), 1e300),
        "spread": np.array([1e300, -1e300]),
        "empty": jnp.zeros((0, 3)),
        "key": jax.random.split(jax.random.key(0), 3),
        "broken": jnp.array([0.0, jnp.nan, jnp.inf, 1.0]),
        "nothing": jnp.zeros((2, 2)),
        "conv": jnp.ones((3, 3, 2, 2)),
        "function": jnp.tanh,
        "text": np.array(["a"]),
        "block": Block(jnp.ones((2, 2)), jax.ShapeDtypeStruct((5,), "bfloat16")),
    }
    report = describe(tree)
    rows = {row.path: row for row in report.rows}
    assert rows["f8"].norm == pytest.approx(4)
    assert (rows["int"].min, rows["int"].max, rows["int"].mean) == (0, 5, 2.5)
    assert (rows["bool"].min, rows["bool"].max) == (0, 1)
    assert (rows["wide"].max, rows["wide"].mean) == (2**40, 2.0**39)
    assert rows["double"].mean == 1e300
    assert rows["double"].norm == pytest.approx(2e300)
    assert (rows["key"].count, rows["key"].bytes) == (3, 24)
    assert rows["broken"].zeros == 0.25
    assert rows["block/scale"].bytes == 10
    assert "function" not in rows
    assert rows["spread"].missing["std"] == "its computation overflows"
    reasons = {
        "empty": "the leaf has no entries",
        "key": "a key of",
        "broken": "2 of 4 entries are not finite",
        "nothing": "the matrix is 0",
        "conv": "which axes of a leaf with 4",
        "int": "not of whole numbers",
        "text": "is no dtype of numbers",
        "block/scale": "the leaf is abstract",
    }
    for path, reason in reasons.items():
        assert reason in rows[path].missing["defect"], path
        assert reason in str(report)
    for row in report.rows:  # nothing is missing without a reason, and no reason without need
        measures = ("mean", "std", "min", "max", "zeros", "defect", "norm")
        assert {name for name in measures if getattr(row, name) is None} == set(row.missing)
    json.dumps(report.to_dict(), allow_nan=False)
    limited = {row.path: row for row in describe(tree, largest=3).rows}
    assert limited["f8"].missing["norm"] == "the matrix has more than largest=3 entries"
    assert limited["f8"].mean == 1


def test_modules_and_states() -> None:
    module = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    for tree in (module, nnx.state(module), nnx.eval_shape(lambda: module)):
        rows = describe(tree).rows
        assert [(row.path, row.count) for row in rows] == [("bias", 4), ("kernel", 12)]


def test_an_abstract_tree_compiles_and_allocates_nothing() -> None:
    before = _measured._cache_size()  # type: ignore[attr-defined]
    over = NamedSharding(MESH, P("a", "b"))
    leaf = jax.ShapeDtypeStruct((8192, 4096), "bfloat16", sharding=over)
    report = describe({f"h_{i}": leaf for i in range(48)})
    assert report.count == 48 * 2**25 > 1.5e9
    assert report.rows[0].device_bytes * 8 == report.rows[0].bytes == 2**26
    assert report.rows[0].sharding == "('a', 'b') of a=4, b=2"
    assert _measured._cache_size() == before  # type: ignore[attr-defined]


def test_one_program_for_equal_leaves() -> None:
    before = _measured._cache_size()  # type: ignore[attr-defined]
    tree = {f"h_{i}": jnp.full((7, 13), float(i)) for i in range(5)}
    assert describe(tree).rows[4].mean == 4
    assert _measured._cache_size() == before + 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("shape", [(4096, 1024), (1024, 4096)], ids=str)
def test_no_device_sees_more_than_its_shard(shape: tuple[int, int]) -> None:
    sharding = NamedSharding(MESH, P("a", "b"))
    abstract = jax.ShapeDtypeStruct(shape, "float32", sharding=sharding)
    with jax.enable_x64(True):
        lowered = _measured.lower(abstract, sharding, True)  # type: ignore[attr-defined]
    program: Any = lowered.compile()
    text = program.as_text()
    assert "all-reduce" in text
    assert not re.search("all-gather|all-to-all|collective-permute", text)
    shard = math.prod(shape) * 4 / 8
    thin = 3 * (sum(shape) // 2 + PIECE) * 4 * 2 + 2**20
    assert program.memory_analysis().temp_size_in_bytes < shard + PROBES * max(shape) * 4 + thin


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_sharding_does_not_change_the_report(kind: AxisType) -> None:
    weights = jaxinit.normal()(KEY, (96, 128))
    whole = describe({"w": weights}).rows[0]
    mesh = Mesh(MESH.devices, ("a", "b"), axis_types=(kind,) * 2)
    for spec in (P("a", "b"), P(None, ("a", "b"))):
        split = {"w": jax.device_put(weights, NamedSharding(mesh, spec))}
        with jax.set_mesh(mesh):
            found = describe(split).rows[0]
        assert (found.min, found.max, found.zeros) == (whole.min, whole.max, whole.zeros)
        for name in ("mean", "std", "defect", "norm"):
            assert getattr(found, name) == pytest.approx(getattr(whole, name), rel=1e-5), name


def test_it_prints() -> None:
    from rich.console import Console

    report = describe({"a[b]": jnp.ones((2, 2)), "c": jax.ShapeDtypeStruct((3,), "float32")})
    console = Console(width=300)
    with console.capture() as printed:
        console.print(report)
    for text in (str(report), printed.get()):
        assert "a[b]" in text
        assert "7 entries, 28 bytes" in text
        assert re.search(r"c .*\[1\].*\[1\]", text)
        assert "[1] not computed: the leaf is abstract" in text


def test_errors() -> None:
    with pytest.raises(TypeError, match="w is traced and has no values yet: call describe outside"):
        jax.jit(lambda w: describe({"w": w}).rows[0].mean)(jnp.ones(2))
    with pytest.raises(ValueError, match="largest=-1 is negative"):
        describe({}, largest=-1)
    with pytest.raises(ValueError, match="two leaves have the path 'a/b'"):
        describe({"a": {"b": jnp.ones(1)}, "a/b": jnp.ones(1)})


@pytest.mark.parametrize("scale", [1e-37, 1e36, 3e38])
def test_the_spectrum_of_matrices_at_the_ends_of_the_range(scale: float) -> None:
    weights = jnp.float32(scale) * jnp.where(jnp.eye(8, 6) > 0, 1.0, 0.0)
    found = measure(weights, spectral=True)
    assert found.norm == pytest.approx(scale, rel=1e-6)
    assert found.defect == pytest.approx(0, abs=1e-6)
