"""What an initializer is: the protocol, the bound value, and the decorator that makes both."""

import functools
import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding
from jax.typing import ArrayLike, DTypeLike

from jaxinit._checks import check_argument, check_dtype, check_key, check_shape, wide
from jaxinit.sharding import OutSharding, place, resolve

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


@dataclass(frozen=True)
class Draw:
    """One call of an initializer: what a law is given to turn into weights.

    `dtype` is the wide dtype in which the law computes: float32 or complex64 for every narrower
    one. Operands are passed to the compiled law as numbers, so that laws which differ only in
    them share one compilation; settings are part of what is compiled.
    """

    key: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    narrow: np.dtype[Any]
    sharding: NamedSharding | None

    def sample(self, law: Law, *operands: ArrayLike, **settings: Hashable) -> Array:
        """law(key, shape, dtype, *operands, **settings), compiled, cast once, sharded.

        Args:
            law: a module-level pure function that draws in the wide dtype.
            *operands: numbers or arrays.
            **settings: hashable.

        Returns:
            The weights.

        Raises:
            TypeError: if the key is no key, or the dtype holds no fractions.
            ValueError: if there are several keys.
        """
        if not jnp.issubdtype(self.narrow, jnp.inexact):
            raise TypeError(
                f"dtype={self.narrow} has no fractions to draw: pass a floating or complex dtype"
            )
        real = np.empty(0, self.dtype).real.dtype
        return self._run(law, check_key(self.key), real, operands, settings)

    def fill(self, law: Law, *operands: ArrayLike, **settings: Hashable) -> Array:
        """law(shape, dtype, *operands, **settings), which needs no key and takes any dtype.

        Args:
            law: a module-level pure function.
            *operands: numbers or arrays.
            **settings: hashable.

        Returns:
            The weights.
        """
        return self._run(law, None, self.dtype, operands, settings)

    def require_real(self, law: str, instead: str) -> None:
        """Refuse a complex dtype.

        Args:
            law: name of the initializer.
            instead: what to use for complex weights.

        Raises:
            TypeError: if the dtype is complex.
        """
        if jnp.issubdtype(self.narrow, jnp.complexfloating):
            raise TypeError(f"dtype={self.narrow}: {law} is a law on the real line; {instead}")

    def _run(
        self,
        law: Law,
        key: Any,
        kind: np.dtype[Any],
        operands: tuple[ArrayLike, ...],
        settings: dict[str, Hashable],
    ) -> Array:
        return _compiled(
            key,
            tuple(o.astype(kind) if isinstance(o, Array) else np.asarray(o, kind) for o in operands),
            law=law,
            shape=self.shape,
            dtype=self.dtype,
            narrow=self.narrow,
            sharding=self.sharding,
            settings=tuple(settings.items()),
        )


@functools.partial(
    jax.jit, static_argnames=("law", "shape", "dtype", "narrow", "sharding", "settings")
)
def _compiled(
    key: Any,
    operands: tuple[Any, ...],
    *,
    law: Law,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    narrow: np.dtype[Any],
    sharding: NamedSharding | None,
    settings: tuple[tuple[str, Hashable], ...],
) -> Array:
    def compute(key: Any, *operands: Any) -> Array:
        keyed = () if key is None else (key,)
        return law(*keyed, shape, dtype, *operands, **dict(settings)).astype(narrow)

    return place(compute, sharding, key, *operands)


class Bound:
    """An initializer: a law and its arguments, as an immutable value.

    Equal arguments make equal values with equal hashes; arrays are compared by identity. It prints
    as the call that made it.
    """

    __slots__ = ("_arguments", "_factory", "_given", "_law", "_token")

    def __init__(
        self,
        factory: Callable[..., "Bound"],
        law: Law,
        arguments: Mapping[str, Any],
        given: tuple[str, ...],
    ) -> None:
        self._factory = factory
        self._law = law
        self._arguments = dict(arguments)
        self._given = given
        self._token = tuple(
            (name, ("array", id(value)) if isinstance(value, Array | np.ndarray) else value)
            for name, value in self._arguments.items()
        )

    def __call__(
        self,
        key: Any,
        shape: Sequence[int],
        dtype: DTypeLike | None = None,
        out_sharding: OutSharding = None,
    ) -> Array:
        """Weights of the given shape and dtype, drawn from the key; see `Initializer`."""
        shape = check_shape(shape)
        narrow = check_dtype(self._arguments.get("dtype") if dtype is None else dtype)
        sharding = resolve(out_sharding, shape)
        return self._law(Draw(key, shape, wide(narrow), narrow, sharding), **self._arguments)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bound):
            return NotImplemented
        return self._factory is other._factory and self._token == other._token

    def __hash__(self) -> int:
        return hash((self._factory, self._token))

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


def initializer(law: Callable[Concatenate[Draw, P], Array]) -> Callable[P, Bound]:
    """The factory of an initializer, from the function that draws one.

    The function takes a `Draw` and the factory's own parameters, and returns the draw's `sample`
    or `fill` of a law. A parameter annotated with a `Literal`, or with `Annotated[T, check]`, is
    checked when the factory is called; one named `dtype` is the initializer's default dtype.

    Args:
        law: from a draw and the parameters to weights.

    Returns:
        A function of the parameters that returns the bound initializer.

    >>> import jax
    >>> import jaxinit
    >>> def cauchy_law(key, shape, dtype, scale):
    ...     return scale * jax.numpy.tan(jaxinit.random.uniform(key, shape, dtype, -1.5, 1.5))
    >>> @jaxinit.initializer
    ... def cauchy(draw, scale=1.0):
    ...     return draw.sample(cauchy_law, scale)
    >>> cauchy(scale=0.1)
    cauchy(scale=0.1)
    >>> cauchy(0.1)(jax.random.key(0), (2, 3), "bfloat16").dtype
    dtype(bfloat16)
    """
    full = inspect.signature(law)
    parameters = tuple(full.parameters.values())[1:]
    signature = full.replace(parameters=parameters, return_annotation=Initializer)

    @functools.wraps(law)
    def factory(*args: P.args, **kwargs: P.kwargs) -> Bound:
        bound = signature.bind(*args, **kwargs)
        given = tuple(bound.arguments)
        bound.apply_defaults()
        arguments = {
            name: check_argument(name, value, signature.parameters[name].annotation)
            for name, value in bound.arguments.items()
        }
        return Bound(factory, law, arguments, given)

    factory.__signature__ = signature  # type: ignore[attr-defined]
    return factory
