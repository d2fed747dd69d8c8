"""Variables of linen modules and nnx modules, by their own initializers or by rules."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxinit.batched import batched
from jaxinit.paths import Leaf, at, leaves
from jaxinit.rules import Rules
from jaxinit.sharding import resolve
from jaxinit.trees import initialize

M = TypeVar("M")


def init(
    module: Any,
    key: Any,
    *args: Any,
    rules: Rules | None = None,
    mesh: Mesh | None = None,
    **kwargs: Any,
) -> Any:
    """The variables of a linen module, each drawn on its own, straight onto its devices.

    What `module.init` gives, without running the module and with one compilation a distinct law and
    shape. Boxes of `nn.with_partitioning` and `nn.with_logical_partitioning` are kept, and say how
    a parameter is sharded; logical names go through the rules in force (`nn.logical_axis_rules`).

    Args:
        module: a linen module.
        key: a JAX key, or a dictionary of keys by stream.
        *args: of the module; arrays, or `jax.ShapeDtypeStruct` for those of which only the shape
            matters.
        rules: for the collection "params", whose paths start below it; None takes the module's own
            initializers.
        mesh: on which to shard; None puts all on the default device.
        **kwargs: of `module.init`.

    Returns:
        The variables; without rules, those of `jax.jit(module.init)` bit for bit.

    Raises:
        ValueError: as `initialize` does, or if a sharding names an axis that neither the mesh nor
            the logical rules have.

    >>> import flax.linen as nn
    >>> x = jax.ShapeDtypeStruct((1, 3), "float32")
    >>> init(nn.Dense(4), jax.random.key(0), x)["params"]["kernel"].shape
    (3, 4)
    """
    import flax.linen as nn

    def variables(key: Any, *args: Any) -> Any:
        return module.init(key, *args, **kwargs)

    def places(abstract: Any) -> Any:
        logical = dict(nn.get_logical_axis_rules())
        return _named(abstract, nn.get_partition_spec(abstract), mesh, logical)

    if rules is None:
        return batched(variables, places)(key, *args)

    def others(key: Any, *args: Any) -> Any:
        return {name: v for name, v in variables(key, *args).items() if name != "params"}

    abstract = jax.eval_shape(variables, key, *args)
    params = {"params": abstract["params"]}
    drawn = key["params"] if isinstance(key, dict) else key
    where = mesh and places(params)["params"]
    filled = {"params": initialize(params["params"], rules, drawn, where)}
    if len(abstract) == 1:
        return filled
    return {**batched(others, places)(key, *args), **filled}


def create(
    factory: Callable[..., M], key: Any, rules: Rules | None = None, mesh: Mesh | None = None
) -> M:
    """An nnx module, its parameters drawn each on its own, straight onto their devices.

    What `factory(nnx.Rngs(key))` gives, without building a parameter that is not on its shards.
    The metadata `out_sharding` of a variable says how it is sharded.

    Args:
        factory: from `nnx.Rngs` to a module, such as `lambda rngs: Model(config, rngs=rngs)`.
        key: a JAX key.
        rules: for the parameters, `nnx.Param`; None takes the module's own initializers.
        mesh: on which to shard; None puts all on the default device.

    Returns:
        The module; without rules its variables are those of the factory compiled.

    Raises:
        ValueError: as `initialize` does, or if a sharding names an axis that neither the mesh nor
            the logical rules have.

    >>> from flax import nnx
    >>> create(lambda rngs: nnx.Linear(3, 4, rngs=rngs), jax.random.key(0)).kernel.shape
    (3, 4)
    """
    from flax import nnx

    def build(key: Any) -> Any:
        with nnx.use_eager_sharding(False):  # leaves are placed here, where they are drawn
            return nnx.split(factory(nnx.Rngs(key)))

    def places(state: Any) -> Any:
        return _named(state, nnx.get_partition_spec(state), mesh, {})

    def places_of_both(module: tuple[Any, Any]) -> Any:
        return mesh and (module[0], places(module[1]))

    if rules is None:
        return nnx.merge(*batched(build, places_of_both)(key))

    def remaining(key: Any) -> Any:
        return nnx.split_state(build(key)[1], nnx.Param, ...)[1]

    graph, abstract = jax.eval_shape(build, key)
    params, rest = nnx.split_state(abstract, nnx.Param, ...)
    drawn = initialize(params, rules, key, places(params))
    return nnx.merge(graph, drawn, batched(remaining, places)(key) if rest else rest)


def _named(tree: Any, specs: Any, mesh: Mesh | None, logical: Mapping[str, Any]) -> Any:
    """Shardings on a mesh for the leaves of a tree; a logical axis stands for those of its rule."""
    if mesh is None:
        return None

    def physical(name: str) -> Any:
        if name in mesh.axis_names:
            return name
        if name not in logical:
            raise ValueError(
                f"a parameter is partitioned over {name!r}, which is neither an axis of the mesh, "
                f"{mesh.axis_names}, nor in the logical axis rules in force, {tuple(logical)}: "
                "pass a mesh with it, or call under nn.logical_axis_rules"
            )
        unknown = [axis for axis in _several(logical[name]) if axis not in mesh.axis_names]
        if unknown:
            raise ValueError(
                f"the logical axis rules in force put {name!r} on {unknown}, which the mesh does "
                f"not have: its axes are {mesh.axis_names}"
            )
        return logical[name]

    def part(names: Any) -> Any:
        if not isinstance(names, tuple):
            return None if names is None else physical(names)
        return tuple(axis for name in names for axis in _several(physical(name)))

    def named(leaf: Leaf, spec: PartitionSpec | None) -> NamedSharding:
        with at(leaf.path):
            sharding = NamedSharding(mesh, PartitionSpec(*map(part, spec or ())))
            resolve(sharding, leaf.value.shape)
        return sharding

    flat = jax.tree.leaves(specs, is_leaf=lambda x: x is None or isinstance(x, PartitionSpec))
    return jax.tree.unflatten(jax.tree.structure(tree), map(named, leaves(tree), flat))


def _several(axes: Any) -> tuple[str, ...]:
    return (axes,) if isinstance(axes, str) else () if axes is None else tuple(axes)
