"""Handwritten digits from scikit-learn's own files: 1797 images of 8 x 8 pixels, no download."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array
from sklearn.datasets import load_digits

CLASSES = 10
PIXELS = 64
TRAINING_SHARE = 0.8


class Examples(NamedTuple):
    """Standardized images and their digits."""

    inputs: Array
    labels: Array


def digits(rng: np.random.Generator) -> tuple[Examples, Examples]:
    """A random split into training and held-out digits.

    Pixels have mean 0 and inputs root mean square 1 over the training digits, as the derivations
    of the classical initializers assume.

    Args:
        rng: decides the split.

    Returns:
        The training and the held-out examples.
    """
    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(images))
    training, held_out = np.split(order, [int(TRAINING_SHARE * len(images))])
    deviation = images[training].std(axis=0)
    inputs = (images - images[training].mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    inputs /= np.sqrt(np.mean(inputs[training] ** 2))

    def select(rows: npt.NDArray[np.int64]) -> Examples:
        return Examples(jnp.asarray(inputs[rows], "float32"), jnp.asarray(labels[rows], "int32"))

    return select(training), select(held_out)


def batches(rng: np.random.Generator, examples: int, size: int, steps: int) -> Array:
    """The rows of each step's batch, epoch after epoch in a new random order.

    Args:
        rng: decides the order.
        examples: how many there are.
        size: of a batch.
        steps: how many batches.

    Returns:
        Row numbers of shape (steps, size).
    """
    whole = examples // size
    epochs = [
        rng.permutation(examples)[: whole * size].reshape(whole, size)
        for _ in range(-(-steps // whole))
    ]
    return jnp.asarray(np.concatenate(epochs)[:steps], "int32")
