"""Activations and their parameters as values."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinit._checks import check_argument

Activation: TypeAlias = Callable[..., Any] | str
Parameters: TypeAlias = tuple[tuple[str, Hashable], ...]

LINEAR = ("linear", *(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)))


def activation(name: str, value: Any) -> Activation:
    """An activation as a value: JAX's own by name, as those functions neither print nor pickle.

    Args:
        name: of the argument.
        value: as the caller gave it.

    Returns:
        A name or a function.

    Raises:
        TypeError: if it is neither.
        ValueError: if JAX has no function of that name.

    >>> activation("fn", jax.nn.relu)
    'relu'
    """
    if not isinstance(value, str):
        if not callable(value):
            raise TypeError(
                f"{name}={value!r} is a {type(value).__name__}, not an activation: pass a function "
                "of a scalar, or a name such as 'relu'"
            )
        own = getattr(value, "__name__", "")
        return own if _of_jax(own) is value else check_argument(name, value, None)
    if _of_jax(value) is None:
        near = [n for m in (jax.nn, jnp) for n in difflib.get_close_matches(value, vars(m))]
        hint = f"did you mean {near[0]!r}?" if near else "pass the function itself"
        raise ValueError(f"{name}={value!r} is no function of jax.nn or jax.numpy; {hint}")
    return value


def parameter(name: str, value: Any) -> Hashable:
    """A parameter of an activation, as a value.

    Args:
        name: of the parameter.
        value: as the caller gave it.

    Returns:
        Something hashable.

    Raises:
        TypeError: if it is traced, or several numbers, or cannot be hashed.

    >>> parameter("alpha", np.asarray(0.5))
    0.5
    """
    if isinstance(value, jax.core.Tracer):
        raise TypeError(
            f"{name}={value} is traced, and moments are integrated before anything runs: pass a "
            "number, or multiply the weights by a traced factor"
        )
    if isinstance(value, Array | np.ndarray):
        if value.size != 1:
            raise TypeError(f"{name} has shape {value.shape}: pass one number")
        return value.item()
    return check_argument(name, value, None)


def fixed(params: Mapping[str, Any]) -> Parameters:
    """The parameters of an activation, checked and hashable."""
    return tuple((name, parameter(name, params[name])) for name in sorted(params))


def scalar(fn: Activation, params: Parameters) -> Callable[[Any], Any]:
    """The function that an activation and its parameters are."""
    function: Any = _of_jax(fn) if isinstance(fn, str) else fn
    return functools.partial(function, **dict(params))


def _of_jax(name: str) -> Callable[..., Any] | None:
    if name in LINEAR:
        return jax.nn.identity
    found = getattr(jax.nn, name, None) or getattr(jnp, name, None)
    return found if callable(found) else None
