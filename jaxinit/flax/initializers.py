"""Drop-in for `flax.linen.initializers` and `flax.nnx.initializers`: the same names."""

from typing import Any

from jaxinit import Initializer as Initializer
from jaxinit import constant as constant
from jaxinit import delta_orthogonal as delta_orthogonal
from jaxinit import glorot_normal as glorot_normal
from jaxinit import glorot_uniform as glorot_uniform
from jaxinit import he_normal as he_normal
from jaxinit import he_uniform as he_uniform
from jaxinit import kaiming_normal as kaiming_normal
from jaxinit import kaiming_uniform as kaiming_uniform
from jaxinit import lecun_normal as lecun_normal
from jaxinit import lecun_uniform as lecun_uniform
from jaxinit import normal as normal
from jaxinit import ones as ones
from jaxinit import ones_init as ones_init
from jaxinit import orthogonal as orthogonal
from jaxinit import scaling
from jaxinit import truncated_normal as truncated_normal
from jaxinit import uniform as uniform
from jaxinit import xavier_normal as xavier_normal
from jaxinit import xavier_uniform as xavier_uniform
from jaxinit import zeros as zeros
from jaxinit import zeros_init as zeros_init


def variance_scaling(
    scale: Any,
    mode: Any,
    distribution: Any,
    in_axis: Any = -2,
    out_axis: Any = -1,
    batch_axis: Any = (),
    dtype: Any = None,
    **rest: Any,
) -> Initializer:
    """`jaxinit.variance_scaling`, which also takes the axes that Flax's embeddings are given.

    Flax names the axis of the tokens of an embedding twice, as in_axis=-2 and as out_axis=0, by
    which JAX counts the features into the fan-in. They are the inputs here: in_axis=-1, out_axis=0.

    Args:
        scale: numerator of the variance.
        mode: as there.
        distribution: as there.
        in_axis: axes contracted with the input.
        out_axis: axes kept in the output.
        batch_axis: axes that are neither.
        dtype: where a call gives none.
        **rest: as there.

    Returns:
        An initializer.

    Raises:
        ValueError: as `jaxinit.variance_scaling` does.

    >>> import jax
    >>> init = variance_scaling(1.0, "fan_in", "normal", out_axis=0)
    >>> print(f"{init(jax.random.key(0), (1000, 64)).std():.3f}")
    0.125
    """
    if (in_axis, out_axis) == (-2, 0):
        in_axis = -1
    return scaling.variance_scaling(
        scale, mode, distribution, in_axis, out_axis, batch_axis, dtype, **rest
    )
