"""Mean and variance of a signal, and what the operations of a network make of them."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxinit.capture import Activation
from jaxinit.capture.labels import MOVES
from jaxinit.capture.program import Step
from jaxinit.gains.averages import evaluate, second, single

# Entries that a sampled operation gives at least, so that its variance is known to about 1 %, and
# the number of samples that it may take at most.
_ENTRIES, _DRAWS = 2**15, 32
# A mask fills with less than this before a softmax.
_MASKED = -1e4

_first = single(lambda phi, x, z: phi.value(x))


class Signal(NamedTuple):
    """Mean and variance of the entries of a value that hangs on data."""

    mean: float
    variance: float

    @property
    def square(self) -> float:
        """E[x²]."""
        return self.mean**2 + self.variance


class Known(NamedTuple):
    """A value that hangs on parameters and constants alone."""

    value: Any

    @property
    def signal(self) -> Signal:
        """Mean and variance of its entries."""
        x = np.asarray(jnp.asarray(self.value).astype(jnp.float32), np.float64)
        return Signal(float(x.mean()), float(x.var())) if x.size else Signal(0.0, 0.0)


class Unknown(NamedTuple):
    """A value whose moments no rule gives, and why."""

    reason: str


State: TypeAlias = Signal | Known | Unknown


def activated(activation: Activation, signal: Signal) -> Signal:
    """Of φ(x), x normal: by quadrature."""
    named = activation.name is not None
    fn: Any = activation.name if named else activation.fn
    params = dict(activation.params) if named else {}
    mean = evaluate(_first, fn, params, signal.variance, signal.mean)
    square = evaluate(second, fn, params, signal.variance, signal.mean)
    return Signal(float(mean), max(float(square) - float(mean) ** 2, 0.0))


def contracted(step: Step, states: Sequence[State]) -> State:
    """Of a matrix product or a convolution with independent entries.

    With n terms, E[w] = ω and Var[w] = σ²: mean nωμ and variance n (σ² (μ² + ν) + ω² ν) for a
    kernel w; n (E[x²] E[y²] - E[x]² E[y]²) for two signals.
    """
    left, right = states[:2]
    if step.name == "conv_general_dilated":
        if not (isinstance(left, Signal) and isinstance(right, Known)):
            return Unknown("a convolution with a kernel that hangs on data")
        n = _taps(step)
    else:
        axes, _ = step.params["dimension_numbers"][0]
        n = float(math.prod(step.inputs[0].shape[axis] for axis in axes))
    if isinstance(left, Signal) and isinstance(right, Signal):
        mean = n * left.mean * right.mean
        return Signal(mean, n * (left.square * right.square - (left.mean * right.mean) ** 2))
    x, w = (left, right) if isinstance(left, Signal) else (right, left)
    if not (isinstance(x, Signal) and isinstance(w, Known)):
        return Unknown("a product of what is not known")
    omega, sigma2 = _of_kernel(w)
    return Signal(n * omega * x.mean, n * (sigma2 * x.square + omega**2 * x.variance))


def _of_kernel(kernel: Known) -> Signal:
    """Mean and variance; a mean within four standard errors of 0 is that of a random kernel, 0."""
    omega, sigma2 = kernel.signal
    random = omega**2 * np.size(kernel.value) <= 16 * sigma2
    return Signal(0.0, sigma2 + omega**2) if random else Signal(omega, sigma2)


def _taps(step: Step) -> float:
    """Terms of an output of a convolution: inputs times taps, those in the padding left out."""
    params = step.params
    spec = params["dimension_numbers"]
    inputs, kernel, output = step.inputs[0].shape, step.inputs[1].shape, step.outputs[0].shape
    terms = float(kernel[spec.rhs_spec[1]])
    for i, (low, _) in enumerate(params["padding"]):
        size, taps = inputs[spec.lhs_spec[2 + i]], kernel[spec.rhs_spec[2 + i]]
        apart = params["lhs_dilation"][i]
        at = (
            np.arange(output[spec.out_spec[2 + i]])[:, None] * params["window_strides"][i]
            + np.arange(taps) * params["rhs_dilation"][i]
            - low
        )
        inside = (at >= 0) & (at <= (size - 1) * apart) & (at % apart == 0)
        terms *= inside.sum() / max(len(at), 1)
    return terms


def sampled(
    evaluate: Callable[[Any], Any], shape: Sequence[int], dtype: Any, signal: Signal
) -> Signal:
    """Of a function of a value with independent normal entries: from draws of it."""
    total, square, count = 0.0, 0.0, 0
    for i in range(_DRAWS):
        z = jax.random.normal(jax.random.fold_in(jax.random.key(0), i), tuple(shape))
        x = (signal.mean + math.sqrt(signal.variance) * z).astype(dtype)
        y = np.asarray(jnp.asarray(evaluate(x)).astype(jnp.float32), np.float64)
        total, square, count = total + y.sum(), square + (y**2).sum(), count + y.size
        if count >= _ENTRIES:
            break
    mean = total / count
    return Signal(mean, max(square / count - mean**2, 0.0))


def stepped(step: Step, states: Sequence[State]) -> State:
    """Of the result of a primitive that is no site, some of whose operands hang on data."""
    unknown = next((s for s in states if isinstance(s, Unknown)), None)
    if unknown is not None:
        return unknown
    rule = _RULES.get(step.name)
    found = rule(step, states) if rule else None
    if found is None:
        return Unknown(f"{step.name} in {step.scope or 'the function'}")
    return found


def signals(states: Sequence[State]) -> list[Signal]:
    """Mean and variance of the entries of each state that has them."""
    return [s.signal if isinstance(s, Known) else s for s in states if not isinstance(s, Unknown)]


def _sum(step: Step, states: Sequence[State]) -> State | None:
    a, b = signals(states)
    if step.inputs[0] is step.inputs[1]:
        return Signal(2 * a.mean, 4 * a.variance) if step.name != "sub" else Signal(0.0, 0.0)
    return Signal(a.mean + (-b.mean if step.name == "sub" else b.mean), a.variance + b.variance)


def _product(step: Step, states: Sequence[State]) -> State | None:
    if step.inputs[0] is step.inputs[1]:
        return None
    a, b = signals(states)
    mean = a.mean * b.mean
    return Signal(mean, a.square * b.square - mean**2)


def _quotient(step: Step, states: Sequence[State]) -> State | None:
    if not isinstance(states[1], Known):
        return None
    return _product(step, (states[0], Known(1 / jnp.asarray(states[1].value))))


def _same(step: Step, states: Sequence[State]) -> State | None:
    return signals(states)[0]


def _negative(step: Step, states: Sequence[State]) -> State | None:
    (a, *_) = signals(states)
    return Signal(-a.mean, a.variance)


def _mixed(shares: Sequence[float], signals: Sequence[Signal]) -> Signal:
    total = sum(shares) or 1.0
    mean = sum(s * x.mean for s, x in zip(shares, signals, strict=True)) / total
    square = sum(s * x.square for s, x in zip(shares, signals, strict=True)) / total
    return Signal(mean, max(square - mean**2, 0.0))


def mixed(signals: Sequence[Signal]) -> Signal:
    """Of entries of which equally many are of each signal."""
    return _mixed([1.0] * len(signals), signals)


def _joined(step: Step, states: Sequence[State]) -> State | None:
    return _mixed([float(math.prod(x.shape)) for x in step.inputs], signals(states))


def _padded(step: Step, states: Sequence[State]) -> State | None:
    inside, outside = math.prod(step.inputs[0].shape), math.prod(step.outputs[0].shape)
    share = min(1.0, inside / max(outside, 1))
    return _mixed([share, 1 - share], signals(states))


def _selected(step: Step, states: Sequence[State]) -> State | None:
    which, *cases = states
    if not isinstance(which, Known):
        return None
    kept = [(i, case) for i, case in enumerate(cases) if not _fills(case)]
    index = np.asarray(which.value)
    shares = [float((index == i).mean()) for i, _ in kept]
    return _mixed(shares, signals([case for _, case in kept]))


def _fills(case: State) -> bool:
    return isinstance(case, Known) and bool((jnp.asarray(case.value) < _MASKED).all())


def _added_up(step: Step, states: Sequence[State]) -> State | None:
    (a,) = signals(states)
    n = math.prod(step.inputs[0].shape[axis] for axis in step.params["axes"])
    return Signal(n * a.mean, n * a.variance)


def _drawn(step: Step, states: Sequence[State]) -> State | None:
    first, *others = states
    if not isinstance(first, Signal) or not all(isinstance(x, Known) for x in others):
        return None
    rest = [x.value for x in others if isinstance(x, Known)]
    source = step.inputs[0]
    return sampled(lambda x: step.evaluate([x, *rest])[0], source.shape, source.aval.dtype, first)


_SAMPLED = (
    *("reduce_max", "reduce_min", "cumsum", "cummax", "cummin", "cumlogsumexp", "sort"),
    *("reduce_window_sum", "reduce_window_max", "reduce_window_min", "reduce_window"),
)
_RULES: dict[str, Callable[[Step, Sequence[State]], State | None]] = {
    **dict.fromkeys(MOVES, _same),
    **dict.fromkeys(("convert_element_type", "reduce_precision", "stop_gradient", "real"), _same),
    **dict.fromkeys(_SAMPLED, _drawn),
    **dict.fromkeys(("add", "sub", "add_any"), _sum),
    "mul": _product,
    "div": _quotient,
    "neg": _negative,
    "concatenate": _joined,
    "pad": _padded,
    "select_n": _selected,
    "reduce_sum": _added_up,
    "dot_general": contracted,
    "conv_general_dilated": contracted,
}
