"""What an initializer is: the protocol, the bound value, and the decorator that makes both."""

import functools
import inspect
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, runtime_checkable

import jax
import numpy as np
from jax import Array
from jax.sharding import NamedSharding
from jax.typing import ArrayLike, DTypeLike

from jaxinit._checks import check_argument, check_dtype, check_key, check_shape, wide
from jaxinit.sharding import OutSharding, label, place, resolve

P = ParamSpec("P")
Law = Callable[..., Array]


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


class Spec(NamedTuple):
    """The weights that one call asks for, as a factory's function sees them.

    `dtype` is the wide one, in which a law computes: float32 or complex64 for all narrower ones.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    sharding: NamedSharding | None = None

    @property
    def real(self) -> np.dtype[Any]:
        """The dtype of a weight's components, which are what a random law draws.

        Raises:
            TypeError: if it is an integer's.
        """
        if self.dtype.kind not in "fc":
            raise TypeError(
                f"dtype={self.dtype} has no fractions to draw: pass a floating or complex dtype"
            )
        return np.empty(0, self.dtype).real.dtype

    def require_real(self, law: str, instead: str) -> None:
        """Refuse complex weights.

        Args:
            law: name of the initializer.
            instead: what to use for them.

        Raises:
            TypeError: if the dtype is complex.
        """
        if self.dtype.kind == "c":
            raise TypeError(f"dtype={self.dtype}: {law} is a law on the real line; {instead}")


@dataclass(frozen=True, eq=False)
class Draw:
    """A law and the numbers it takes, ready to be compiled for a spec.

    Operands are passed to the compiled law, so that laws which differ only in them share one
    compilation; settings are compiled in.
    """

    law: Law
    operands: tuple[Any, ...]
    settings: tuple[tuple[str, Hashable], ...]
    random: bool


def sample(law: Law, *operands: ArrayLike, **settings: Hashable) -> Draw:
    """Weights law(key, shape, dtype, *operands, **settings).

    Args:
        law: a module-level pure function that draws in the wide dtype.
        *operands: real numbers or arrays.
        **settings: hashable.

    Returns:
        What a factory's function returns.
    """
    return Draw(law, operands, tuple(settings.items()), random=True)


def fill(law: Law, *operands: ArrayLike, **settings: Hashable) -> Draw:
    """Weights law(shape, dtype, *operands, **settings): without a key, of any dtype.

    Args:
        law: a module-level pure function.
        *operands: numbers or arrays.
        **settings: hashable.

    Returns:
        What a factory's function returns.
    """
    return Draw(law, operands, tuple(settings.items()), random=False)


class Program(NamedTuple):
    """All of an initialization but its key and its numbers: what is compiled once."""

    law: Law
    settings: tuple[tuple[str, Hashable], ...]
    spec: Spec
    dtype: np.dtype[Any]

    def compute(self, key: Any, *operands: Any) -> Array:
        """The weights; a law without randomness gets no key."""
        keyed = () if key is None else (key,)
        spec = self.spec
        wide = self.law(*keyed, spec.shape, spec.dtype, *operands, **dict(self.settings))
        return wide.astype(self.dtype)


@functools.partial(jax.jit, static_argnums=0)
def _run(program: Program, key: Any, operands: tuple[Any, ...]) -> Array:
    return place(program.compute, program.spec.sharding, key, *operands)


class Bound:
    """An initializer: a law and its arguments, as an immutable value.

    Equal arguments make equal values with equal hashes; arrays are compared by identity. It prints
    as the call that made it.
    """

    __slots__ = ("_arguments", "_factory", "_function", "_given", "_hash", "_held_by_jax", "_token")

    def __init__(
        self,
        factory: Callable[..., "Bound"],
        function: Callable[..., Draw],
        arguments: dict[str, Any],
        given: tuple[str, ...],
    ) -> None:
        self._factory = factory
        self._function = function
        self._arguments = arguments
        self._given = given
        values = arguments.values()
        self._held_by_jax = any(isinstance(value, Array) for value in values)
        self._token = tuple(
            ("array", id(value)) if isinstance(value, Array | np.ndarray) else value
            for value in values
        )
        self._hash = hash((factory, self._token))

    def __call__(
        self,
        key: Any,
        shape: Sequence[int],
        dtype: DTypeLike | None = None,
        out_sharding: OutSharding = None,
    ) -> Array:
        """Weights of the given shape and dtype, drawn from the key; see `Initializer`."""
        shape = check_shape(shape)
        kind = check_dtype(self._arguments.get("dtype") if dtype is None else dtype)
        plan = _plan if self._held_by_jax else _cached_plan
        sharding = resolve(out_sharding, shape)
        program, operands, random = plan(self, shape, kind, sharding)
        weights = _run(program, check_key(key) if random else None, operands)
        return label(weights, sharding)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bound):
            return NotImplemented
        return self._factory is other._factory and self._token == other._token

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        call = ", ".join(f"{name}={self._arguments[name]!r}" for name in self._given)
        return f"{self._factory.__qualname__}({call})"

    def __copy__(self) -> "Bound":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Bound":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        given = {name: self._arguments[name] for name in self._given}
        return functools.partial(self._factory, **given), ()


def _plan(
    bound: Bound, shape: tuple[int, ...], dtype: np.dtype[Any], sharding: NamedSharding | None
) -> tuple[Program, tuple[Any, ...], bool]:
    spec = Spec(shape, wide(dtype), sharding)
    draw = bound._function(spec, **bound._arguments)
    kind = spec.real if draw.random else spec.dtype
    operands = tuple(
        o.astype(kind) if isinstance(o, Array) else np.asarray(o, kind) for o in draw.operands
    )
    return Program(draw.law, draw.settings, spec, dtype), operands, draw.random


_cached_plan = functools.lru_cache(maxsize=4096)(_plan)


def initializer(function: Callable[Concatenate[Spec, P], Draw]) -> Callable[P, Bound]:
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
    full = inspect.signature(function)
    parameters = tuple(full.parameters.values())[1:]
    signature = full.replace(parameters=parameters, return_annotation=Initializer)

    @functools.wraps(function)
    def factory(*args: P.args, **kwargs: P.kwargs) -> Bound:
        bound = signature.bind(*args, **kwargs)
        given = tuple(bound.arguments)
        bound.apply_defaults()
        arguments = {
            name: check_argument(name, value, signature.parameters[name].annotation)
            for name, value in bound.arguments.items()
        }
        return Bound(factory, function, arguments, given)

    factory.__signature__ = signature  # type: ignore[attr-defined]
    return factory
