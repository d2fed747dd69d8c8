"""How often a diagnosis is wrong: of healthy networks, and of those with a disease planted.

Each healthy network is drawn from several seeds; a disease changes its parameters, or the learning
rate, so that the programs compiled for the healthy one serve. Every third network has a learning
rate, by which alone `slow` and `diverges` are told. That the healthy ones are healthy is
shown by `--train`: the loss on their batch falls in fifty steps of Adam.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from benchmarks.measure import table
from benchmarks.patients import Network, networks
from jaxinit.diagnosis import Symptom
from jaxinit.diagnosis.examination import Examination
from jaxinit.paths import leaves

SEEDS, ILL_SEEDS, LEARNING = 3, 2, 50
Change = Callable[[str, Any], Any]


class Disease(NamedTuple):
    """A symptom, what brings it about, and in which networks, by a pattern of their names."""

    symptom: Symptom
    told: str
    networks: str
    change: Change
    learning_rate: float | None = None


def kernels(change: Callable[[Any], Any], pattern: str = "") -> Change:
    """A change of all kernels whose path has a pattern, but not of tables."""

    def of(path: str, value: Any) -> Any:
        fits = value.ndim > 1 and "mbed" not in path and "positions" not in path
        return change(value) if fits and re.search(pattern, path) else value

    return of


def biases(change: Callable[[Any], Any]) -> Change:
    """A change of all biases."""
    return lambda path, value: change(value) if path.endswith("bias") else value


def same(path: str, value: Any) -> Any:
    """No change."""
    return value


def spoiled(path: str, value: Any) -> Any:
    """A NaN in each kernel of a second layer, or of the queries or the state."""
    second = re.search(r"(Dense_|Conv_|layers/)1/|query|GRUCell_\d/hn", path)
    return value.at[(0,) * value.ndim].set(jnp.nan) if second and value.ndim > 1 else value


def constant(w: Any) -> Any:
    """A kernel of the same scale, its entries all alike."""
    return jnp.full_like(w, jnp.sqrt(jnp.mean(w * w)) / 4)


def parallel(path: str, value: Any) -> Any:
    """Weights that shrink a signal beside biases that do not."""
    if path.endswith("bias"):
        return jnp.sin(jnp.arange(value.size, dtype=value.dtype)).reshape(value.shape)
    return 0.15 * value if value.ndim > 1 else value


PLAIN = r"MLP (relu|tanh|selu) (32x6|64x16)|MLP relu 32x30|CNN relu plain"
DISEASES = (
    Disease("symmetric", "every kernel is constant", "MLP|CNN (relu|gelu|tanh)", kernels(constant)),
    Disease("vanishing-activations", "kernels x 0.1", PLAIN, kernels(lambda w: w / 10)),
    Disease(
        "exploding-activations",
        "kernels x 10",
        r"MLP (relu|selu) (32x6|64x16)|MLP relu 32x30|CNN relu plain",
        kernels(lambda w: w * 10),
    ),
    Disease("vanishing-gradients", "kernels x 0.1", PLAIN, kernels(lambda w: w / 10)),
    Disease(
        "vanishing-gradients",
        "recurrent kernels x 0.05",
        "RNN SimpleCell last",
        kernels(lambda w: w / 20, r"Cell_\d/h/"),
    ),
    Disease(
        "exploding-gradients",
        "kernels x 10",
        r"MLP (relu|selu) (32x6|64x16)|MLP relu 32x30|CNN relu plain",
        kernels(lambda w: w * 10),
    ),
    Disease("dead-units", "biases at -20", "MLP relu|CNN relu", biases(lambda b: b - 20)),
    Disease(
        "saturated",
        "kernels x 20",
        "tanh (16x2|32x6|64x16|256x4|plain)|RNN",
        kernels(lambda w: w * 20),
    ),
    Disease(
        "rank-collapse",
        "kernels x 0.15, biases of size 0.7",
        r"MLP (tanh|gelu|silu|selu) (32x6|64x)|CNN tanh plain",
        parallel,
    ),
    Disease(
        "attention-collapse",
        "queries, keys x 0.001",
        "transformer",
        kernels(lambda w: w / 1000, "query|key/"),
    ),
    Disease(
        "attention-collapse",
        "queries, keys x 100",
        "transformer",
        kernels(lambda w: w * 100, "query|key/"),
    ),
    Disease("loss-at-chance", "kernels x 4", "MLP|CNN (relu|gelu|tanh)", kernels(lambda w: 4 * w)),
    Disease("slow", "learning rate 1e-7", "", same, 1e-7),
    Disease("diverges", "learning rate 10", "", same, 10.0),
    Disease("nan", "a NaN in a kernel", "MLP|CNN|transformer|GRU", spoiled),
)


class Verdict(NamedTuple):
    """What was found in a network."""

    network: Network
    symptoms: tuple[str, ...]
    disease: Disease | None = None


def changed(params: Any, change: Change) -> Any:
    """Parameters with each leaf changed by its path."""
    flat, structure = jax.tree.flatten(params)
    paths = [leaf.path for leaf in leaves(params)]
    return jax.tree.unflatten(structure, [change(p, x) for p, x in zip(paths, flat, strict=True)])


def _learned(network: Network, params: Any) -> str:
    """What becomes of the loss in some steps of Adam."""
    (given,) = network.inputs
    adam = optax.adam(0.003)

    def loss(params: Any) -> Any:
        outputs = network.apply(params, given)
        logits = outputs[0] if isinstance(outputs, tuple) else outputs
        wrong = optax.softmax_cross_entropy_with_integer_labels(logits, network.labels)
        return jnp.mean(wrong)

    def step(carry: Any, _: None) -> tuple[Any, Any]:
        params, state = carry
        value, slopes = jax.value_and_grad(loss)(params)
        updates, state = adam.update(slopes, state)
        return (optax.apply_updates(params, updates), state), value

    @jax.jit
    def run(params: Any) -> Any:
        return jax.lax.scan(step, (params, adam.init(params)), None, length=LEARNING)[1]

    losses = run(params)
    return f"learns: its loss goes from {losses[0]:.2f} to {losses[-1]:.2f}"


def verdicts(chosen: str, first: int = 0, train: bool = False) -> Iterator[Verdict]:
    """Of all networks whose names contain a pattern, healthy and ill."""
    for number, network in enumerate(networks()):
        name = f"{network.family} {network.name}"
        if not re.search(chosen, name):
            continue
        # Of all generators the one whose draws compile soonest.
        keys = [jax.random.key(seed, impl="unsafe_rbg") for seed in range(first, first + SEEDS)]
        seeds = list(map(network.make, keys))
        labels = network.labels
        # The curvature takes longer to compile than all else.
        rate = None if number % 3 else network.learning_rate
        examine = Examination(network.apply, seeds[0], *network.inputs, labels=labels)
        for params in seeds:
            report = examine(params, *network.inputs, labels=labels, learning_rate=rate)
            if report.findings:
                print(name, *report.findings, sep="\n", file=sys.stderr, flush=True)
            yield Verdict(network, tuple(f.symptom for f in report.findings))
        for disease in DISEASES:
            fits = re.search(disease.networks, name) and (rate or disease.learning_rate is None)
            for params in seeds[:ILL_SEEDS] if fits else ():
                ill = changed(params, disease.change)
                report = examine(
                    ill, *network.inputs, labels=labels, learning_rate=disease.learning_rate
                )
                yield Verdict(network, tuple(f.symptom for f in report.findings), disease)
        print(name, _learned(network, seeds[0]) if train else "", file=sys.stderr, flush=True)


def healthy(found: Iterable[Verdict]) -> str:
    """The rate of false alarms, a row a family."""
    rows: dict[str, list[Verdict]] = {}
    for verdict in found:
        rows.setdefault(verdict.network.family, []).append(verdict)
        rows.setdefault("all", []).append(verdict)
    families = [*(name for name in rows if name != "all"), "all"]
    cells = []
    for family in families:
        several = rows[family]
        false = Counter(symptom for verdict in several for symptom in verdict.symptoms)
        alarms = sum(bool(verdict.symptoms) for verdict in several)
        told = ", ".join(f"{symptom} {n}" for symptom, n in false.items()) or "-"
        cells.append((family, len(several), alarms, f"{alarms / len(several):.1%}", told))
    return table(("healthy networks", "number", "with a finding", "rate", "findings"), cells)


def ill(found: Iterable[Verdict]) -> str:
    """The rate of hits, a row a disease."""
    rows: dict[Disease, list[Verdict]] = {}
    for verdict in found:
        if verdict.disease is not None:
            rows.setdefault(verdict.disease, []).append(verdict)
    cells = []
    for disease, several in rows.items():
        hits = [v for v in several if disease.symptom in v.symptoms]
        missed = dict.fromkeys(v.network.name for v in several if v not in hits)
        others = Counter(s for v in several for s in v.symptoms if s != disease.symptom)
        cells.append(
            (
                disease.symptom,
                disease.told,
                len(several),
                f"{len(hits) / len(several):.0%}",
                ", ".join(missed) or "-",
                ", ".join(f"{symptom} {n}" for symptom, n in others.most_common()) or "-",
            )
        )
    return table(("planted", "how", "networks", "found", "missed in", "also found"), cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="?", default="", help="a pattern of their names")
    parser.add_argument("--first-seed", type=int, default=0, help="thresholds were settled on 0")
    parser.add_argument("--train", action="store_true", help="show that the healthy ones learn")
    parser.add_argument("--out", type=Path, help="file to write the printed Markdown to as well")
    arguments = parser.parse_args()
    found = list(verdicts(arguments.networks, arguments.first_seed, arguments.train))
    text = "\n\n".join([healthy(v for v in found if v.disease is None), ill(found)])
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
