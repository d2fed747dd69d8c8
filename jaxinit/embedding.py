"""Tables of a vector for every token."""

from __future__ import annotations

from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike, DTypeLike

from jaxinit import random
from jaxinit._checks import integer, non_negative, optional
from jaxinit._draw import Draw, Spec, sample
from jaxinit._initializer import initializer


@initializer
def embedding(
    spec: Spec,
    stddev: Annotated[ArrayLike | None, optional(non_negative)] = None,
    padding_id: Annotated[int | None, optional(integer)] = None,
    dtype: DTypeLike | None = None,
) -> Draw:
    """Weights w ~ N(0, stddev²) of a table (tokens, features); the padding token's row is zero.

    With stddev = 1/√features a token's vector has a norm near 1, and so have the logits of a tied
    output layer whose inputs have variance 1. PyTorch's `Embedding` is embedding(1.0).

    Args:
        stddev: standard deviation; None means 1/√features.
        padding_id: the padding token, negative from the end; None means there is none.
        dtype: default dtype of the weights.

    Returns:
        An initializer; by default the same numbers as Flax's `Embed`.

    Raises:
        TypeError: if padding_id is not a whole number.
        ValueError: if stddev is negative or not finite; when called, if the shape has fewer than
            two axes or no token padding_id.

    >>> import jax
    >>> table = embedding(padding_id=0)(jax.random.key(0), (1000, 400))
    >>> print(f"{table[1:].std():.3f} {table[0].std():.3f}")
    0.050 0.000

    Peers:
        torch: Embedding
        flax: default_embed_init
    """
    if len(spec.shape) < 2:
        raise ValueError(
            f"shape {spec.shape} is {len(spec.shape)}-D: an embedding is a table of tokens by "
            "features"
        )
    tokens, features = spec.shape[-2:]
    if stddev is None:
        # Rounded as variance scaling rounds it.
        stddev = random.sqrt(random.scalar(1 / max(features, 1), spec.real))
    if padding_id is None:
        return sample(random.normal, stddev)
    if tokens and not -tokens <= padding_id < tokens:
        raise ValueError(
            f"padding_id={padding_id} is none of the {tokens} tokens of shape {spec.shape}"
        )
    return sample(_padded, stddev, row=padding_id % max(tokens, 1))


def _padded(
    key: Array, shape: tuple[int, ...], dtype: np.dtype[Any], stddev: Array, *, row: int
) -> Array:
    padding = lax.broadcasted_iota(jnp.int32, shape, len(shape) - 2) == row
    return jnp.where(padding, 0, random.normal(key, shape, dtype, stddev))
