"""A function traced once, and instrumented as often as one likes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxinit._checks import function_of
from jaxinit.capture.instrument import Instrument, Replacement
from jaxinit.capture.observers import statistics
from jaxinit.capture.plan import Plan, plan
from jaxinit.capture.program import flatten
from jaxinit.capture.sites import Observer, Site, Unobserved
from jaxinit.paths import leaves


class Observation(NamedTuple):
    """What a run of an instrumented function gives, all of it arrays.

    Args:
        outputs: of the function, as it gives them.
        statistics: by the name of a site, then by side, what the observer gave. Those of a site in
            a scan have its steps as leading axes.
        loss: the scalar that was differentiated; None without a backward pass.
        gradients: of the loss, a tree like the parameters, None where they are not real numbers;
            None as a whole unless asked for.
    """

    outputs: Any
    statistics: dict[str, dict[str, Any]]
    loss: Any = None
    gradients: Any = None


def trace(fn: Callable[..., Any], params: Any, *inputs: Any) -> "Trace":
    """The sites of a function of (params, *inputs), found in its jaxpr without running it.

    Matrix products, convolutions, look-ups in a table, elementwise nonlinearities, softmaxes and
    normalizations are sites, wherever they are: through `jit`, `vmap`, `remat` and `scan`. A site
    knows the leaves of params that are its kernel and its bias, through transposes, reshapes,
    slices, casts and scales, and the activation that follows.

    Args:
        fn: any JAX function, such as `model.apply`.
        params: any pytree, of arrays or `jax.ShapeDtypeStruct`; what else it holds is kept as it
            is.
        *inputs: likewise; Python numbers and strings are constants of the trace.

    Returns:
        The trace.

    Raises:
        TypeError: if fn is not callable.

    >>> weights = {"hidden": {"kernel": jnp.ones((3, 4))}, "out": {"kernel": jnp.ones((4, 2))}}
    >>> def fn(p, x):
    ...     return jnp.tanh(x @ p["hidden"]["kernel"]) @ p["out"]["kernel"]
    >>> for site in trace(fn, weights, jnp.ones((8, 3))).sites:
    ...     print(site.name, site.kind, site.activation.name)
    hidden matmul tanh
    tanh activation tanh
    out matmul identity
    """
    function_of("(params, *inputs)", "fn", fn)
    return Trace(fn, params, inputs)


class Trace:
    """A traced function; see `trace`.

    Args:
        fn: the function.
        params: its first argument.
        inputs: the others.

    Attributes:
        outputs: of the function, as shapes and dtypes.
    """

    def __init__(self, fn: Callable[..., Any], params: Any, inputs: Sequence[Any]) -> None:
        values, structure = jax.tree.flatten((params, tuple(inputs)))
        self._structure: Any = structure
        count = len(jax.tree.leaves(params))
        # Numbers of Python, such as the rate of a dropout, are constants.
        self._dynamic = [i for i, x in enumerate(values) if _is_array(x)]
        self._static = {i: x for i, x in enumerate(values) if i not in set(self._dynamic)}
        self._paths = [leaf.path for leaf in leaves((params, tuple(inputs)))]
        self._differentiable = [
            k for k, i in enumerate(self._dynamic) if i < count and _is_inexact(values[i])
        ]
        dynamic = [values[i] for i in self._dynamic]
        self._avals = [(tuple(np.shape(x)), _dtype(x)) for x in dynamic]

        def flat(*dynamic: Any) -> Any:
            params, inputs = self._merged(dynamic)
            return fn(params, *inputs)

        closed, self.outputs = _traced(flat, dynamic)
        self._outputs = jax.tree.structure(self.outputs)
        tree = [leaf._replace(value=_as_array(leaf.value)) for leaf in leaves(params)]
        given = [
            i if i < count and k in set(self._differentiable) else None
            for k, i in enumerate(self._dynamic)
        ]
        self._plan = plan(flatten(closed), tree, given)
        self._count = count

    @property
    def plan(self) -> Plan:
        """The function as steps, its places in them, and what is known of every value."""
        return self._plan

    @property
    def sites(self) -> tuple[Site, ...]:
        """In the order in which they are computed."""
        return tuple(place.site for place in self._plan.places)

    @property
    def unobserved(self) -> tuple[Unobserved, ...]:
        """Operations that are passed through as they are."""
        return self._plan.unobserved

    @property
    def inputs(self) -> tuple[int, ...]:
        """The leaves of (params, *inputs) that are arguments of the plan, by their place."""
        return tuple(self._dynamic)

    def instrument(
        self,
        observer: Observer = statistics,
        *,
        loss: Callable[[Any], Any] | None = None,
        backward: bool = True,
        gradients: bool = False,
        replace: Replacement | None = None,
    ) -> Callable[..., Observation]:
        """The function with its sites observed: a JAX function of the same arguments, to be jitted.

        Statistics are computed where the values are, so that no activation is kept for them. What
        a caller does not return from its own jitted function is not computed.

        Args:
            observer: from a site, a side ("input", "output" or "cotangent") and the value there to
                a pytree of scalars and vectors, or None. The cotangent is that of the output,
                which is summed over its uses; its statistics become float32.
            loss: from the outputs to the scalar to differentiate. None takes the output, if it is
                a scalar, or else its product with fixed normal noise (of a tuple, of its first
                entry: the second is often a state).
            backward: whether to observe cotangents.
            gradients: whether to return those of the parameters.
            replace: from a site and its output to what to go on with, in the same shape.

        Returns:
            A function from (params, *inputs) to an `Observation`.

        Raises:
            ValueError: when called, if an argument has another shape or structure than was traced;
                the loss is no real scalar; or the function has no derivative.

        >>> found = trace(jnp.dot, jnp.eye(3), jnp.ones(3)).instrument()(jnp.eye(3), jnp.ones(3))
        >>> float(found.statistics["matmul"]["output"]["rms"])
        1.0
        """
        instrument = Instrument(self._plan, observer, replace)

        def observed(params: Any, *inputs: Any) -> Observation:
            dynamic = self.arguments(params, inputs)
            if not (gradients or (backward and self._plan.places)):
                results, seen = instrument.run(dynamic, {})
                return Observation(self._unflattened(results), seen)

            def objective(dummies: Any, changed: Any) -> tuple[Any, Any]:
                values = list(dynamic)
                for k, value in zip(self._differentiable, changed, strict=True):
                    values[k] = value
                results, seen = instrument.run(values, dummies)
                outputs = self._unflattened(results)
                return _scalar(outputs, loss), (outputs, seen)

            dummies = instrument.dummies() if backward else {}
            at = [dynamic[k] for k in self._differentiable]
            both = jax.value_and_grad(objective, (0, 1) if gradients else 0, has_aux=True)
            try:
                (value, (outputs, seen)), found = both(dummies, at)
            except Exception as error:
                jax.eval_shape(objective, dummies, at)  # raises, if it is not the derivative
                raise ValueError(
                    f"fn has no derivative, so no signal flows back ({_first(error)}): pass "
                    "backward=False to observe the forward pass alone"
                ) from None
            cotangents, slopes = found if gradients else (found, None)
            for name, side in cotangents.items():
                if jax.tree.leaves(side):
                    seen[name] = {**seen[name], "cotangent": side}
            tree = None if slopes is None else self._like_params(slopes)
            return Observation(outputs, seen, value, tree)

        return observed

    def observe(self, params: Any, *inputs: Any, **options: Any) -> Observation:
        """One compiled run of `instrument(**options)`."""
        return jax.jit(self.instrument(**options))(params, *inputs)

    def _merged(self, dynamic: Sequence[Any]) -> Any:
        values = {**self._static, **dict(zip(self._dynamic, dynamic, strict=True))}
        return jax.tree.unflatten(self._structure, [values[i] for i in range(len(values))])

    def arguments(self, params: Any, inputs: Sequence[Any]) -> list[Any]:
        """What the block of the plan is given for (params, *inputs).

        Raises:
            ValueError: if an argument has another shape or structure than was traced.
        """
        values, structure = jax.tree.flatten((params, tuple(inputs)))
        if structure != self._structure:
            raise ValueError(
                f"the arguments have the structure {structure}, and {self._structure} was traced"
            )
        found = []
        for i, (shape, dtype) in zip(self._dynamic, self._avals, strict=True):
            value = values[i]
            if tuple(np.shape(value)) != shape or _dtype(value) != dtype:
                raise ValueError(
                    f"argument {self._paths[i]} is {_dtype(value)}{list(np.shape(value))}, and "
                    f"{dtype}{list(shape)} was traced: trace it again"
                )
            found.append(jnp.asarray(value))
        return found

    def _unflattened(self, results: Sequence[Any]) -> Any:
        return jax.tree.unflatten(self._outputs, [jnp.asarray(x) for x in results])

    def _like_params(self, slopes: Sequence[Any]) -> Any:
        params, _ = jax.tree.unflatten(self._structure, range(self._structure.num_leaves))
        by_leaf = {self._dynamic[k]: g for k, g in zip(self._differentiable, slopes, strict=True)}
        return jax.tree.map(by_leaf.get, params)


def _traced(flat: Callable[..., Any], dynamic: Sequence[Any]) -> tuple[Any, Any]:
    abstract = [jax.ShapeDtypeStruct(np.shape(x), _dtype(x)) for x in dynamic]
    closed, shapes = jax.make_jaxpr(flat, return_shape=True)(*abstract)
    return closed, shapes


def _scalar(outputs: Any, loss: Callable[[Any], Any] | None) -> Any:
    if loss is not None:
        value = loss(outputs)
        if (
            not hasattr(value, "dtype")
            or value.shape
            or not jnp.issubdtype(value.dtype, jnp.floating)
        ):
            kind = f"{value.dtype}{list(value.shape)}" if hasattr(value, "dtype") else repr(value)
            raise ValueError(f"loss gives {kind}, not a real scalar: take its mean")
        return value
    first = outputs[0] if isinstance(outputs, tuple) and outputs else outputs
    real = [x for x in jax.tree.leaves(first) if jnp.issubdtype(x.dtype, jnp.inexact)]
    if not real:
        raise ValueError(
            "fn returns no real numbers, so no signal flows back: pass loss=, or backward=False"
        )
    if len(real) == 1 and not real[0].shape and jnp.issubdtype(real[0].dtype, jnp.floating):
        return real[0]
    keys = jax.random.split(jax.random.key(0), len(real))
    noise = [jax.random.normal(key, x.shape, x.dtype) for key, x in zip(keys, real, strict=True)]
    return sum(jnp.sum((x * n).real.astype(jnp.float32)) for x, n in zip(real, noise, strict=True))


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _is_real(value: Any) -> bool:
    return isinstance(value, float | complex)


def _dtype(value: Any) -> Any:
    return value.dtype if _is_array(value) else jnp.result_type(value)


def _is_inexact(value: Any) -> bool:
    return jnp.issubdtype(_dtype(value), jnp.inexact)


def _as_array(value: Any) -> Any:
    return jnp.asarray(value) if _is_real(value) else value


def _first(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
