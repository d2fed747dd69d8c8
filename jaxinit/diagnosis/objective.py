"""What is differentiated, and how large it is by chance."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinit._checks import function_of

# Labels tell how frequent classes are if there are so many for each.
PER_CLASS = 10


class Objective:
    """A loss of outputs and labels: the caller's, the cross-entropy, or the output itself.

    Args:
        labels: of a batch, or None.
        loss: of the caller, or None.

    Raises:
        TypeError: if the loss is not callable.
        ValueError: if labels without a loss are no whole numbers.
    """

    def __init__(self, labels: Any, loss: Callable[[Any, Any], Any] | None) -> None:
        if loss is not None:
            function_of("(outputs, labels)", "loss", loss)
        self.loss = loss
        self.classes = loss is None and labels is not None
        self.checked(labels)

    def checked(self, labels: Any) -> Any:
        """Labels, as an array if they are classes.

        Args:
            labels: of a batch.

        Returns:
            The labels.

        Raises:
            ValueError: if they are not of the kind that the first ones were.
        """
        if self.loss is not None:
            return labels
        if self.classes != (labels is not None):
            raise ValueError("labels were given once, and once not")
        if not self.classes:
            return None
        found = labels if hasattr(labels, "dtype") else np.asarray(labels)
        if not jnp.issubdtype(found.dtype, jnp.integer):
            text = np.issubdtype(found.dtype, np.str_)
            kind = "text" if text else f"{found.dtype}{list(found.shape)}"
            numbered = "number them, as np.unique(labels, return_inverse=True)[1] does"
            remedy = numbered if text else "pass loss="
            raise ValueError(
                f"labels are {kind}, and without a loss they are classes, whole numbers: {remedy}"
            )
        return found

    def is_loss(self, outputs: Any) -> bool:
        """Whether there is a loss, or the output is one."""
        if self.loss is not None or self.classes:
            return True
        real = [x for x in jax.tree.leaves(_first(outputs)) if jnp.issubdtype(x.dtype, jnp.inexact)]
        return len(real) == 1 and not real[0].shape

    def __call__(self, outputs: Any, labels: Any) -> Any:
        """Its value.

        Args:
            outputs: of the function; of a tuple without a loss the first, as the second is often
                a state.
            labels: of the batch.

        Returns:
            A scalar.
        """
        if self.loss is not None:
            return self.loss(outputs, labels)
        if not self.classes:
            return jax.tree.leaves(_first(outputs))[0]
        import optax

        logits = _first(outputs).astype(jnp.float32)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    def fit(self, outputs: Any, labels: Any) -> None:
        """Whether labels number the classes of logits.

        Args:
            outputs: of the function, as shapes.
            labels: with values.

        Raises:
            ValueError: if they do not.
        """
        if not self.classes:
            return
        logits = _first(outputs)
        if not hasattr(logits, "shape") or not jnp.issubdtype(logits.dtype, jnp.floating):
            raise ValueError("labels are classes, and the output is no array of logits: pass loss=")
        shape = tuple(np.shape(labels))
        if not logits.shape or shape != logits.shape[:-1]:
            raise ValueError(
                f"labels have shape {shape} and the logits {tuple(logits.shape)}: labels need the "
                f"shape {tuple(logits.shape[:-1])}, or pass loss="
            )
        values = np.asarray(labels)
        if values.size and not 0 <= values.min() <= values.max() < logits.shape[-1]:
            raise ValueError(
                f"labels go from {values.min()} to {values.max()}, and the logits number "
                f"{logits.shape[-1]} classes, from 0: pass loss= if some are to be masked"
            )

    def chance(self, outputs: Any, labels: Any) -> float | None:
        """The cross-entropy of the best guess that knows how frequent the classes are.

        Args:
            outputs: of the function.
            labels: of the batch; too few tell only how many classes there are.

        Returns:
            Nats; None if the loss is another.
        """
        if not self.classes:
            return None
        values, classes = np.ravel(np.asarray(labels)), _first(outputs).shape[-1]
        if values.size < PER_CLASS * classes:
            return math.log(classes)
        shares = np.bincount(values, minlength=classes) / values.size
        shares = shares[shares > 0]
        return float(-np.sum(shares * np.log(shares)))


def _first(outputs: Any) -> Any:
    return outputs[0] if isinstance(outputs, tuple) and outputs else outputs
