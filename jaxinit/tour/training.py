"""Plain gradient descent with momentum, on all starts of one network at once."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from jaxinit.tour.data import Examples
from jaxinit.tour.network import Parameters, cross_entropy, forward

LEARNING_RATE = 0.01
MOMENTUM = 0.9


class Training(NamedTuple):
    """A network under way; `diverged` is the step whose loss was first not finite, or 0."""

    parameters: Parameters
    optimizer: Any
    diverged: Array


def begin(parameters: Parameters) -> Training:
    """Training before its first step.

    Args:
        parameters: where it starts.

    Returns:
        The state.
    """
    return Training(parameters, _optimizer(1).init(parameters), jnp.zeros((), jnp.int32))


def advance(
    state: Training,
    examples: Examples,
    rows: Array,
    steps: tuple[ArrayLike, ArrayLike],
    network: Array,
) -> Training:
    """Some steps of the training.

    Args:
        state: before them.
        examples: to learn from.
        rows: of each step's batch in the whole training, of shape (steps, size).
        steps: the first, from 0, and one past the last.
        network: as in `forward`.

    Returns:
        The state after them.
    """
    optimizer = _optimizer(len(rows))

    def loss(parameters: Parameters, inputs: Array, labels: Array) -> Array:
        return cross_entropy(forward(parameters, inputs, network)[0], labels)

    def step(i: Array, state: Training) -> Training:
        batch = (examples.inputs[rows[i]], examples.labels[rows[i]])
        value, gradient = jax.value_and_grad(loss)(state.parameters, *batch)
        update, optimizing = optimizer.update(gradient, state.optimizer)
        failed = (state.diverged == 0) & ~jnp.isfinite(value)
        return Training(
            optax.apply_updates(state.parameters, update),
            optimizing,
            jnp.where(failed, jnp.int32(i + 1), state.diverged),
        )

    end: Training = jax.lax.fori_loop(*steps, step, state)
    return end


def accuracy(parameters: Parameters, examples: Examples, network: Array) -> Array:
    """The share of examples whose digit has the largest logit.

    Args:
        parameters: of the network.
        examples: to judge by.
        network: as in `forward`.

    Returns:
        A scalar.
    """
    logits, _, _ = forward(parameters, examples.inputs, network)
    return jnp.mean(jnp.argmax(logits, axis=-1) == examples.labels)


def _optimizer(steps: int) -> optax.GradientTransformation:
    # Without decay the last batches decide the accuracy that is reported.
    return optax.sgd(optax.linear_schedule(LEARNING_RATE, 0.0, steps), MOMENTUM)
