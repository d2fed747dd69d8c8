"""What one batch shows of a network before it trains; `jaxinit.tour` defines the terms."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinit.tour.network import Parameters, cross_entropy, forward

EPSILON = float(np.finfo(np.float32).eps)
# Rounding may tell twins apart; chance brings no two units this close on every example.
TWIN = 8 * EPSILON
# A constant head sends back the sum over classes of p - y, which is 0 but for rounding.
CANCELLED = 16 * EPSILON


class Signals(NamedTuple):
    """Measurements of one network; `forward` and `backward` have a number a hidden layer."""

    loss: Array
    forward: Array
    backward: Array
    dead: Array
    twins: Array


def signals(parameters: Parameters, inputs: Array, labels: Array, network: Array) -> Signals:
    """Loss, signal by depth, and the shares of dead units and of twins.

    Args:
        parameters: of the network.
        inputs: of shape (examples, pixels).
        labels: of shape (examples,).
        network: as in `forward`.

    Returns:
        The measurements.
    """
    # Biases of its own for each example: their gradient is that by its pre-activations.
    depth, units = parameters.biases.shape
    each = (
        jnp.broadcast_to(parameters.biases[:, None], (depth, len(inputs), units)),
        jnp.broadcast_to(parameters.head_bias, (len(inputs), *parameters.head_bias.shape)),
    )

    def loss(biases: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        shifted = parameters._replace(biases=biases[0], head_bias=biases[1])
        logits, z, h = forward(shifted, inputs, network)
        return cross_entropy(logits, labels), (z, h)

    (value, (z, h)), (gradient, error) = jax.value_and_grad(loss, has_aux=True)(each)
    terms = jnp.abs(error) @ jnp.abs(parameters.head).T
    cancelled = jnp.max(jnp.abs(gradient[-1])) <= CANCELLED * jnp.max(terms)
    gradient = jnp.where(cancelled, 0, gradient)
    return Signals(
        loss=value,
        forward=jax.vmap(_root_mean_square)(h),
        backward=jax.vmap(_root_mean_square)(gradient),
        dead=jnp.mean(jnp.all(gradient == 0, axis=1)),
        twins=jnp.mean(jax.lax.map(_twins, (z, gradient))),
    )


def _root_mean_square(x: Array) -> Array:
    # Squares of a signal near 1e20 or 1e-20 leave float32.
    largest = jnp.max(jnp.abs(x))
    return largest * jnp.sqrt(jnp.mean((x / jnp.where(largest > 0, largest, 1)) ** 2))


def _twins(layer: tuple[Array, Array]) -> Array:
    def gap(x: Array) -> Array:
        largest = jnp.max(jnp.abs(x))
        difference = jnp.max(jnp.abs(x[:, :, None] - x[:, None, :]), axis=0)
        return difference / jnp.where(largest > 0, largest, 1)

    z, gradient = layer
    twin = (gap(z) <= TWIN) & (gap(gradient) <= TWIN) & ~jnp.eye(z.shape[1], dtype=bool)
    return jnp.mean(jnp.any(twin, axis=0))
