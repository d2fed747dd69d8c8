"""What a law draws: its spec, its operands, and the program compiled for them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding
from jax.typing import ArrayLike

from jaxinit._checks import broadcasts, wide
from jaxinit._rounding import cast
from jaxinit.random import scalar
from jaxinit.sharding import place

Law = Callable[..., Array]


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


class Program(NamedTuple):
    """All of an initialization but its key and its numbers: what is compiled once.

    `dtype` is that of the weights, or None for those of a law inside another, which stay wide;
    `parts` holds the program of each operand that is itself drawn, None for one that is a number.
    """

    law: Law
    settings: tuple[tuple[str, Hashable], ...]
    spec: Spec
    dtype: np.dtype[Any] | None
    keyed: bool
    random: bool
    parts: tuple[Program | None, ...]

    def compute(self, operands: tuple[Any, ...], key: Any) -> Array:
        """The weights, wide until the one cast; a law without randomness gets no key."""
        arguments = (
            operand if part is None else functools.partial(part.compute, operand)
            for part, operand in zip(self.parts, operands, strict=True)
        )
        keyed = (key,) if self.keyed else ()
        shape, dtype, _ = self.spec
        try:
            weights = self.law(*keyed, shape, dtype, *arguments, **dict(self.settings))
        except (TypeError, ValueError) as error:
            numbers = (o for o, part in zip(operands, self.parts, strict=True) if part is None)
            misfits = [s for s in map(np.shape, numbers) if not broadcasts(s, shape)]
            if not misfits or "broadcast" not in str(error):
                raise
            raise ValueError(
                f"an array of shape {misfits[0]} among the arguments does not broadcast to the "
                f"shape {shape} that is asked for"
            ) from error
        if weights.shape != shape:
            raise ValueError(
                f"an array among the arguments makes weights of shape {weights.shape}, not the "
                f"shape {shape} that is asked for: pass one that broadcasts to it"
            )
        return weights


class Part(NamedTuple):
    """The weights of another initializer, as an operand: the law gets a function of a key."""

    program: Program
    operands: tuple[Any, ...]


class Draw(NamedTuple):
    """A law and the numbers it takes, ready to be compiled for a spec.

    Operands are passed to the compiled law, so that laws which differ only in them share one
    compilation; settings are compiled in. A dtype or a sharding given here overrides the call's;
    where none is, a dtype that a part forces does, and the sharding of a part of the same shape
    serves if the call gives none.
    """

    law: Law
    operands: tuple[Any, ...]
    settings: tuple[tuple[str, Hashable], ...]
    keyed: bool
    random: bool
    dtype: np.dtype[Any] | None = None
    sharding: NamedSharding | None = None

    def bind(self, spec: Spec) -> Part:
        """The program for a spec, and the operands in the dtype in which it computes.

        Raises:
            TypeError: if that is one of integers, which weights or operands do not fit into.
        """
        parts = tuple(o.program if isinstance(o, Part) else None for o in self.operands)
        dtype = self.dtype or next((p.dtype for p in parts if p and p.dtype), None)
        spec = spec._replace(dtype=wide(dtype or spec.dtype))
        component = self.random or (self.keyed and spec.dtype.kind in "fc")
        kind = spec.real if component else spec.dtype
        operands = tuple(
            o.operands if isinstance(o, Part) else _in_dtype(o, kind) for o in self.operands
        )
        like = (p.spec.sharding for p in parts if p and p.spec.shape == spec.shape)
        sharding = self.sharding or spec.sharding or next(filter(None, like), None)
        spec = spec._replace(sharding=sharding)
        program = Program(self.law, self.settings, spec, dtype, self.keyed, self.random, parts)
        return Part(program, operands)


def _in_dtype(number: ArrayLike, dtype: np.dtype[Any]) -> Any:
    """A number or an array of them; one that is held by JAX stays there."""
    if not jnp.issubdtype(dtype, np.inexact) and not isinstance(number, jax.core.Tracer):
        given = np.asarray(number)
        whole = np.isfinite(given) & (np.trunc(given.real) == given)
        if not whole.all():
            raise TypeError(
                f"dtype={dtype} would cut off the fraction of {number!r} among the numbers of the "
                "law: pass a floating dtype, and cast the weights"
            )
    return scalar(number, dtype)


def sample(law: Law, *operands: ArrayLike | Part, **settings: Hashable) -> Draw:
    """Weights law(key, shape, dtype, *operands, **settings).

    Args:
        law: a module-level pure function that draws in the wide dtype.
        *operands: real numbers or arrays, or parts.
        **settings: hashable.

    Returns:
        What a factory's function returns.
    """
    return Draw(law, operands, tuple(settings.items()), keyed=True, random=True)


def fill(law: Law, *operands: ArrayLike, **settings: Hashable) -> Draw:
    """Weights law(shape, dtype, *operands, **settings): without a key, of any dtype.

    Args:
        law: a module-level pure function.
        *operands: numbers or arrays.
        **settings: hashable.

    Returns:
        What a factory's function returns.
    """
    return Draw(law, operands, tuple(settings.items()), keyed=False, random=False)


def derive(law: Law, *operands: ArrayLike | Part, **settings: Hashable) -> Draw:
    """Weights law(key, shape, dtype, *operands, **settings), as random as their parts are.

    The key is None where no part is random.

    Args:
        law: a module-level pure function that draws only by calling its parts.
        *operands: parts, real numbers or arrays.
        **settings: hashable.

    Returns:
        What a factory's function returns.
    """
    random = any(o.program.random for o in operands if isinstance(o, Part))
    return Draw(law, operands, tuple(settings.items()), keyed=True, random=random)


@functools.partial(jax.jit, static_argnums=(0, 1))
def run(
    program: Program, implementation: Hashable | None, key: Any, operands: tuple[Any, ...]
) -> Array:
    """The weights, in their dtype, each device computing the part that it keeps.

    Given an implementation of keys, `key` is the data of one, which JAX passes several times as
    fast.
    """
    if implementation is not None and key is not None:
        key = jax.random.wrap_key_data(key, impl=implementation)

    def weights(operands: tuple[Any, ...], key: Any) -> Array:
        # Were they known, the compiler would merge constant factors, and round otherwise.
        operands = jax.lax.optimization_barrier(operands)
        return cast(program.compute(operands, key), program.dtype)

    return place(weights, program.spec.sharding, operands, key)
