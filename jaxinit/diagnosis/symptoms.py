"""From readings to findings: one function a symptom."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from jaxinit.diagnosis import thresholds
from jaxinit.diagnosis.remedies import ASKING, Remedies
from jaxinit.diagnosis.report import Finding, Severity, Symptom
from jaxinit.diagnosis.signs import Reading, trend

# What vanishes and what explodes.
Ways: TypeAlias = tuple[Symptom, Symptom]


@dataclass(frozen=True)
class Patient:
    """All that is known of a network.

    Args:
        readings: in the order of the computation.
        loss: that was differentiated, None if it was a product with noise.
        broken: what is not finite, by path: leaves, inputs, outputs.
        zeros: paths of kernels that are zero.
        updates: by the path of a kernel, learning rate times gradient over weights, both rms.
        chance: the cross-entropy of a guess; None if the loss is another.
        learning_rate: of gradient descent.
        sharpness: the largest eigenvalue of the Hessian.
        remedies: initializers by path.
    """

    readings: Sequence[Reading]
    loss: float | None
    broken: Sequence[str]
    zeros: frozenset[str]
    updates: Mapping[str, float]
    chance: float | None
    learning_rate: float | None
    sharpness: float | None
    remedies: Remedies

    @property
    def kernels(self) -> list[Reading]:
        """Sites with kernels."""
        return [r for r in self.readings if r.site.kernels]

    @property
    def hidden(self) -> list[Reading]:
        """Kernels but the heads, whose units are outputs, and may be alike or small."""
        roles = self.remedies.roles
        return [r for r in self.kernels[:-1] if roles.get(r.site.kernels[0].path) != "head"]

    @property
    def trunk(self) -> list[Reading]:
        """Where a signal goes through all the depth: the ends of residual branches, if any.

        Within a branch, a gradient is as small as its last scale, on purpose.
        """
        ends = [r for r in self.hidden if r.site.residual and r.site.kind != "embedding"]
        return ends or self.hidden


def findings(patient: Patient) -> list[Finding]:
    """All of a network, the worst first.

    Args:
        patient: the network.
    """
    found = list(_nan(patient))
    # What is not finite says nothing of the rest, but how it came to be.
    symptoms = _SYMPTOMS if not found else () if _given(patient) else (_activations, _gradients)
    found += [finding for symptom in symptoms for finding in symptom(patient)]
    return sorted(found, key=lambda finding: finding.severity != "error")


def _nan(patient: Patient) -> Iterator[Finding]:
    given = _given(patient)
    if given:
        kernels = patient.remedies.of(given)
        cause = "numbers that are not finite come in with the parameters or the inputs"
        yield _broken(given, cause, kernels or f"make {given[0]} finite")
        return
    forward = [r for r in patient.readings if not r.finite("input", "output")]
    backward = [r for r in patient.readings if not r.finite("cotangent")]
    first = [*forward[:1], *(() if forward else backward[-1:])]
    if first or patient.broken:
        where = [*(r.path for r in first), *patient.broken]
        way = "backward" if backward and not forward else "forward"
        cause = (
            f"going {way}, the signal passes the largest float here first, or an operation gives "
            "NaN"
        )
        remedy = patient.remedies.of(where) or "look for a division by 0, or a logarithm of it"
        yield _broken(where, cause, remedy)


def _given(patient: Patient) -> list[str]:
    """Parameters and inputs that are not finite."""
    return [path for path in patient.broken if not path.startswith(("outputs", "loss"))]


def _broken(where: Sequence[str], cause: str, remedy: str) -> Finding:
    return Finding("nan", "error", tuple(where), {"places": len(where)}, cause, remedy)


def _symmetric(patient: Patient) -> Iterator[Finding]:
    alike = [r for r in patient.hidden if (r.twins or 0) > thresholds.TWINS and _lives(patient, r)]
    if alike:
        yield _finding(
            patient,
            "symmetric",
            "error",
            alike,
            {"share of units that equal another": max(r.twins or 0 for r in alike)},
            "these units compute the same and get the same gradient, so that they stay one unit: "
            "their weights are equal",
        )


def _lives(patient: Patient, reading: Reading) -> bool:
    """Whether a signal passes it; if not, zeros before or after it say nothing of its units."""
    if any((reading.norm("output"), reading.norm("cotangent"))):
        return True
    return reading.path in patient.zeros and patient.kernels[-1].norm("input") == 0


def _activations(patient: Patient) -> Iterator[Finding]:
    # What the data is like is no matter of weights.
    chain = [r for r in patient.kernels[1:] if r.rms("input") is not None]
    sizes = [r.rms("input") or 0.0 for r in chain]
    if len(chain) > 1 and sizes[-1] == 0:
        first = next(r for r, x in zip(chain, sizes, strict=True) if x == 0)
        yield _finding(
            patient,
            "vanishing-activations",
            "error",
            [first],
            {"ratio last to first": 0.0},
            "the input of this layer is 0, and with it all that follows is the same for all inputs",
        )
        return
    names: Ways = ("vanishing-activations", "exploding-activations")
    yield from _trend(patient, names, chain, sizes, "forward")


def _gradients(patient: Patient) -> Iterator[Finding]:
    names: Ways = ("vanishing-gradients", "exploding-gradients")
    chain = patient.trunk[::-1]
    # Norms, as a mean over more positions divides a gradient among them.
    yield from _trend(patient, names, chain, [r.norm("cotangent") for r in chain], "backward")
    ratios = [(r, x) for r in patient.hidden if (x := _of_steps(r)) is not None]
    lost = [(r, x) for r, x in ratios if x < thresholds.ROUNDED]
    grown = [(r, x) for r, x in ratios if x > _most(r)]
    severities: tuple[Severity, Severity] = ("warning", "error")
    told = zip(names, severities, (lost, grown), (_LOST, _GROWN), strict=True)
    for name, severity, ill, cause in told:
        if ill:
            worst = max((x for _, x in ill), key=lambda x: abs(math.log(x)))
            evidence = {"ratio first step to last": worst}
            yield _finding(patient, name, severity, [r for r, _ in ill], evidence, cause)


def _trend(
    patient: Patient,
    names: Ways,
    chain: Sequence[Reading],
    sizes: Sequence[float],
    way: str,
) -> Iterator[Finding]:
    """Of a signal whose sizes are given in the order in which it runs."""
    total = trend(sizes)
    most = thresholds.ratio(r.units for r in chain)
    if total is None or 1 / most <= total <= most:
        return
    grows = total > 1
    kept = [(r, x) for r, x in zip(chain, sizes, strict=True) if x > 0]
    factor = total ** (1 / (len(sizes) - 1))
    least = factor**thresholds.SHARE

    def beyond(ratio: float, allowed: float) -> bool:
        return ratio > allowed if grows else ratio < allowed

    bound = most if grows else 1 / most
    shown = {r.path for r, x in kept if beyond(x / kept[0][1], bound)}
    made = {r.path for (r, x), (_, after) in itertools.pairwise(kept) if beyond(after / x, least)}
    yield _finding(
        patient,
        names[grows],
        "error",
        [r for r in chain if r.path in shown | made],
        {"ratio last to first": total, "factor per layer": factor, "allowed ratio": most},
        f"going {way}, each layer multiplies the signal by about {factor:.2g}: its weights are too "
        f"{'large' if grows else 'small'} for the activation",
    )


_LOST = (
    "going back through the recurrence the gradient falls under what a float resolves of the last "
    "step's, to which it is added: the recurrent weights are too small"
)
_GROWN = "going back through the recurrence the gradient grows: the recurrent weights are too large"


def _of_steps(reading: Reading) -> float | None:
    """Of a kernel that steps share, the gradient at the first over the largest or the last."""
    squares = reading.squares.get("cotangent", np.zeros(0))
    given = reading.squares.get("input", np.ones(1))
    if given[-1] == 0 < given[0]:  # the first state is 0: it runs from the last step
        squares = squares[::-1]
    steps = np.sqrt(squares[squares > 0])
    if len(steps) < 2:
        return None
    first, last, most = float(steps[0]), float(steps[-1]), float(steps.max())
    return first / (last if first > last else most)


def _most(reading: Reading) -> float:
    """A loss at every step adds as many gradients by the first."""
    steps = len(reading.squares["cotangent"])
    return thresholds.ratio([reading.units]) * math.sqrt(steps)


def _dead(patient: Patient) -> Iterator[Finding]:
    dead = [r for r in patient.readings if (r.dead or 0) > thresholds.dead(r.units)]
    if dead:
        share = max(r.dead or 0 for r in dead)
        yield _finding(
            patient,
            "dead-units",
            "error" if share == 1 else "warning",
            dead,
            {"share of units": share, "allowed share": thresholds.dead(dead[0].units)},
            "these units are 0 on every example, so that no gradient reaches their weights: their "
            "biases are far below 0, or what they are given has lost all but its mean",
        )


def _saturated(patient: Patient) -> Iterator[Finding]:
    flat = [r for r in patient.readings if (r.flat or 0) > thresholds.FLAT]
    if flat:
        yield _finding(
            patient,
            "saturated",
            "warning",
            flat,
            {"share of flat inputs": max(r.flat or 0 for r in flat)},
            "more than half of the inputs of this activation lie where it is flat and passes under "
            "a twentieth of the gradient: the weights before it are too large",
        )


def _rank_collapse(patient: Patient) -> Iterator[Finding]:
    chain = [r for r in patient.kernels if r.cosine is not None]
    apart = [1 - (r.cosine or 0.0) for r in chain]
    least = thresholds.parallel(r.units for r in chain)
    # What is parallel from the start, as by a position added to all, is so by the data.
    if len(chain) < 2 or apart[-1] >= least:
        return
    if apart[0] <= max(apart[-1], thresholds.RESOLVED) * thresholds.GROWN:
        return
    last = max((i for i, x in enumerate(apart) if x >= least), default=-1)
    yield _finding(
        patient,
        "rank-collapse",
        "error",
        chain[max(last, 0) :],  # what is parallel first is so by what feeds it
        {"cosine first": 1 - apart[0], "1 - cosine last": apart[-1], "allowed": least},
        "layer by layer the outputs for different examples become parallel: the weights are too "
        "small beside the biases or the mean of the activation, or all alike",
    )


def _attention(patient: Patient) -> Iterator[Finding]:
    soft = [r for r in patient.readings if r.entropy is not None]
    uniform = [r for r in soft if r.missing is not None and r.missing < thresholds.UNIFORM]
    hot = [r for r in soft if (r.entropy or 0.0) < thresholds.ONE_HOT]
    # A zero query or key attends evenly on purpose, and learns at once.
    if uniform and not any(patient.remedies.roles.get(path) in ASKING for path in patient.zeros):
        yield _finding(
            patient,
            "attention-collapse",
            "warning",
            uniform,
            {"entropy over uniform": min(r.entropy or 0.0 for r in uniform)},
            "attention is uniform to the precision of bfloat16: the weights of queries and keys "
            "are too small, and get gradients as small as each other",
        )
    if hot:
        yield _finding(
            patient,
            "attention-collapse",
            "error",
            hot,
            {"entropy over uniform": min(r.entropy or 0.0 for r in hot)},
            "attention is all but one-hot, so that no gradient passes the softmax: the weights of "
            "queries and keys are too large, or their product is not divided by √d",
        )


def _chance(patient: Patient) -> Iterator[Finding]:
    if patient.chance is None or patient.loss is None:
        return
    if patient.loss <= patient.chance + thresholds.CHANCE:
        return
    *_, head = patient.kernels
    size = head.rms("input") or 1.0
    loud = size > thresholds.LOUD
    finding = _finding(
        patient,
        "loss-at-chance",
        "warning",
        [head],
        {"loss": patient.loss, "of a guess": patient.chance}
        | ({"rms of the last layer's input": size} if loud else {}),
        "before it has learned anything the network is sure of the wrong class: its last layer "
        f"{'or the input of that ' if loud else ''}is too large, or its bias ignores how frequent "
        "the classes are",
    )
    scales = {head.path: float(f"{1 / size:.2g}")} if loud else {}
    yield replace(finding, remedy=patient.remedies.of(finding.where, scales))


def _slow(patient: Patient) -> Iterator[Finding]:
    moved = {path: x for path, x in patient.updates.items() if x > 0}
    if not moved or (middle := float(np.median(list(moved.values())))) >= thresholds.SLOW:
        return
    slow = [r for r in patient.kernels if moved.get(r.path, 1.0) < thresholds.SLOW]
    rate = (patient.learning_rate or 0.0) * 1e-3 / middle
    yield Finding(
        "slow",
        "warning",
        tuple(dict.fromkeys(r.path for r in slow)),
        {"update over weights": middle, "learning rate": patient.learning_rate or 0.0},
        "a step changes the weights by a small part of 1e-3 of their size",
        f"learning_rate={rate:.1g}, or an optimizer that divides by the size of the gradient",
    )


def _diverges(patient: Patient) -> Iterator[Finding]:
    rate, sharpness = patient.learning_rate, patient.sharpness
    if rate is None or sharpness is None or rate * sharpness <= thresholds.DIVERGES:
        return
    yield Finding(
        "diverges",
        "error",
        (),
        {
            "learning rate x largest eigenvalue": rate * sharpness,
            "largest eigenvalue": sharpness,
            "learning rate": rate,
        },
        "along the sharpest direction of the loss a step of gradient descent overshoots by more "
        "than it came from",
        f"learning_rate={1 / sharpness:.2g}, or warm up from it",
    )


def _finding(
    patient: Patient,
    symptom: Symptom,
    severity: Severity,
    readings: Sequence[Reading],
    evidence: Mapping[str, float],
    cause: str,
) -> Finding:
    where = tuple(dict.fromkeys(r.path for r in readings))
    return Finding(symptom, severity, where, evidence, cause, patient.remedies.of(where))


_SYMPTOMS = (
    _symmetric,
    _activations,
    _gradients,
    _dead,
    _saturated,
    _rank_collapse,
    _attention,
    _chance,
    _slow,
    _diverges,
)
