"""`jaxinit tour`: what it prints is what happened, and it behaves as a Unix command should."""

import contextlib
import io
import math
import os
import re
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

import jaxinit
from jaxinit import cli
from jaxinit.tour import Row, Settings, experiment, verdict
from jaxinit.tour.network import NETWORKS, STARTS, start
from jaxinit.tour.report import cells, report
from jaxinit.tour.signals import signals
from jaxinit.tour.verdict import GUESS, LEARNED, RATIO, ratio_text, share_text

SETTINGS = Settings(**cli.QUICK)
LABELS = [label for label, _ in STARTS]
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]\d+)?%?")


@pytest.fixture(scope="module")
def run(tmp_path_factory: Any) -> Any:
    """Status, stdout, stderr and figure of one quick run."""
    path = tmp_path_factory.mktemp("tour") / "figure.png"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(["tour", "--quick", "--out", str(path)])
    return status, out.getvalue(), err.getvalue(), path


@pytest.fixture(scope="module")
def rows() -> Any:
    """The rows of a second run with the same settings."""
    seen = []
    table = experiment(SETTINGS, lambda network, share: seen.append((network, share)))
    assert [network for network, share in seen if share == 1.0] == list(NETWORKS)
    return {(row.network, row.start): row for row in table}


@pytest.fixture
def untrained(monkeypatch: Any, rows: Any) -> Any:
    """Commands that print the rows of the fixture without a new training."""
    monkeypatch.setattr(cli, "_train", lambda settings: list(rows.values()))


def test_a_run_succeeds_and_draws(run: Any) -> None:
    status, out, err, path = run
    assert status == 0
    assert "\x1b" not in out + err
    assert err == f"wrote {path}\n"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    pixels = imread(path)
    assert pixels.shape[:2] == (1200, 1560)
    assert 0.02 < np.mean(pixels[..., :3].min(axis=-1) < 0.9) < 0.5


def test_the_same_seed_prints_the_same_rows(run: Any, rows: Any) -> None:
    lines = [re.split(r"\s{2,}", line.strip()) for line in run[1].splitlines()]
    printed = [tuple(line) for line in lines if line[0] in LABELS]
    assert printed == [(*cells(row), verdict(row)) for row in rows.values()]
    assert len(printed) == len(NETWORKS) * len(STARTS)


def test_labels_are_the_calls() -> None:
    for label, init in STARTS:
        assert eval(label, {**vars(jaxinit), "sqrt": math.sqrt}) == init


def test_symmetric_starts_stay_at_the_uniform_guess(rows: Any) -> None:
    for network in NETWORKS:
        for label in ("zeros", "constant(0.01)"):
            row = rows[network, label]
            assert row.twins == row.dead == 1.0
            assert row.loss == pytest.approx(math.log(10), abs=1e-5)
            assert row.accuracy < 0.3


def test_the_derived_start_trains_its_network(rows: Any) -> None:
    for network, label in (
        ("ReLU", "he_normal()"),
        ("tanh", "glorot_uniform()"),
        ("SELU", "lecun_normal()"),
    ):
        good = rows[network, label]
        assert 0.1 < good.forward_ratio < 10
        assert 0.1 < good.backward_ratio < 10
        for naive in ("zeros", "constant(0.01)", "normal(0.01)", "normal(1.0)"):
            bad = rows[network, naive]
            assert bad.diverged or good.accuracy > bad.accuracy + 0.4
    half = rows["ReLU", "orthogonal()"].forward_ratio
    assert half == pytest.approx(2 ** (-(SETTINGS.depth - 1) / 2), rel=0.5)
    assert rows["ReLU", "normal(1.0)"].diverged
    assert rows["tanh", "normal(1.0)"].backward_ratio > 100


def _measure(net: Any, inputs: Any, labels: Any) -> Any:
    return jax.device_get(jax.jit(signals)(net, inputs, labels, 0))


def test_signals_are_those_of_the_plain_recursion() -> None:
    net = start(jaxinit.he_normal(), jax.random.key(1), depth=2)
    inputs, labels = jax.random.normal(jax.random.key(2), (5, 64)), jnp.arange(5)

    def loss(z: Any, kernels: Any) -> Any:
        for kernel in (*kernels, net.head):
            z = jax.nn.relu(z) @ kernel
        return -jnp.mean(jax.nn.log_softmax(z)[jnp.arange(5), labels])

    measured, h = _measure(net, inputs, labels), inputs
    for layer, kernel in enumerate(net.kernels):
        value, gradient = jax.value_and_grad(loss)(h @ kernel, net.kernels[layer + 1 :])
        h = jax.nn.relu(h @ kernel)
        sizes = [float(jnp.sqrt(jnp.mean(x**2))) for x in (h, gradient)]
        assert [measured.forward[layer], measured.backward[layer]] == pytest.approx(sizes, rel=1e-4)
        assert measured.loss == pytest.approx(float(value), rel=1e-5)


def test_dead_units_and_twins_are_counted_one_by_one() -> None:
    net = start(jaxinit.orthogonal(), jax.random.key(1), depth=2)
    inputs, labels = jax.random.normal(jax.random.key(2), (100, 64)), jnp.arange(100) % 10
    plain = _measure(net, inputs, labels)
    assert (plain.dead, plain.twins) == (0, 0)

    # Two dead units of a layer are no twins: their inputs differ.
    dead = net._replace(biases=net.biases.at[0, :2].set(-100.0))
    killed = _measure(dead, inputs, labels)
    assert (killed.dead, killed.twins) == (2 / 128, 0)

    copy = net.kernels.at[0, :, 1].set(net.kernels[0, :, 0]).at[1, 1].set(net.kernels[1, 0])
    assert _measure(net._replace(kernels=copy), inputs, labels).twins == 2 / 128
    # The same input but another gradient: they part at the first step.
    parting = net._replace(kernels=copy.at[1, 1].multiply(2.0))
    assert _measure(parting, inputs, labels).twins == 0


def _row(signal: Any, gradient: Any, dead: Any, twins: Any, accuracy: Any, diverged: Any) -> Any:
    return Row(
        network="ReLU",
        start="he_normal()",
        loss=2.5,
        forward=(1.0, signal),
        backward=(gradient, 1.0),
        dead=dead,
        twins=twins,
        steps=(0, 7),
        curve=(0.1, accuracy),
        diverged=diverged,
    )


sizes = st.floats(1e-30, 1e30) | st.floats(0.05, 20.0) | st.sampled_from([0.0, math.inf, math.nan])
shares = st.floats(0.0, 1.0)


@given(st.builds(_row, sizes, sizes, shares, shares, shares, st.integers(0, 7)))
def test_a_verdict_cannot_contradict_its_row(row: Any) -> None:
    said = verdict(row)
    shown = {*cells(row), str(len(row.forward)), str(row.diverged), f"{RATIO:.0f}"}
    quoted = set(NUMBER.findall(said))
    assert quoted
    assert quoted <= shown

    finite = not row.diverged
    accuracy = round(100 * row.accuracy) / 100
    assert ("it learns," in said) == (finite and accuracy >= LEARNED)
    assert ("better than a guess" in said) == (finite and accuracy <= GUESS)
    assert ("only in part" in said) == (finite and GUESS < accuracy < LEARNED)
    assert ("loss is not finite" in said) == (not finite)
    assert (share_text(row.accuracy) in said) or not finite

    mute = "hidden units" in said
    assert mute == (round(100 * row.twins) >= 50 or round(100 * row.dead) >= 50)
    for name, ratio in (("signal", row.forward_ratio), ("gradient", row.backward_ratio)):
        small = ratio_text(ratio) != "none" and float(ratio_text(ratio)) < 1 / RATIO
        large = ratio_text(ratio) != "none" and float(ratio_text(ratio)) > RATIO
        assert (f"{name} shrinks to {ratio_text(ratio)} of itself" in said) == (small and not mute)
        assert (f"{name} grows {ratio_text(ratio)}-fold" in said) == (large and not mute)


def test_narrow_terminals_get_the_sentences_under_the_numbers(rows: Any) -> None:
    from rich.console import Console

    console = Console(width=80, file=io.StringIO())
    with console.capture() as text:
        console.print(report(list(rows.values()), SETTINGS, 80))
    lines = text.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    row = rows["ReLU", "he_normal()"]
    assert any(tuple(line.split()) == cells(row) for line in lines)
    assert " ".join(verdict(row).split()) in " ".join(text.get().split())


def test_quick_leaves_what_was_asked_for(monkeypatch: Any, tmp_path: Any, rows: Any) -> None:
    asked = []

    def train(given: Settings) -> list[Any]:
        asked.append(given)
        return list(rows.values())

    monkeypatch.setattr(cli, "_train", train)
    out = ["--out", str(tmp_path / "figure.png")]
    for more in ([], ["--quick"], ["--quick", "--depth", "3", "--seed", "9"]):
        assert cli.main(["tour", *out, *more]) == 0
    assert asked == [
        Settings(steps=300, depth=20),
        Settings(**cli.QUICK),
        Settings(steps=cli.QUICK["steps"], depth=3, seed=9),
    ]


@pytest.mark.parametrize(
    ("argument", "value", "allowed"),
    [
        ("--steps", "0", "a whole number, 1 or more"),
        ("--steps", "many", "a whole number, 1 or more"),
        ("--depth", "1", "a whole number, 2 or more"),
        ("--seed", "-1", "0 to 4294967295"),
        ("--seed", "4294967296", "0 to 4294967295"),
        ("--out", "figure.pdf", "a name that ends in .png"),
    ],
)
def test_bad_arguments(capsys: Any, argument: Any, value: Any, allowed: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["tour", f"{argument}={value}"])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: jaxinit tour")
    assert f"argument {argument}: got '{value}', allowed is {allowed}" in said


def test_no_command_is_an_error_and_help_needs_no_extra(monkeypatch: Any, capsys: Any) -> None:
    for package in cli.EXTRA:
        monkeypatch.setitem(sys.modules, package, None)
    for arguments, status in ((), 2), (("--help",), 0), (("--version",), 0), (("tour", "-h"), 0):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == status
    assert f"jaxinit {jaxinit.__version__}\n" in capsys.readouterr().out


@pytest.mark.parametrize("package", cli.EXTRA)
def test_a_missing_extra_is_named(monkeypatch: Any, capsys: Any, package: Any) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert cli.main(["tour"]) == 1
    said = f'jaxinit tour: error: {package} is not installed: pip install "jaxinit[tour]"\n'
    assert capsys.readouterr() == ("", said)


def test_a_path_that_cannot_be_written_fails_before_training(
    monkeypatch: Any, capsys: Any, tmp_path: Any
) -> None:
    monkeypatch.setattr(cli, "_train", lambda settings: pytest.fail("trained first"))
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for name, reason in (
        ("absent/figure.png", "No such file or directory"),
        ("file/figure.png", "Not a directory"),
        ("folder.png", "Is a directory"),
    ):
        assert cli.main(["tour", "--out", str(tmp_path / name)]) == 1
        said = capsys.readouterr().err
        assert said == f"jaxinit tour: error: cannot write {tmp_path / name}: {reason}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


@pytest.mark.parametrize("before", [None, b"an older figure"])
def test_ctrl_c_leaves_no_partial_figure(
    monkeypatch: Any, capsys: Any, tmp_path: Any, before: Any
) -> None:
    def interrupted(settings: Any) -> Any:
        raise KeyboardInterrupt

    path = tmp_path / "figure.png"
    if before:
        path.write_bytes(before)
    monkeypatch.setattr(cli, "_train", interrupted)
    assert cli.main(["tour", "--out", str(path)]) == 130
    assert capsys.readouterr() == ("", "")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([before] if before else [])


def test_a_closed_pipe_is_no_traceback(
    untrained: Any, monkeypatch: Any, capsys: Any, tmp_path: Any
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert cli.main(["tour", "--out", str(tmp_path / "figure.png")]) == 141
        monkeypatch.undo()
    assert "Traceback" not in capsys.readouterr().err
    assert Path(tmp_path / "figure.png").exists()
