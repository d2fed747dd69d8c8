"""Values depend on the key, the shape and the initializer: recorded once, asserted ever after.

`python tests/test_golden.py` writes the tables anew; a change of them is a breaking change. The
checksums are of the laws of `jax.nn.initializers`; of every other one, golden.json holds three
entries, which a compiler may round otherwise.
"""

import hashlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, Case

import jaxinit

KEY = np.array([0x243F6A88, 0x85A308D3], np.uint32)
ELEMENTWISE = (
    jaxinit.uniform(0.4),
    jaxinit.normal(0.02),
    jaxinit.truncated_normal(0.5, None, -0.5, 3.0),
    jaxinit.variance_scaling(1.5, "fan_avg", "normal"),
    jaxinit.glorot_normal(),
    jaxinit.glorot_uniform(),
    jaxinit.he_normal(),
    jaxinit.he_uniform(),
    jaxinit.lecun_normal(),
    jaxinit.lecun_uniform(),
)
STRUCTURED = (jaxinit.orthogonal(), jaxinit.orthogonal(0.5, 0))


def checksum(init: jaxinit.Bound) -> str:
    """Of the bytes of a float32, a bfloat16 and a three-axis draw."""
    digest = hashlib.sha256()
    for shape, dtype in (((64, 48), jnp.float32), ((31, 17), jnp.bfloat16), ((3, 5, 7), None)):
        digest.update(np.asarray(init(KEY, shape, dtype)).tobytes())
    return digest.hexdigest()[:16]


def corner(init: jaxinit.Bound) -> list[float]:
    """Four entries of a matrix that takes several blocks of reflections."""
    q = np.asarray(init(KEY, (150, 140)))
    return [round(float(x), 5) for x in (q[0, 0], q[-1, -1], q[70, 3], q[3, 70])]


CHECKSUMS: dict[str, str] = {
    "uniform(scale=0.4)": "c49bdfc24b6ae7dd",
    "normal(stddev=0.02)": "51c148e420683803",
    "truncated_normal(stddev=0.5, dtype=None, lower=-0.5, upper=3.0)": "0dbefe8f9fbd6d42",
    "variance_scaling(scale=1.5, mode='fan_avg', distribution='normal')": "ba6c2fa655c2eec5",
    "glorot_normal()": "834efa3530649b5b",
    "glorot_uniform()": "40be445149a26753",
    "he_normal()": "d07d4dde3378c5cf",
    "he_uniform()": "2ce886975d485234",
    "lecun_normal()": "aed766fc2724d7cd",
    "lecun_uniform()": "309eae4bcbf56f3b",
}
CORNERS: dict[str, list[float]] = {
    "orthogonal()": [-0.05529, 0.0387, -0.1196, -0.05255],
    "orthogonal(scale=0.5, column_axis=0)": [-0.02765, 0.01935, -0.0598, -0.02627],
}


@pytest.mark.parametrize("init", ELEMENTWISE, ids=repr)
def test_elementwise(init: jaxinit.Bound) -> None:
    assert checksum(init) == CHECKSUMS[repr(init)]


@pytest.mark.parametrize("init", STRUCTURED, ids=repr)
def test_structured(init: jaxinit.Bound) -> None:
    np.testing.assert_allclose(corner(init), CORNERS[repr(init)], rtol=0, atol=2e-5)


TABLE = Path(__file__).with_name("golden.json")
RANDOM = {str(case): case for case in CASES if case.random}


def entries(case: Case) -> list[float]:
    """The first, the middle and the last entry of a draw."""
    weights = np.asarray(case.init(KEY, case.shape)).real.astype(np.float64).ravel()
    return [float(f"{weights[i]:.7g}") for i in (0, weights.size // 2, -1)]


@pytest.mark.parametrize("case", RANDOM.values(), ids=str)
def test_every_law(case: Case) -> None:
    recorded = json.loads(TABLE.read_text())[str(case)]
    np.testing.assert_allclose(entries(case), recorded, rtol=2e-5, atol=2e-5)


def test_the_table_is_of_the_laws_that_there_are() -> None:
    assert json.loads(TABLE.read_text()).keys() == RANDOM.keys()


def test_legacy_and_typed_keys_agree() -> None:
    typed = jax.random.wrap_key_data(jnp.asarray(KEY))
    assert (jaxinit.normal()(typed, (5,)) == jaxinit.normal()(KEY, (5,))).all()


if __name__ == "__main__":
    for init in ELEMENTWISE:
        print(f'    "{init!r}": "{checksum(init)}",')
    for init in STRUCTURED:
        print(f'    "{init!r}": {corner(init)},')
    table = {name: entries(case) for name, case in RANDOM.items()}
    TABLE.write_text(json.dumps(table, indent=1) + "\n")
