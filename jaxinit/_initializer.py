"""What an initializer is: the protocol, the bound value, and the decorator that makes both."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import (
    Annotated,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeAlias,
    cast,
    runtime_checkable,
)

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import ArrayLike, DTypeLike

from jaxinit._checks import check_argument, check_dtype, check_key, check_shape, wide
from jaxinit._draw import Draw, Part, Program, Spec, run, sample
from jaxinit.sharding import OutSharding, label, resolve

P = ParamSpec("P")
_STARRED, _REST = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD


@runtime_checkable
class Initializer(Protocol):
    """A pure function from a key, a shape and a dtype to weights.

    The protocol of `jax.nn.initializers`. Every value that jaxinit's factories return obeys it,
    and wherever jaxinit takes an initializer, any callable that obeys it will do; `out_sharding`
    is passed on only when it is given.
    """

    def __call__(
        self,
        key: Any,
        shape: Sequence[int],
        dtype: DTypeLike | None = None,
        out_sharding: OutSharding = None,
    ) -> Array:
        """Weights of the given shape and dtype, drawn from the key.

        Args:
            key: a JAX key, typed or legacy.
            shape: of the weights.
            dtype: of the weights; None means the initializer's own, else JAX's default.
            out_sharding: `NamedSharding`, `PartitionSpec` or None.
        """
        ...


class Bound:
    """An initializer: a law and its arguments, as an immutable value.

    Equal arguments make equal values with equal hashes; arrays are compared by identity, and read
    at every call. It prints as the call that made it. `init * factor` and `a + b` are initializers
    too.
    """

    __array_ufunc__ = None  # so that numpy leaves `array * init` to __rmul__
    _dtype: DTypeLike | None
    _keeps_plan: bool
    __slots__ = (
        "__weakref__",  # without which jax.jit crashes on an initializer
        "_arguments",
        "_dtype",
        "_factory",
        "_function",
        "_given",
        "_hash",
        "_keeps_plan",
        "_starred",
        "_token",
    )

    def __init__(
        self,
        factory: Callable[..., Bound],
        function: Callable[..., Draw],
        arguments: dict[str, Any],
        given: tuple[str, ...],
        starred: str | None = None,
    ) -> None:
        self._factory = factory
        self._function = function
        self._arguments = arguments
        self._given = given
        self._starred = starred
        values = tuple(arguments.values())
        leaves = tuple(_leaves(values))
        parts = [leaf for leaf in leaves if isinstance(leaf, Bound)]
        # numpy's arrays may change, JAX's be traced, and a PartitionSpec means the mesh in force.
        passing = Array | np.ndarray | PartitionSpec
        self._keeps_plan = not any(isinstance(leaf, passing) for leaf in leaves) and all(
            p._keeps_plan for p in parts
        )
        inherited = (p._dtype for p in parts if p._dtype is not None)
        self._dtype = arguments["dtype"] if "dtype" in arguments else next(inherited, None)
        self._token = (*arguments, *map(_identify, values))
        self._hash = hash((factory, self._token))

    def __call__(
        self,
        key: Any,
        shape: Sequence[int],
        dtype: DTypeLike | None = None,
        out_sharding: OutSharding = None,
    ) -> Array:
        """Weights of the given shape and dtype, drawn from the key; see `Initializer`."""
        program, operands = self._planned(shape, dtype, out_sharding)
        key = check_key(key) if program.random else None
        return label(run(program, None, key, operands), program.spec.sharding)

    def _planned(
        self, shape: Sequence[int], dtype: DTypeLike | None, out_sharding: OutSharding
    ) -> tuple[Program, tuple[Any, ...]]:
        """What to compile, and its numbers."""
        shape = check_shape(shape)
        kind = check_dtype(self._dtype if dtype is None else dtype)
        plan = _cached_plan if self._keeps_plan else _plan
        program, operands = plan(self, shape, kind, resolve(out_sharding, shape))
        return program, operands

    def __mul__(self, factor: ArrayLike) -> Bound:
        from jaxinit.algebra import scaled  # which is itself made by `initializer`

        return scaled(self, factor)

    __rmul__ = __mul__

    def __add__(self, other: Initializer | Callable[..., Array]) -> Bound:
        from jaxinit.algebra import added

        return added(self, other)

    def __radd__(self, other: Initializer | Callable[..., Array]) -> Bound:
        from jaxinit.algebra import added

        return added(other, self)

    def replace(self, **changes: Any) -> Bound:
        """The initializer that its factory makes with some arguments changed.

        Args:
            **changes: arguments of the factory.

        Returns:
            An initializer.

        Raises:
            TypeError: if the factory has no such argument.
        """
        args, kwargs = self._call(self._given, changes)
        return self._factory(*args, **kwargs)

    def _call(
        self, names: Iterable[str], changes: dict[str, Any] | None = None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of these names as a call takes them: by position those of `*name`."""
        named = {name: self._arguments[name] for name in names} | (changes or {})
        return named.pop(self._starred, ()), named  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bound):
            return NotImplemented
        return self._factory is other._factory and self._token == other._token

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        args, kwargs = self._call(self._given)
        call = (*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items()))
        return f"{self._factory.__qualname__}({', '.join(call)})"

    def __copy__(self) -> Bound:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Bound:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        args, kwargs = self._call(self._given)
        return functools.partial(self._factory, *args, **kwargs), ()


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _identify(value: Any) -> Any:
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(map(_identify, value))
    return ("array", id(value)) if isinstance(value, Array | np.ndarray) else value


def part(
    init: Initializer | Callable[..., Array], spec: Spec, shape: tuple[int, ...] | None = None
) -> Part:
    """What another initializer draws, as an operand of a law.

    The law receives a function from a key to its weights, in the wide dtype. Numbers of an
    initializer of jaxinit stay operands, so they share compilations; any other callable is called
    as `init(key, shape, dtype)`.

    Args:
        init: any initializer.
        spec: of the whole.
        shape: of the part; None means the whole's, and then its sharding is the whole's too.

    Returns:
        An operand for `sample` and `derive`.
    """
    if shape is not None and shape != spec.shape:
        spec = spec._replace(shape=shape, sharding=None)
    if isinstance(init, Bound):
        args, kwargs = init._call(init._arguments)
        return init._function(spec, *args, **kwargs).bind(spec)
    return sample(_call, init=cast(Hashable, init)).bind(spec)


def _call(key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], *, init: Initializer) -> Array:
    weights = init(key, shape, dtype)
    if jnp.shape(weights) != shape:
        raise ValueError(
            f"init={init!r} returned shape {jnp.shape(weights)}, not the shape {shape} that it was "
            "called with"
        )
    if jnp.result_type(weights) != dtype:
        raise ValueError(
            f"init={init!r} returned {jnp.result_type(weights)}, not the {dtype} that it was "
            "called with"
        )
    return weights


def _plan(
    bound: Bound, shape: tuple[int, ...], dtype: np.dtype[Any], sharding: NamedSharding | None
) -> Part:
    program, operands = part(bound, Spec(shape, wide(dtype), sharding))
    return Part(program._replace(dtype=program.dtype or dtype), operands)


_cached_plan = functools.lru_cache(maxsize=4096)(_plan)


def initializer(function: Callable[Concatenate[Spec, P], Draw]) -> Factory[P]:
    """The factory of an initializer, from a function that says what to draw.

    The function takes a `Spec` and the factory's own parameters, and returns the `sample` or
    `fill` of a law. A parameter annotated with a `Literal`, or with `Annotated[T, check]`, is
    checked when the factory is called; one named `dtype` is the initializer's default dtype.

    Args:
        function: from a spec and the parameters to a draw.

    Returns:
        A function of the parameters that returns the bound initializer.

    >>> import jax
    >>> import jaxinit
    >>> def cauchy_law(key, shape, dtype, scale):
    ...     return scale * jax.numpy.tan(jaxinit.random.uniform(key, shape, dtype, -1.5, 1.5))
    >>> @jaxinit.initializer
    ... def cauchy(spec, scale=1.0):
    ...     return jaxinit.sample(cauchy_law, scale)
    >>> cauchy(scale=0.1)
    cauchy(scale=0.1)
    >>> cauchy(0.1)(jax.random.key(0), (2, 3), "bfloat16").dtype
    dtype(bfloat16)
    """
    return Factory(function)


class Factory(Generic[P]):
    """A function of the parameters of a law that returns the bound initializer.

    Args:
        function: from a spec and the parameters to a draw.
    """

    __name__: str
    __qualname__: str

    def __init__(self, function: Callable[Concatenate[Spec, P], Draw]) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    @functools.cached_property
    def __signature__(self) -> inspect.Signature:  # a cached one: hundreds would slow the import
        full, names = inspect.signature(self._function), inspect.unwrap(self._function).__globals__
        parameters = [
            p.replace(annotation=_evaluated(p.annotation, names))
            for p in tuple(full.parameters.values())[1:]
        ]
        return full.replace(parameters=parameters, return_annotation=Initializer)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Bound:
        """The initializer of these arguments, checked."""
        parameters = self.__signature__.parameters
        starred, rest = self._variadic
        bound = self.__signature__.bind(*args, **kwargs)
        others = dict(sorted(bound.arguments.pop(rest, {}).items()))
        given = (*bound.arguments, *others)
        bound.apply_defaults()
        bound.arguments.pop(rest, None)

        def checked(name: str, value: Any) -> Any:
            annotation = parameters[name if name in parameters else rest].annotation
            if name == starred:
                return tuple(check_argument(name, v, annotation) for v in value)
            return check_argument(name, value, annotation)

        arguments = {name: checked(name, v) for name, v in (bound.arguments | others).items()}
        return Bound(self, self._function, arguments, given, starred or None)

    @functools.cached_property
    def _variadic(self) -> tuple[str, str]:
        """The names of `*name` and `**name`, empty where there is none."""
        kinds = {p.kind: p.name for p in self.__signature__.parameters.values()}
        return kinds.get(_STARRED, ""), kinds.get(_REST, "")

    def __repr__(self) -> str:
        empty = inspect.Parameter.empty
        bare = [p.replace(annotation=empty) for p in self.__signature__.parameters.values()]
        return f"{self.__qualname__}{inspect.Signature(bare)}"

    def __reduce__(self) -> str:
        return self.__qualname__


def _evaluated(annotation: Any, names: dict[str, Any]) -> Any:
    """An annotation; still as text, if a name in it is there for type checkers alone."""
    if isinstance(annotation, str):
        with contextlib.suppress(NameError):
            return eval(annotation, names)
    return annotation


def initializer_argument(name: str, value: Any) -> Any:
    """Refuse what is no initializer, such as a factory that was not called."""
    if not callable(value) or inspect.isclass(value):
        raise TypeError(f"{name}={value!r} is not an initializer: pass he_normal(), say")
    if isinstance(value, Factory):
        raise TypeError(f"{name}={value.__name__} is a factory of initializers: call it first")
    return value


Init: TypeAlias = Annotated[Initializer | Callable[..., Array], initializer_argument]


def split(key: Any, n: int) -> Any:
    """n keys for the parts of a law: the key itself for one part, None for parts without one.

    Args:
        key: a key, or None.
        n: number of parts.

    Returns:
        A sequence of n.
    """
    if key is None or n == 1:
        return [key] * n
    return jax.random.split(key, n)
