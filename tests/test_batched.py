"""Any init function, compiled once a distinct law: the same arguments, the same bits."""

from collections.abc import Callable
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
from jaxinit import batched
from jaxinit._keys import derived

# Rows of 3 to 6, 10 or 12 normals are not compared: with AVX-512, JAX 0.12 may round them anew.
KEYS = (jax.random.key(3), jax.random.key_data(jax.random.key(3)), jax.random.key(3, impl="rbg"))
TOKENS = jnp.ones((2, 7), jnp.int32)


class Block(nn.Module):
    """A transformer's layer, with Flax's own defaults."""

    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, _: Any = None) -> Any:
        """Attention and a feed-forward."""
        settings: Any = {"param_dtype": self.param_dtype}
        y = nn.LayerNorm(**settings)(x)
        x = x + nn.MultiHeadDotProductAttention(4, **settings)(y, y)
        y = nn.gelu(nn.Dense(4 * x.shape[-1], **settings)(x))
        return x + nn.Dense(x.shape[-1], **settings)(y), None


class Transformer(nn.Module):
    """Layers of `Block`, apart or scanned."""

    param_dtype: Any = jnp.float32
    scanned: bool = False

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Logits."""
        x = nn.Embed(100, 32, param_dtype=self.param_dtype)(tokens)
        if self.scanned:
            scan = nn.scan(
                Block, variable_axes={"params": 0}, split_rngs={"params": True}, length=3
            )
            x, _ = scan(self.param_dtype)(x, None)
        else:
            for _ in range(3):
                x, _ = Block(self.param_dtype)(x)
        return nn.Dense(10, kernel_init=nn.initializers.orthogonal())(x)


def assert_same(found: Any, expected: Any) -> None:
    ours, theirs = (jax.tree.structure(tree) for tree in (found, expected))
    assert ours == theirs  # type: ignore[operator]
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if isinstance(b, jax.Array) and jnp.issubdtype(b.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert jnp.asarray(a).dtype == jnp.asarray(b).dtype
        np.testing.assert_array_equal(bits(a), bits(b))


@pytest.mark.parametrize("key", KEYS, ids=["typed", "legacy", "rbg"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=str)
def test_linen(key: Any, dtype: Any) -> None:
    init = Transformer(dtype).init
    assert_same(batched(init)(key, TOKENS), jax.jit(init)(key, TOKENS))


def test_scanned_layers() -> None:
    init = Transformer(scanned=True).init
    assert_same(batched(init)(KEYS[0], TOKENS), jax.jit(init)(KEYS[0], TOKENS))


class Lifted(nn.Module):
    """Layers rematerialized, scanned and mapped."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Through all of them."""
        x, _ = nn.remat(Block)()(x)
        scanned = nn.remat(Block, prevent_cse=False)
        axes: Any = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
        x, _ = nn.scan(scanned, **axes, length=2)()(x, None)
        return nn.vmap(nn.Dense, **axes, in_axes=None, axis_size=3)(8)(x)


def test_lifted_transforms() -> None:
    x = jnp.ones((2, 5, 8))
    found = batched(Lifted().init)(KEYS[0], x)
    assert found["params"]["VmapDense_0"]["kernel"].shape == (3, 8, 8)
    assert_same(found, jax.jit(Lifted().init)(KEYS[0], x))


def test_nnx_stacks() -> None:
    @nnx.split_rngs(splits=3)
    @nnx.vmap(in_axes=(0,), out_axes=0)
    def stack(rngs: nnx.Rngs) -> nnx.Module:
        return nnx.Linear(8, 8, rngs=rngs)

    def build(key: jax.Array) -> Any:
        return nnx.state(stack(nnx.Rngs(key)))

    found = batched(build)(KEYS[0])
    assert found["kernel"][...].shape == (3, 8, 8)
    assert_same(found, jax.jit(build)(KEYS[0]))


def test_nnx() -> None:
    def build(key: jax.Array) -> nnx.Module:
        rngs = nnx.Rngs(key)
        return nnx.Sequential(
            nnx.Linear(8, 16, rngs=rngs), nnx.Dropout(0.1, rngs=rngs), nnx.Conv(4, 8, 3, rngs=rngs)
        )

    found = batched(build)(KEYS[0])
    assert isinstance(found, nnx.Sequential)
    assert_same(nnx.state(found), nnx.state(jax.jit(build)(KEYS[0])))


def compilations(run: Callable[[], Any]) -> int:
    """How many computations a call compiles."""
    from jaxinit import _trace

    compute: Any = _trace._compute
    compute.clear_cache()
    run()
    return int(compute._cache_size())


def test_a_law_and_a_shape_compile_once() -> None:
    class Deep(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            """Twenty equal layers, and each with a scale of its own."""
            for i in range(20):
                init = jaxinit.normal(1 / (i + 1))
                x = nn.Dense(8, kernel_init=init, bias_init=nn.initializers.normal())(x)
            return x

    x = jnp.ones((1, 8))
    assert compilations(lambda: batched(Deep().init)(KEYS[0], x)) == 2
    kernels = nn.Sequential([nn.Dense(8) for _ in range(30)])
    assert compilations(lambda: batched(kernels.init)(KEYS[0], x)) == 1  # numpy fills the biases
    assert compilations(lambda: batched(nn.DenseGeneral((2, 4)).init)(KEYS[0], x)) == 1
    # One step of the twenty differs: the count can tell.
    mixed = nn.Sequential([nn.Dense(8), nn.Dense(8, kernel_init=nn.initializers.he_normal())])
    assert compilations(lambda: batched(mixed.init)(KEYS[0], x)) == 2


def test_no_program_is_compiled_twice() -> None:
    """What the pool compiles ahead, the call finds; a second call compiles nothing."""
    from jax import monitoring

    events: list[str] = []

    def listen(event: str, *_: Any, **__: Any) -> None:
        if "backend_compile" in event:
            events.append(event)

    kernels = nn.Sequential([nn.Dense(9), nn.Dense(9), nn.Dense(7)])
    x = jnp.ones((1, 9))
    monitoring.register_event_duration_secs_listener(listen)
    try:
        found = compilations(lambda: batched(kernels.init)(KEYS[0], x))
        cold = len(events)
        batched(kernels.init)(KEYS[0], x)
    finally:
        monitoring.unregister_event_duration_listener(listen)
    assert found == cold == len(events) == 2  # nothing for the keys either


def test_the_forward_pass_is_not_run() -> None:
    def fail(x: Any) -> Any:
        raise AssertionError("the forward pass ran")

    class Watched(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            """A layer behind a call back to the host."""
            y = jax.pure_callback(fail, jax.ShapeDtypeStruct(x.shape, x.dtype), x)
            return nn.Dense(3)(y)

    concrete = batched(Watched().init)(KEYS[0], jnp.ones((2, 4)))
    assert_same(batched(Watched().init)(KEYS[0], jax.ShapeDtypeStruct((2, 4), "float32")), concrete)
    assert concrete["params"]["Dense_0"]["kernel"].shape == (4, 3)


class Whitening(nn.Module):
    """A layer with a parameter that depends on the data."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Scaled by the first batch."""
        scale = self.param("scale", lambda key: 1 / x.std(axis=0))
        return nn.Dense(8)(x * scale)


def test_leaves_that_depend_on_data() -> None:
    x = jax.random.normal(KEYS[0], (50, 4))
    assert_same(batched(Whitening().init)(KEYS[0], x), jax.jit(Whitening().init)(KEYS[0], x))
    with pytest.raises(ValueError, match="depends on the values of an argument"):
        batched(Whitening().init)(KEYS[0], jax.ShapeDtypeStruct((50, 4), "float32"))


def test_constants_keep_their_weak_type_and_go_to_their_devices() -> None:
    def init(key: Any) -> Any:
        return {"weak": jnp.full((8,), 1e-5), "strong": jnp.zeros(3), "one": jnp.float32(2)}

    found = batched(init)(KEYS[0])
    assert (found["weak"] * jnp.ones(8, jnp.bfloat16)).dtype == jnp.bfloat16
    assert (found["strong"] * jnp.ones(3, jnp.bfloat16)).dtype == jnp.float32
    everywhere = NamedSharding(Mesh(np.array(jax.devices()), ("a",)), PartitionSpec())
    placed = batched(init, dict.fromkeys(found, everywhere))(KEYS[0])
    assert all(leaf.sharding == everywhere for leaf in placed.values())


def test_the_larger_of_any_two_numbers() -> None:
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e-40, -3e38], np.float32)
    pairs = [x.ravel() for x in np.meshgrid(special, special)]
    found, expected = (f(jnp.maximum)(*pairs) for f in (batched, jax.jit))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected), strict=True)


def test_other_results_and_arguments() -> None:
    def init(key: Any, scale: float, *, flag: bool, given: Any) -> Any:
        w = jax.random.normal(key, (8,)) * scale if flag else None
        return {"w": w, "tied": [w, w], "given": given, "two": jnp.ones(2), "name": print, "n": 3}

    given = jnp.arange(3)
    found = batched(init)(KEYS[0], 0.5, flag=True, given=given)
    expected = jax.jit(lambda k: jax.random.normal(k, (8,)) * 0.5)(KEYS[0])
    np.testing.assert_array_equal(found["w"], expected)
    assert found["tied"][0] is found["w"]
    np.testing.assert_array_equal(found["given"], given)
    assert (found["name"], found["n"]) == (print, 3)
    assert batched(init)(KEYS[0], 0.5, flag=False, given=given)["w"] is None


def test_keys_that_are_split() -> None:
    def init(key: Any) -> Any:
        keys = jax.random.split(key, 4)
        stack = jax.vmap(lambda k: jax.random.normal(k, (3, 2)))(keys)
        chain = []
        for _ in range(5):
            key, sub = jax.random.split(key)
            chain.append(jax.random.truncated_normal(sub, -2, 2, (4, 8)))
        return stack, chain, keys[2]

    for key in KEYS:
        assert_same(batched(init)(key), jax.jit(init)(key))
    assert compilations(lambda: batched(init)(KEYS[0])) == 2


def only(found: list[Any] | None) -> Any:
    """The one result."""
    assert found is not None
    (result,) = found
    return result


def test_keys_derived_by_numpy_are_those_of_jax() -> None:
    key = jax.random.key(2**31 + 5)
    for count in (0, 1, 2**32 - 1):
        found = only(derived("random_fold_in", {}, [key, np.uint32(count)]))
        assert bool(found == jax.random.fold_in(key, np.uint32(count)))
    for shape in ((), (1,), (7,), (3, 5)):
        found = only(derived("random_split", {"shape": shape}, [key]))
        assert bool((found == jax.random.split(key, shape)).all())
        assert found.shape == shape
    assert only(derived("add", {}, [np.uint32(2**32 - 1), np.array(3, np.uint32)])) == 2


def test_other_keys_are_left_to_jax() -> None:
    key, split = jax.random.key(0), {"shape": (2,)}
    committed = jax.device_put(key, jax.devices()[1])
    for other in (jax.random.key(0, impl="rbg"), jax.random.split(key), committed):
        assert derived("random_split", split, [other]) is None
    with jax.threefry_partitionable(False):
        assert derived("random_split", split, [key]) is None
    assert derived("random_bits", {}, [key]) is None
    assert derived("slice", {}, [jnp.ones(3)]) is None
    assert derived("add", {}, [np.float32(1), np.float32(2)]) is None
    assert derived("add", {}, [np.ones(2, np.uint32), np.uint32(2)]) is None
    assert jax.jit(lambda k: derived("random_split", split, [k]) is None)(key)


def test_under_a_trace_it_is_the_function_itself() -> None:
    init = Transformer().init
    assert_same(jax.jit(batched(init))(KEYS[0], TOKENS), jax.jit(init)(KEYS[0], TOKENS))
    abstract = jax.eval_shape(batched(init), KEYS[0], TOKENS)
    assert jax.tree.leaves(abstract)[0].shape


def test_partitioned_parameters() -> None:
    mesh = Mesh(np.array(jax.devices()), ("x",), axis_types=(AxisType.Auto,))
    kernel_init = nn.with_partitioning(jaxinit.he_normal(), (None, "x"))
    model = nn.Dense(16, kernel_init=kernel_init)
    whole = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec(None, "x"))

    def by_rank(abstract: Any) -> Any:
        return jax.tree.map(lambda leaf: split if leaf.ndim == 2 else whole, abstract)

    found = nn.unbox(batched(model.init, by_rank)(KEYS[0], jnp.ones((1, 8))))["params"]
    assert (found["kernel"].sharding, found["bias"].sharding) == (split, whole)
    with jax.set_mesh(mesh):
        boxed = batched(model.init)(KEYS[0], jnp.ones((1, 8)))
    assert boxed["params"]["kernel"].names == (None, "x")
    assert nn.get_partition_spec(boxed)["params"]["kernel"] == PartitionSpec(None, "x")


def test_keeps_the_name() -> None:
    def build(key: Any) -> Any:
        """Build."""

    assert (batched(build).__name__, batched(build).__doc__) == ("build", "Build.")
