"""Which initializer a role and an activation call for, and why."""

import math
from typing import Any, NamedTuple

from jaxinit import gains
from jaxinit._initializer import Bound
from jaxinit.activation import for_activation
from jaxinit.advice.branches import Branch
from jaxinit.advice.uses import SLOPE, Use
from jaxinit.axes import Axes
from jaxinit.capture.sites import Activation
from jaxinit.constant import constant, ones, zeros
from jaxinit.depth import depth_scaled, layer_scale
from jaxinit.embedding import embedding
from jaxinit.iid import normal
from jaxinit.orthogonal import orthogonal
from jaxinit.recurrent import gate_bias, gates
from jaxinit.scaling import glorot_uniform, he_normal, lecun_normal, variance_scaling

_SMALL = normal(0.02)


class Choice(NamedTuple):
    """An initializer, and one sentence that says why."""

    init: Bound
    reason: str


def choose(use: Use) -> Choice:
    """The initializer of a parameter.

    Args:
        use: what the parameter does.

    Returns:
        The initializer and the reason.

    >>> choose(Use("bias", (8,), "bias"))
    Choice(init=zeros_init(), reason='A bias starts at 0: the weights alone break the symmetry.')
    """
    choice = _of_role(use)
    branch = use.branch
    if (
        branch is None
        or branch.total == 1
        or use.role not in ("attention output", "residual output")
    ):
        return choice
    if branch.normalized:
        why = "its branch or the sum is normalized, so that depth needs no factor"
        return Choice(choice.init, f"{choice.reason[:-1]}; {why}.")
    if branch.scaled:
        return Choice(choice.init, f"{choice.reason[:-1]}; the factor after it makes it small.")
    factor = f"1/√{branch.total} as the stream sums {branch.total} branches"
    return Choice(_divided(choice.init, branch), f"{choice.reason[:-1]}; {factor}.")


def _divided(init: Bound, branch: Branch) -> Bound:
    layers = _layers(branch)
    if layers < branch.total:
        return depth_scaled(init, layers=layers)
    return depth_scaled(init, layers=layers, branches=1)


def _layers(branch: Branch) -> int:
    """Of a stream: one for each branch, or for two if there is attention."""
    two = branch.attention and branch.total % 2 == 0
    return branch.total // 2 if two else branch.total


def _of_role(use: Use) -> Choice:
    match use.role:
        case "dense" | "conv" | "transposed conv" | "depthwise" | "residual output":
            return _of_activation(use.activation, use)
        case "attention query" | "attention key" | "attention value" | "attention output":
            return Choice(
                _on_axes(glorot_uniform(), use),
                "Projections of attention are linear: Glorot's keeps signal and gradient, as in "
                "the Transformer's reference code.",
            )
        case "packed attention":
            return Choice(
                _on_axes(lecun_normal(), use),
                "Several projections lie side by side: the fan-in is that of each, the fan-out is "
                "not.",
            )
        case "head":
            return Choice(
                _on_axes(lecun_normal(), use),
                "The output layer is linear: 1/n_in gives outputs of the scale of its input.",
            )
        case "gate":
            return Choice(
                _on_axes(lecun_normal(), use),
                "A gate multiplies another signal: 1/n_in keeps it where it is open by half.",
            )
        case "low-rank update":
            return Choice(zeros, "What it adds to the kernel beside it starts at 0, as in LoRA.")
        case "embedding":
            return Choice(_table(use), "Tokens of norm 1, 1/√d, which a norm or a layer rescales.")
        case "tied embedding":
            return Choice(
                _SMALL, "The table also scores the outputs: 0.02 keeps the first logits near 0."
            )
        case "recurrent kernel" | "recurrent input" | "recurrent input and kernel":
            return _of_recurrence(use)
        case _:
            return _of_others(use)


def _table(use: Use) -> Bound:
    """N(0, 1/features), with the features along whichever axis is not looked up."""
    _, features, *_ = (use.axes or Axes(0, -1)).resolve(use.shape)
    if features == (len(use.shape) - 1,):
        return embedding()
    return normal(math.prod(use.shape[axis] for axis in features) ** -0.5)


def _of_recurrence(use: Use) -> Choice:
    init = _on_axes(orthogonal() if use.role == "recurrent kernel" else glorot_uniform(), use)
    why = {
        "recurrent kernel": "The state keeps its norm over the steps under an orthogonal kernel",
        "recurrent input": "Glorot's is the usual law of what a cell does to its input",
    }.get(use.role, "It takes input and state at once, so that only Glorot's mean of fans fits")
    if use.gates > 1:
        return Choice(gates(init, use.gates, **_along(use)), f"{why}, gate by gate.")
    return Choice(init, f"{why}.")


def _along(use: Use) -> dict[str, Any]:
    return {} if use.gate_axis in (-1, len(use.shape) - 1) else {"axis": use.gate_axis}


def _of_others(use: Use) -> Choice:
    match use.role:
        case "forget bias":
            if use.gates == 1:
                return Choice(
                    ones, "The forget gate starts open, at 1, so that the cell remembers."
                )
            values = tuple(int(i == use.forget) for i in range(use.gates))
            return Choice(
                gate_bias(values, **_along(use)),
                "The forget gate starts open, at 1, so that the cell remembers.",
            )
        case "bias":
            return Choice(zeros, "A bias starts at 0: the weights alone break the symmetry.")
        case "norm bias":
            return Choice(zeros, "A normalization starts centred, at 0.")
        case "norm scale":
            return Choice(ones, "A normalization starts at unit scale.")
        case "running mean":
            return Choice(zeros, "A running mean starts at that of a normalized signal, 0.")
        case "running variance":
            return Choice(ones, "A running variance starts at that of a normalized signal, 1.")
        case "layer scale" if math.prod(use.shape) == 1:
            return Choice(zeros, "One factor of a branch starts at 0, as in ReZero.")
        case "kernel scale":
            return Choice(ones, "What multiplies a kernel starts at 1, the kernel's own scale.")
        case "layer scale":
            layers = _layers(use.branch) if use.branch else 1
            return Choice(
                layer_scale(depth=layers),
                f"A factor of a branch starts small, by CaiT's rule for {layers} layers.",
            )
        case "scale":
            return Choice(ones, "A factor starts at 1, so that the signal passes as it is.")
        case "slope":
            return Choice(
                constant(SLOPE), f"The slope of a PReLU starts at {SLOPE}: at 1 it would be linear."
            )
        case "positional table" | "token":
            return Choice(_SMALL, "Learned positions and tokens start small, at 0.02, as in BERT.")
    role = "The function never reads it" if use.role == "unused" else "What it does is not clear"
    if sum(n > 1 for n in use.shape) < 2:
        return Choice(zeros, f"{role}: 0, as of a bias.")
    return Choice(lecun_normal(), f"{role}: 1/n_in, as of a linear layer.")


def _of_activation(activation: Activation | None, use: Use) -> Choice:
    name = activation.name if activation else "identity"
    params = dict(activation.params) if activation else {}
    if activation is None or name == "identity":
        return Choice(
            _on_axes(lecun_normal(), use), "No activation follows: 1/n_in keeps the variance."
        )
    if name == "relu":
        return Choice(
            _on_axes(he_normal(), use), "ReLU halves the second moment, and He's 2/n_in makes up."
        )
    if name == "leaky_relu":
        slope = params["negative_slope"]
        return Choice(
            _on_axes(he_normal(negative_slope=slope), use),
            f"He's law for a leaky ReLU of slope {slope:g} keeps the second moment.",
        )
    if name == "selu":
        return Choice(_on_axes(lecun_normal(), use), "SELU normalizes itself under LeCun's 1/n_in.")
    return _by_moment(activation, use)


def _by_moment(activation: Activation, use: Use) -> Choice:
    """1 / (n_in E[φ(z)²]), by the name of φ if it has one."""
    fn = activation.name or activation.fn
    params: dict[str, Any] = dict(activation.params)
    shown = activation.name or "the activation"
    try:
        scale = gains.gain(fn, **params) ** 2
    except (TypeError, ValueError):
        return Choice(
            _on_axes(lecun_normal(), use),
            f"{shown} has no finite moment under a normal signal: 1/n_in, as of a linear layer.",
        )
    why = f"E[φ(z)²] = {1 / scale:.4g} for {shown}, and 1/(n_in E[φ²]) keeps the second moment."
    if activation.name is None:
        scaling = variance_scaling(float(f"{scale:.6g}"), "fan_in", "truncated_normal")
        return Choice(_on_axes(scaling, use), why)
    return Choice(_on_axes(for_activation(fn, **params), use), why)


def _on_axes(init: Bound, use: Use) -> Bound:
    """With the axes of a kernel, unless the law would be the same without them."""
    axes = use.axes
    if axes is None or _same(init, axes, use.shape):
        return init
    return init.replace(axes=axes)


def _same(init: Bound, axes: Axes, shape: tuple[int, ...]) -> bool:
    usual = Axes()
    if len(shape) < 2:
        return False
    if init._factory is orthogonal:
        return axes.resolve(shape) == usual.resolve(shape)
    given, found = usual.fans(shape), axes.fans(shape)
    fans = 2 if init._factory is glorot_uniform else 1
    return given[:fans] == found[:fans] and axes.groups == 1
