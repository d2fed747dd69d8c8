"""Variables of linen modules and nnx modules, by their own initializers or by rules."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxinit.batched import batched, of_arrays
from jaxinit.paths import Leaf, at, flattened, leaves
from jaxinit.rules import Rules
from jaxinit.sharding import current_mesh, resolve
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
    a parameter is sharded; logical names go through their own rules or those in force
    (`nn.logical_axis_rules`), as `nn.logical_to_mesh_axes` reads them: the first that is free wins.

    Args:
        module: a linen module.
        key: a JAX key, or a dictionary of keys by stream.
        *args: of the module; arrays, or `jax.ShapeDtypeStruct` for those of which only the shape
            matters.
        rules: for the collection "params", whose paths start below it; None takes the module's own
            initializers.
        mesh: on which to shard; None takes the mesh in force (`jax.set_mesh`), and puts all on the
            default device where there is none.
        **kwargs: of `module.init`, likewise.

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

    mesh = mesh or current_mesh()

    def places(abstract: Any) -> Any:
        if mesh is None:
            return None
        boxes = jax.tree.leaves(abstract, is_leaf=lambda x: isinstance(x, nn.meta.AxisMetadata))
        return _named(abstract, boxes, _linen_spec, mesh)

    if rules is None:
        return batched(module.init, places)(key, *args, **kwargs)

    def others(*args: Any, **kwargs: Any) -> Any:
        variables = module.init(*args, **kwargs)
        return {name: v for name, v in variables.items() if name != "params"}

    call, arrays = of_arrays(module.init, (key, *args), kwargs)
    abstract = jax.eval_shape(call, *arrays)
    if "params" not in abstract:
        rules.assign([])  # refuses rules, which cover nothing
        return batched(others, places)(key, *args, **kwargs)
    params = {"params": abstract["params"]}
    drawn = key["params"] if isinstance(key, dict) else key
    where = mesh and places(params)["params"]
    filled = {"params": _whole(initialize(params["params"], rules, drawn, where))}
    if len(abstract) == 1:
        return filled
    return {**batched(others, places)(key, *args, **kwargs), **filled}


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
        mesh: on which to shard; None takes the mesh in force (`jax.set_mesh`), and puts all on the
            default device where there is none.

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

    mesh = mesh or current_mesh()
    eager = nnx.using_eager_sharding()

    def build(key: Any) -> Any:
        with nnx.use_eager_sharding(False):  # leaves are placed here, where they are drawn
            module = factory(nnx.Rngs(key))
        for variable in jax.tree.leaves(module, is_leaf=lambda x: isinstance(x, nnx.Variable)):
            if isinstance(variable, nnx.Variable) and not variable.get_metadata("eager_sharding"):
                variable.set_metadata("eager_sharding", eager)
        return nnx.split(module)

    def places(state: Any) -> Any:
        if mesh is None:
            return None
        boxes = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, nnx.Variable))
        return _named(state, boxes, _nnx_spec, mesh)

    def places_of_both(module: tuple[Any, Any]) -> Any:
        return mesh and (module[0], places(module[1]))

    if rules is None:
        return nnx.merge(*batched(build, places_of_both)(key))

    def remaining(key: Any) -> Any:
        return nnx.split_state(build(key)[1], nnx.Param, ...)[1]

    graph, abstract = jax.eval_shape(build, key)
    params, rest = nnx.split_state(abstract, nnx.Param, ...)
    drawn = _whole(initialize(params, rules, key, places(params)))
    return nnx.merge(graph, drawn, batched(remaining, places)(key) if rest else rest)


def _named(tree: Any, boxes: Sequence[Any], spec: Callable[[Any, Mesh], Any], mesh: Mesh) -> Any:
    """Shardings on a mesh for the leaves of a tree, by the specs of their boxes."""

    def named(leaf: Leaf, box: Any) -> NamedSharding | None:
        if not leaf.is_array:
            return None
        with at(leaf.path):
            sharding = NamedSharding(mesh, spec(box, mesh) or PartitionSpec())
            resolve(sharding, leaf.value.shape)
        return sharding

    each = (box for box in boxes for _ in jax.tree.leaves(box))
    return jax.tree.unflatten(jax.tree.structure(tree), map(named, flattened(tree), each))


def _linen_spec(box: Any, mesh: Mesh) -> Any:
    """The axes of a mesh that a box names, through the logical rules as Flax reads them."""
    import flax.linen as nn
    from flax.linen.spmd import logical_to_mesh_axes

    spec = nn.get_partition_spec(box)
    names = _names(spec)
    if not isinstance(box, nn.LogicallyPartitioned) and set(names) <= set(mesh.axis_names):
        return spec
    own = getattr(box, "rules", None)
    rules = nn.get_logical_axis_rules() if own is None else own
    _require_known(names, mesh, rules)
    for name, axes in rules:
        unknown = [axis for axis in _several(axes) if axis not in mesh.axis_names]
        if name in names and unknown:
            raise ValueError(
                f"the logical axis rules in force put {name!r} on {unknown}, which the mesh does "
                f"not have: its axes are {mesh.axis_names}"
            )
    return logical_to_mesh_axes(tuple(spec), rules)


def _nnx_spec(variable: Any, mesh: Mesh) -> Any:
    from flax import nnx

    spec = nnx.spmd.get_var_pspec(variable) if isinstance(variable, nnx.Variable) else None
    _require_known(_names(spec), mesh, ())
    return spec


def _require_known(names: Sequence[str], mesh: Mesh, rules: Sequence[Any]) -> None:
    known = tuple(rule for rule, _ in rules)
    for name in names:
        if name not in (*mesh.axis_names, *known):
            raise ValueError(
                f"a parameter is partitioned over {name!r}, which is neither an axis of the mesh, "
                f"{mesh.axis_names}, nor in the logical axis rules in force, {known}: pass a mesh "
                "with it, or call under nn.logical_axis_rules"
            )


def _names(spec: Any) -> list[str]:
    return [name for part in spec or () for name in _several(part)]


def _whole(tree: Any) -> Any:
    """The tree, in which no parameter was left abstract."""
    for leaf in leaves(tree):
        if leaf.is_abstract:
            raise ValueError(
                f"{leaf.path}: no rule covers this parameter of {leaf.value.dtype}; add a rule"
            )
    return tree


def _several(axes: Any) -> tuple[str, ...]:
    if axes is None or axes is PartitionSpec.UNCONSTRAINED:
        return ()
    return (axes,) if isinstance(axes, str) else tuple(axes)
