"""Recommendations for models of Equinox and Haiku, by their data flow alone."""

from typing import Any

import equinox
import haiku
import jax
import jax.numpy as jnp
import pytest
from recommend_models import checked, laws

KEY = jax.random.key(0)
OUTWARD = "axes=Axes(in_axis=1, out_axis=0, rank=2)"  # Equinox's kernels are outputs by inputs


class Net(equinox.Module):
    """A depthwise convolution, attention and a feed-forward layer."""

    conv: equinox.nn.Conv1d
    norm: equinox.nn.LayerNorm
    attention: equinox.nn.MultiheadAttention
    up: equinox.nn.Linear
    down: equinox.nn.Linear

    def __init__(self, key: Any) -> None:
        self.conv = equinox.nn.Conv1d(8, 8, 3, groups=8, padding=1, key=key)
        self.norm = equinox.nn.LayerNorm(8)
        self.attention = equinox.nn.MultiheadAttention(2, 8, key=key)
        self.up = equinox.nn.Linear(8, 16, key=key)
        self.down = equinox.nn.Linear(16, 8, key=key)

    def __call__(self, x: Any) -> Any:
        """Of one example."""
        x = self.conv(x.T).T
        h = jax.vmap(self.norm)(x)
        x = x + self.attention(h, h, h)
        return x + jax.vmap(lambda v: self.down(jax.nn.gelu(self.up(v))))(x)


class Lstm(equinox.Module):
    """A cell in a scan, and an output."""

    cell: equinox.nn.LSTMCell
    out: equinox.nn.Linear

    def __init__(self, key: Any) -> None:
        self.cell = equinox.nn.LSTMCell(4, 8, key=key)
        self.out = equinox.nn.Linear(8, 3, key=key)

    def __call__(self, xs: Any) -> Any:
        """Of one example."""
        state = (jnp.zeros(8), jnp.zeros(8))
        (h, _), _ = jax.lax.scan(lambda state, x: (self.cell(x, state), None), state, xs)
        return self.out(h)


def batched(model: Any, x: Any) -> Any:
    return jax.vmap(model)(x)


def test_a_transformer_of_equinox() -> None:
    assert laws(checked(batched, Net(KEY), jnp.ones((3, 5, 8)))) == {
        "conv/weight": (
            "depthwise",
            "lecun_normal(axes=Axes(in_axis=1, out_axis=0, groups=8, rank=3))",
        ),
        "norm/weight": ("norm scale", "ones_init()"),
        "norm/bias": ("norm bias", "zeros_init()"),
        "attention/query_proj/weight": ("attention query", "glorot_uniform()"),
        "attention/key_proj/weight": ("attention key", "glorot_uniform()"),
        "attention/value_proj/weight": ("attention value", "glorot_uniform()"),
        "attention/output_proj/weight": (
            "attention output",
            "depth_scaled(init=glorot_uniform(), layers=1)",
        ),
        "up/weight": ("dense", f"for_activation(fn='gelu', {OUTWARD})"),
        "down/weight": (
            "residual output",
            f"depth_scaled(init=lecun_normal({OUTWARD}), layers=1)",
        ),
        **{f"{name}/bias": ("bias", "zeros_init()") for name in ("conv", "up", "down")},
    }


def test_an_lstm_of_equinox() -> None:
    assert laws(checked(batched, Lstm(KEY), jnp.ones((3, 5, 4)))) == {
        "cell/weight_ih": (
            "recurrent input",
            f"gates(init=glorot_uniform({OUTWARD}), n=4, axis=0)",
        ),
        "cell/weight_hh": ("recurrent kernel", f"gates(init=orthogonal({OUTWARD}), n=4, axis=0)"),
        "cell/bias": ("forget bias", "gate_bias(values=(0, 1, 0, 0))"),
        "out/weight": ("head", f"lecun_normal({OUTWARD})"),
        "out/bias": ("bias", "zeros_init()"),
    }


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        (  # which adds 1 to its forget gate by itself
            haiku.LSTM,
            {
                "lstm/linear/w": (
                    "recurrent input and kernel",
                    "gates(init=glorot_uniform(), n=4)",
                ),
                "lstm/linear/b": ("bias", "zeros_init()"),
            },
        ),
        (
            haiku.GRU,
            {
                "gru/w_i": ("recurrent input", "gates(init=glorot_uniform(), n=3)"),
                "gru/w_h": ("recurrent kernel", "gates(init=orthogonal(), n=3)"),
                "gru/b": ("bias", "zeros_init()"),
            },
        ),
        (
            haiku.VanillaRNN,
            {
                "vanilla_rnn/linear/w": ("recurrent input", "glorot_uniform()"),
                "vanilla_rnn/linear/b": ("bias", "zeros_init()"),
                "vanilla_rnn/linear_1/w": ("recurrent kernel", "orthogonal()"),
                "vanilla_rnn/linear_1/b": ("bias", "zeros_init()"),
            },
        ),
    ],
)
def test_recurrent_cells_of_haiku(cell: Any, wanted: dict[str, Any]) -> None:
    def forward(x: Any) -> Any:
        core = cell(8)
        y, _ = haiku.dynamic_unroll(core, x, core.initial_state(x.shape[1]))
        return haiku.Linear(3)(y[-1])

    model = haiku.without_apply_rng(haiku.transform(forward))
    x = jax.ShapeDtypeStruct((5, 2, 4), "float32")
    params = jax.eval_shape(model.init, KEY, x)
    head = {"linear/w": ("head", "lecun_normal()"), "linear/b": ("bias", "zeros_init()")}
    assert laws(checked(model.apply, params, x)) == {**wanted, **head}
