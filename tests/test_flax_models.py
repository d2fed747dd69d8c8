"""Whole Flax models: the module's own numbers, on their shards, or those of rules."""

import inspect
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import bits
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import jaxinit
import jaxinit.flax
from jaxinit import Rules

KEY = jax.random.key(9)
P = PartitionSpec
X = jax.ShapeDtypeStruct((2, 16), "float32")
MESH = Mesh(
    np.array(jax.devices()).reshape(4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2
)


class Net(nn.Module):
    """Boxed, logical and plain parameters, and another collection."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Two layers around a batch norm."""
        column = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
        row = nn.with_logical_partitioning(nn.initializers.he_normal(), ("hidden", None))
        x = nn.Dense(32, kernel_init=column)(x)
        x = nn.BatchNorm(use_running_average=True)(x)
        return nn.Dense(8, kernel_init=row)(x)


def same(found: Any, expected: Any) -> None:
    ours, theirs = (jax.tree.leaves_with_path(tree) for tree in (found, expected))
    assert [p for p, _ in ours] == [p for p, _ in theirs]
    for (_, a), (_, b) in zip(ours, theirs, strict=True):
        if jnp.issubdtype(b.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(bits(a), bits(b))


def test_linen_is_the_module_s_own_init() -> None:
    found = jaxinit.flax.init(Net(), KEY, X)
    same(found, jax.jit(Net().init)(KEY, jnp.ones(X.shape)))
    assert isinstance(found["params"]["Dense_0"]["kernel"], nn.Partitioned)
    streams = {"params": KEY, "dropout": jax.random.key(1)}
    same(jaxinit.flax.init(Net(), streams, X), jax.jit(Net().init)(streams, jnp.ones(X.shape)))


def test_linen_on_a_mesh() -> None:
    with nn.logical_axis_rules([("hidden", "data")]):
        found = jaxinit.flax.init(Net(), KEY, X, mesh=MESH)
    params = nn.unbox(found)["params"]
    assert params["Dense_0"]["kernel"].sharding == NamedSharding(MESH, P(None, "model"))
    assert params["Dense_1"]["kernel"].sharding == NamedSharding(MESH, P("data", None))
    assert params["Dense_1"]["bias"].sharding == NamedSharding(MESH, P())
    same(found, jax.jit(Net().init)(KEY, jnp.ones(X.shape)))


RULES = Rules(
    {"**/kernel": jaxinit.orthogonal(), "**/bias": jaxinit.zeros, "**/scale": jaxinit.ones}
)


def test_linen_by_rules() -> None:
    with nn.logical_axis_rules([("hidden", "data")]):
        found = jaxinit.flax.init(Net(), KEY, X, rules=RULES, mesh=MESH)
    plain = jaxinit.flax.init(Net(), KEY, X, rules=RULES)
    assert jax.tree.structure(found) == jax.tree.structure(plain)  # type: ignore[operator]
    q = nn.unbox(found)["params"]["Dense_0"]["kernel"]
    assert q.sharding == NamedSharding(MESH, P(None, "model"))
    np.testing.assert_allclose(q @ q.T, np.eye(16), atol=1e-5)
    assert (found["batch_stats"]["BatchNorm_0"]["var"] == 1).all()
    Net().apply(nn.unbox(plain), jnp.ones(X.shape))


class Model(nnx.Module):
    """Sharded and plain parameters, statistics and a stream of keys."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        column = nnx.with_partitioning(nnx.initializers.lecun_normal(), (None, "model"))
        self.first = nnx.Linear(16, 32, kernel_init=column, rngs=rngs)
        self.norm = nnx.BatchNorm(32, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)
        self.second = nnx.Linear(32, 8, rngs=rngs)


def test_nnx_is_the_module_s_own() -> None:
    found = jaxinit.flax.create(lambda rngs: Model(rngs), KEY)
    with nnx.use_eager_sharding(False):
        expected = jax.jit(lambda key: nnx.state(Model(nnx.Rngs(key))))(KEY)
    same(nnx.state(found), expected)
    assert found.first(jnp.ones((2, 16))).shape == (2, 32)


@pytest.mark.parametrize("rules", [None, RULES], ids=["own", "rules"])
def test_nnx_on_a_mesh(rules: Rules | None) -> None:
    found = jaxinit.flax.create(Model, KEY, rules=rules, mesh=MESH)
    kernel = found.first.kernel[...]
    assert kernel.sharding == NamedSharding(MESH, P(None, "model"))
    assert found.second.kernel[...].sharding == NamedSharding(MESH, P())
    plain = nnx.state(jaxinit.flax.create(Model, KEY, rules=rules))
    if rules is None:
        same(nnx.state(found), plain)
    else:
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(16), atol=1e-5)
    assert (found.norm.var[...] == 1).all()
    assert found.drop(jnp.ones(3)).shape == (3,)


def test_each_device_holds_its_shard_alone() -> None:
    found = jaxinit.flax.init(
        nn.Dense(1024, kernel_init=nn.with_partitioning(jaxinit.normal(), (None, "model"))),
        KEY,
        X,
        mesh=MESH,
    )
    kernel = nn.unbox(found)["params"]["kernel"]
    assert {s.data.shape for s in kernel.addressable_shards} == {(16, 512)}


class Recorded:
    """A jitted function that keeps the arguments of its calls."""

    def __init__(self, jitted: Any) -> None:
        self.jitted = jitted
        self.lower = jitted.lower
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *arguments: Any) -> Any:
        self.calls.append(arguments)
        return self.jitted(*arguments)


COLUMNS: Any = (None, "model")


class Wide(nnx.Module):
    """One kernel, sharded over a mesh by its metadata."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        init = nnx.with_partitioning(nnx.initializers.lecun_normal(), COLUMNS)
        self.layer = nnx.Linear(256, 512, kernel_init=init, rngs=rngs)


WIDE = nn.Dense(512, kernel_init=nn.with_partitioning(nn.initializers.lecun_normal(), COLUMNS))
NORMAL = Rules({"**": jaxinit.normal()})


@pytest.mark.parametrize("rules", [None, NORMAL], ids=["own", "rules"])
@pytest.mark.parametrize("house", ["linen", "nnx"])
def test_no_device_holds_a_whole_copy_at_any_time(
    house: str, rules: Rules | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The programs are compiled for the shard, and need next to no memory beside it."""
    from jaxinit import _draw, _trace, trees

    records = [Recorded(_trace._compute), Recorded(_draw.run)]
    monkeypatch.setattr(_trace, "_compute", records[0])
    monkeypatch.setattr(trees, "run", records[1])
    if house == "linen":
        x = jax.ShapeDtypeStruct((1, 256), "float32")
        jaxinit.flax.init(WIDE, KEY, x, rules=rules, mesh=MESH)
    else:
        jaxinit.flax.create(Wide, KEY, rules=rules, mesh=MESH)
    shard = 256 * 512 * 4 // 2
    programs = [r.jitted.lower(*a).compile() for r in records for a in r.calls]
    drawn = [p for p in programs if p.memory_analysis().output_size_in_bytes == shard]
    assert len(drawn) == 1
    for program in programs:
        assert "f32[256,512]" not in program.as_text()
        assert program.memory_analysis().temp_size_in_bytes < 0.1 * shard


def test_nnx_shares_what_the_factory_shares() -> None:
    class Tied(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.layers = nnx.List([nnx.Linear(3, 3, rngs=rngs) for _ in range(2)])
            self.again = self.layers[0]

    found = jaxinit.flax.create(Tied, KEY)
    assert found.again is found.layers[0]
    same(nnx.state(found), jax.jit(lambda key: nnx.state(Tied(nnx.Rngs(key))))(KEY))


def test_a_mesh_without_the_axis() -> None:
    mesh = Mesh(np.array(jax.devices()), ("x",), axis_types=(AxisType.Auto,))
    for drawn in (None, RULES):
        message = r"kernel: a parameter is partitioned over 'model', which is neither an axis of"
        with pytest.raises(ValueError, match=f"^params/Dense_0/{message}"):
            jaxinit.flax.init(Net(), KEY, X, rules=drawn, mesh=mesh)
        with pytest.raises(ValueError, match=f"^first/{message}"):
            jaxinit.flax.create(Model, KEY, rules=drawn, mesh=mesh)
    with (
        nn.logical_axis_rules([("hidden", "dta")]),
        pytest.raises(ValueError, match=r"^params/Dense_1/kernel: .*put 'hidden' on \['dta'\]"),
    ):
        jaxinit.flax.init(Net(), KEY, X, mesh=MESH)
    with pytest.raises(ValueError, match="no rule covers these paths"):
        jaxinit.flax.init(Net(), KEY, X, rules=Rules({"**/bias": jaxinit.zeros}))


@pytest.mark.parametrize("rules", [None, RULES], ids=["own", "rules"])
def test_a_sharding_that_does_not_fit_is_refused_before_any_work(rules: Rules | None) -> None:
    from jaxinit import _draw

    run: Any = _draw.run
    before = run._cache_size()
    kernel_init = nn.with_partitioning(jaxinit.normal(), (None, "model"))
    with pytest.raises(ValueError, match=r"^params/kernel: .* splits axis 1 of shape \(16, 7\)"):
        jaxinit.flax.init(nn.Dense(7, kernel_init=kernel_init), KEY, X, rules=rules, mesh=MESH)
    split = nnx.with_partitioning(jaxinit.normal(), (None, "model"))
    with pytest.raises(ValueError, match=r"^kernel: .* splits axis 1 of shape \(16, 7\)"):
        jaxinit.flax.create(
            lambda rngs: nnx.Linear(16, 7, kernel_init=split, rngs=rngs), KEY, rules, MESH
        )
    assert run._cache_size() == before


def test_initializers_are_a_drop_in() -> None:
    from jaxinit.flax import initializers

    names = {name for name in vars(nn.initializers) if not name.startswith("_")}
    assert names <= set(vars(initializers))
    for name in names:
        theirs, ours = getattr(nn.initializers, name), getattr(initializers, name)
        if inspect.isfunction(theirs):
            asked, given = (inspect.signature(f).parameters.values() for f in (theirs, ours))
            pairs = zip(asked, given, strict=False)
            assert all((a.name, a.default, a.kind) == (b.name, b.default, b.kind) for a, b in pairs)
            assert len(given) >= len(asked)
    init = initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)
    theirs = nn.initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)
    expected = jax.jit(lambda key: theirs(key, (50, 8)))(KEY)
    np.testing.assert_array_equal(init(KEY, (50, 8)), expected)
    assert initializers.he_normal is jaxinit.he_normal


class Logical(nn.Module):
    """One kernel with logical names."""

    names: tuple[Any, ...] = ("embed", "mlp")
    rules: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """A product."""
        init = nn.with_logical_partitioning(jaxinit.normal(), self.names, rules=self.rules)
        kernel: Any = self.param("kernel", init, (16, 8))
        return x @ kernel


@pytest.mark.parametrize(
    ("names", "rules"),
    [
        (("embed", "mlp"), (("embed", "model"), ("embed", "data"), ("mlp", None))),
        (("embed", "mlp"), (("embed", "model"), ("mlp", "model"))),
        (("embed", "mlp"), (("embed", "model"), ("mlp", "model"), ("mlp", "data"))),
        (("embed", "mlp"), (("embed", ("data", "model")), ("mlp", "model"))),
        (("model", "mlp"), (("model", "data"), ("mlp", None))),
        (("model", None), (("embed", "data"),)),
    ],
    ids=str,
)
def test_logical_rules_are_read_as_flax_reads_them(names: Any, rules: Any) -> None:
    from flax.linen.spmd import logical_to_mesh_axes

    spec = logical_to_mesh_axes(names, rules)
    assert spec is not None
    expected = NamedSharding(MESH, spec)
    with nn.logical_axis_rules(rules):
        found = jaxinit.flax.init(Logical(names), KEY, X, mesh=MESH)
    assert nn.unbox(found)["params"]["kernel"].sharding.is_equivalent_to(expected, 2)
    own = jaxinit.flax.init(Logical(names, rules), KEY, X, mesh=MESH)
    assert nn.unbox(own)["params"]["kernel"].sharding.is_equivalent_to(expected, 2)


def test_nnx_modules_are_those_of_the_factory() -> None:
    found, expected = jaxinit.flax.create(Model, KEY), jax.jit(lambda k: Wider(nnx.Rngs(k)))
    wider = jaxinit.flax.create(Wider, KEY)
    assert nnx.graphdef(wider) == nnx.graphdef(Wider(nnx.Rngs(KEY)))
    jax.tree.map(lambda a, b: None, nnx.state(wider), nnx.state(expected(KEY)))
    assert found.first.kernel.get_metadata("eager_sharding")


class Wider(nnx.Module):
    """Nothing sharded, which Flax builds without a mesh."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.layer = nnx.Linear(3, 4, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)


class Trained(nn.Module):
    """A static argument, and a variable that is no array."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Dropped in training."""
        self.variable("steps", "n", lambda: 0)
        return nn.Dropout(0.1, deterministic=not train)(nn.Dense(4)(x))


@pytest.mark.parametrize("rules", [None, RULES], ids=["own", "rules"])
@pytest.mark.parametrize("mesh", [None, MESH], ids=["here", "mesh"])
def test_static_abstract_and_scalar_arguments(rules: Any, mesh: Any) -> None:
    rules = rules and Rules({"**/kernel": jaxinit.orthogonal(), "**": jaxinit.zeros})
    by_position = jaxinit.flax.init(Trained(), KEY, X, False, rules=rules, mesh=mesh)
    by_name = jaxinit.flax.init(Trained(), KEY, x=X, train=False, rules=rules, mesh=mesh)
    same(by_position["params"], by_name["params"])
    assert by_position["steps"]["n"] == 0


def test_nnx_numbers_that_are_no_arrays_on_a_mesh() -> None:
    class Number(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.scale = nnx.Param(2.0)
            self.layer = nnx.Linear(3, 4, rngs=rngs)

    assert jaxinit.flax.create(Number, KEY, mesh=MESH).scale.get_value() == 2.0


def test_rules_for_a_module_without_parameters() -> None:
    keys = {"params": KEY, "dropout": KEY}
    module = nn.Dropout(0.5, deterministic=True)
    assert jaxinit.flax.init(module, keys, X, rules=Rules({})) == {}
    with pytest.raises(ValueError, match="these rules cover no path"):
        jaxinit.flax.init(module, keys, X, rules=RULES)


@pytest.mark.parametrize("rules", [None, NORMAL], ids=["own", "rules"])
def test_the_mesh_in_force_is_the_mesh(rules: Any) -> None:
    expected = NamedSharding(MESH, P(None, "model"))
    with jax.set_mesh(MESH):
        linen = jaxinit.flax.init(WIDE, KEY, X, rules=rules)
        model = jaxinit.flax.create(Wide, KEY, rules=rules)
    assert nn.unbox(linen)["params"]["kernel"].sharding == expected
    assert model.layer.kernel[...].sharding == expected


def test_a_parameter_that_no_rule_covers_is_not_left_abstract() -> None:
    class Ids(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            """Whole numbers, and a layer."""
            self.param("ids", lambda _: jnp.arange(3))
            return nn.Dense(2)(x)

    rules = Rules({"**/kernel": jaxinit.ones, "**/bias": jaxinit.zeros})
    with pytest.raises(ValueError, match=r"^ids: no rule covers this parameter of int32"):
        jaxinit.flax.init(Ids(), KEY, X, rules=rules)


def test_shardings_of_batched_are_checked_by_path() -> None:
    def init(key: Any) -> Any:
        return {"a": {"w": jax.random.normal(key, (6, 4))}}

    with pytest.raises(TypeError, match=r"^a/w: shardings has a P.* there"):
        jaxinit.batched(init, {"a": {"w": P("data")}})(KEY)
    with pytest.raises(ValueError, match=r"^a/w: .* splits axis 0"):
        jaxinit.batched(init, {"a": {"w": NamedSharding(MESH, P("data"))}})(KEY)
    with pytest.raises(ValueError, match="shardings is not a tree like"):
        jaxinit.batched(init, {"b": None})(KEY)
