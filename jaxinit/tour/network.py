"""The deep networks of the tour and the starts they are given."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

import jaxinit
from jaxinit import Initializer
from jaxinit.tour.data import CLASSES, PIXELS

Activation = Callable[[Array], Array]

NETWORKS = ("ReLU", "tanh", "SELU")
ACTIVATIONS: tuple[Activation, ...] = (jax.nn.relu, jnp.tanh, jax.nn.selu)

# The label is the call, in a form that fits a table.
STARTS: tuple[tuple[str, Initializer], ...] = (
    ("zeros", jaxinit.zeros),
    ("constant(0.01)", jaxinit.constant(0.01)),
    ("normal(1.0)", jaxinit.normal(1.0)),
    ("normal(0.01)", jaxinit.normal(0.01)),
    ("glorot_uniform()", jaxinit.glorot_uniform()),
    ("he_normal()", jaxinit.he_normal()),
    ("lecun_normal()", jaxinit.lecun_normal()),
    ("orthogonal()", jaxinit.orthogonal()),
    ("orthogonal(sqrt(2))", jaxinit.orthogonal(math.sqrt(2))),
)


class Parameters(NamedTuple):
    """A deep network, whose hidden layers all have as many units as an image has pixels.

    Biases have a row a hidden layer, or, to differentiate by the pre-activations of each example,
    one a hidden layer and example; so has the head's one row, or one an example.
    """

    kernels: Array
    biases: Array
    head: Array
    head_bias: Array


def start(init: Initializer, key: Array, depth: int) -> Parameters:
    """A network with every kernel from one initializer, and biases zero.

    Args:
        init: draws the kernels.
        key: a JAX key.
        depth: hidden layers.

    Returns:
        The parameters.
    """
    keys = jax.random.split(key, depth + 1)

    def kernel(key: Array) -> Array:
        return init(key, (PIXELS, PIXELS), jnp.float32)

    return Parameters(
        kernels=jax.vmap(kernel)(keys[:-1]),
        biases=jnp.zeros((depth, PIXELS), jnp.float32),
        head=init(keys[-1], (PIXELS, CLASSES), jnp.float32),
        head_bias=jnp.zeros(CLASSES, jnp.float32),
    )


def forward(parameters: Parameters, inputs: Array, network: Array) -> tuple[Array, Array, Array]:
    """Logits, and the pre-activations z and outputs h of every hidden layer.

    Args:
        parameters: of the network.
        inputs: of shape (examples, pixels).
        network: the place of its activation in `ACTIVATIONS`; traced, so that all compile as one.

    Returns:
        Logits of shape (examples, classes); z and h of shape (depth, examples, units).
    """

    def layer(below: Array, weights: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        kernel, bias = weights
        z = below @ kernel + bias
        h = jax.lax.switch(network, ACTIVATIONS, z)
        return h, (z, h)

    last, (z, h) = jax.lax.scan(layer, inputs, (parameters.kernels, parameters.biases))
    return last @ parameters.head + parameters.head_bias, z, h


def cross_entropy(logits: Array, labels: Array) -> Array:
    """The mean of -log softmax(logits)[label]; log 10 for a uniform guess.

    Args:
        logits: of shape (examples, classes).
        labels: of shape (examples,).

    Returns:
        A scalar.
    """
    losses: Array = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean()
