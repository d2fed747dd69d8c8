"""Every start of every network: measure, train, and keep the numbers as rows."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array

from jaxinit.tour.data import Examples, batches, digits
from jaxinit.tour.network import NETWORKS, STARTS, start
from jaxinit.tour.signals import Signals, signals
from jaxinit.tour.training import Training, accuracy, advance, begin

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Settings:
    """What a tour can be asked to vary, and what it holds fixed for every start."""

    steps: int = 300
    depth: int = 20
    seed: int = 0
    batch: int = 64
    measured: int = 256
    looks: int = 20


@dataclass(frozen=True)
class Row:
    """One start of one network.

    Attributes:
        network: its activation's name.
        start: the initializer, as a call.
        loss: before training.
        forward: the forward signal of each hidden layer, before training.
        backward: the backward signal of each hidden layer, before training.
        dead: the share of hidden units that are dead, before training.
        twins: the share of hidden units with a twin, before training.
        steps: the steps after which held-out accuracy was taken, 0 first.
        curve: held-out accuracy at those steps.
        diverged: the first step whose loss was not finite, or 0.
    """

    network: str
    start: str
    loss: float
    forward: tuple[float, ...]
    backward: tuple[float, ...]
    dead: float
    twins: float
    steps: tuple[int, ...]
    curve: tuple[float, ...]
    diverged: int

    @property
    def accuracy(self) -> float:
        """Held-out accuracy after the last step."""
        return self.curve[-1]

    @property
    def forward_ratio(self) -> float:
        """The last hidden layer's forward signal over the first's; NaN if there is none."""
        return _ratio(self.forward[-1], self.forward[0])

    @property
    def backward_ratio(self) -> float:
        """The first hidden layer's backward signal over the last's; NaN if there is none."""
        return _ratio(self.backward[0], self.backward[-1])


def unheard(network: str, share: float) -> None:
    """Progress that nobody watches."""


def experiment(settings: Settings, progress: Progress = unheard) -> list[Row]:
    """The rows of a tour: all starts of one network, then of the next.

    Every start has the same split of the digits, the same batches and the same key; a start's
    weights are the same in every network.

    Args:
        settings: what to run.
        progress: told a network's name and the share of its work that is done.

    Returns:
        A row a network and start.
    """
    rng = np.random.default_rng(settings.seed)
    training, held_out = digits(rng)
    rows = batches(rng, len(training.inputs), settings.batch, settings.steps)
    key = jax.random.key(settings.seed)
    starts = [begin(start(init, key, settings.depth)) for _, init in STARTS]
    begun = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    count = min(settings.looks, settings.steps)
    looks = [settings.steps * look // count for look in range(count + 1)]
    batch = Examples(*(part[: settings.measured] for part in training))
    table = []
    for place, network in enumerate(NETWORKS):
        progress(network, 0.0)
        traced = jnp.asarray(place)
        measured = _measure(begun, batch, traced)
        state, curve = begun, [_judge(begun, held_out, traced)]
        for steps in itertools.pairwise(looks):
            state = _advance(state, training, rows, steps, traced)
            # Waiting here keeps the progress bar true.
            curve.append(_judge(state, held_out, traced).block_until_ready())
            progress(network, float(steps[1]) / settings.steps)
        end = (np.stack(curve), np.asarray(state.diverged))
        table += _rows(network, jax.device_get(measured), looks, *end)
    return table


@jax.jit
def _measure(states: Training, batch: Examples, network: Array) -> Signals:
    return jax.vmap(lambda state: signals(state.parameters, *batch, network))(states)


@jax.jit
def _advance(
    states: Training, examples: Examples, rows: Array, steps: tuple[int, int], network: Array
) -> Training:
    return jax.vmap(lambda state: advance(state, examples, rows, steps, network))(states)


@jax.jit
def _judge(states: Training, examples: Examples, network: Array) -> Array:
    return jax.vmap(lambda state: accuracy(state.parameters, examples, network))(states)


def _rows(
    network: str,
    measured: Signals,
    looks: list[int],
    curve: npt.NDArray[np.float32],
    diverged: npt.NDArray[np.int32],
) -> list[Row]:
    return [
        Row(
            network=network,
            start=label,
            loss=float(measured.loss[i]),
            forward=tuple(measured.forward[i].tolist()),
            backward=tuple(measured.backward[i].tolist()),
            dead=float(measured.dead[i]),
            twins=float(measured.twins[i]),
            steps=tuple(looks),
            curve=tuple(curve[:, i].tolist()),
            diverged=int(diverged[i]),
        )
        for i, (label, _) in enumerate(STARTS)
    ]


def _ratio(over: float, under: float) -> float:
    if under == 0:
        return float("nan") if over == 0 else float("inf")
    return over / under
