"""The command line of the diagnosis, and bad input to it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from examined import X, Y, network, weights

import jaxinit
from jaxinit import cli
from jaxinit.diagnosis import diagnose


def test_bad_input_is_told() -> None:
    apply, params = network(jax.nn.relu), weights(depth=1)
    with pytest.raises(ValueError, match="nothing is seen in apply_fn that multiplies"):
        diagnose(lambda p, x: x + p, jnp.ones(8), X)
    with pytest.raises(ValueError, match=r"no derivative.*can be trained"):
        diagnose(
            lambda p, x: jax.lax.while_loop(lambda c: jnp.sum(c) < 1, lambda c: c + 1, x @ p),
            jnp.ones((8, 2)),
            X,
        )
    with pytest.raises(ValueError, match="not a real scalar"):
        diagnose(apply, params, X, labels=Y, loss=lambda out, y: out)
    with pytest.raises(TypeError, match="apply_fn=3 is a int: pass a function of"):
        diagnose(3, params, X)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="loss=3 is a int"):
        diagnose(apply, params, X, loss=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no loss to go with"):
        diagnose(apply, params, X, learning_rate=0.1)
    with pytest.raises(ValueError, match="must be positive"):
        diagnose(apply, params, X, labels=Y, learning_rate=-1.0)
    with pytest.raises(TypeError, match="learning_rate='x'"):
        diagnose(apply, params, X, labels=Y, learning_rate="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"labels have shape \(39,\) and the logits \(40, 5\)"):
        diagnose(apply, params, X, labels=Y[:39])
    with pytest.raises(ValueError, match="labels go from 0 to 9"):
        diagnose(apply, params, X, labels=jnp.arange(40) % 10)
    with pytest.raises(ValueError, match=r"labels are float32.*pass loss="):
        diagnose(apply, params, X, labels=Y * 1.0)
    with pytest.raises(TypeError, match="params/l0/b is abstract"):
        diagnose(apply, jax.eval_shape(lambda: params), X)
    with pytest.raises(TypeError, match=r"inputs/0 is traced: call diagnose outside jit"):
        jax.jit(lambda x: diagnose(apply, params, x).loss)(X)


MODEL = """
import jax, jax.numpy as jnp

def healthy():
    key = jax.random.key(0)
    params = {"a": jax.random.normal(key, (8, 16)) / 2, "b": jax.random.normal(key, (16, 4)) / 4}
    x = jax.random.normal(jax.random.key(1), (32, 8))
    return lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"], params, x, jnp.arange(32) % 4

def ill():
    apply, params, x, labels = healthy()
    params = params | {"b": 50 * params["b"]}
    return {"apply": apply, "params": params, "inputs": (x,), "labels": labels}

def fails():
    raise KeyError("weights")

def short():
    return 1, 2

def named():
    return {"apply": 1, "params": 2, "inputs": 3, "label": 4}
"""


def test_the_doctor_prints_and_says_by_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "patient_of_the_test.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert cli.main(["doctor", "patient_of_the_test:healthy"]) == 0
    assert "no finding: healthy" in capsys.readouterr().out
    asked = ["--fix", "--html", "out.html", "--learning-rate", "0.01"]
    assert cli.main(["doctor", "patient_of_the_test:ill", *asked]) == 1
    out = capsys.readouterr().out
    assert "loss-at-chance (warning)" in out
    rules: dict[str, Any] = {}
    exec(out[out.index("from jaxinit import") :], rules)
    assert isinstance(rules["rules"], jaxinit.Rules)
    assert (tmp_path / "out.html").read_text().startswith("<!DOCTYPE html>")
    for target, told in {
        "patient_of_the_test:fails": "fails: KeyError: 'weights' (line",
        "patient_of_the_test:none": "has no function 'none': it has healthy, ill, fails",
        "patient_of_the_test:short": "returned a tuple of 2",
        "patient_of_the_test:named": "has label: the names are apply, params, inputs, labels, loss",
        "no_such_module:f": "there is no module 'no_such_module'",
    }.items():
        assert cli.main(["doctor", target]) == 2
        assert told in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main(["doctor", "patient_of_the_test"])


def test_diagnosis_is_loaded_on_use() -> None:
    code = "import jaxinit, jaxinit.cli, sys; print('jaxinit.diagnosis' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
    assert jaxinit.diagnose is diagnose
