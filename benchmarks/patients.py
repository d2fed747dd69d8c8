"""Networks that are healthy, for the benchmark of diagnosis."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

import jaxinit

CLASSES, BATCH, STEPS, TOKENS, VOCABULARY = 10, 32, 12, 16, 50
_HE, _LECUN, _GPT = (
    nn.initializers.he_normal(),
    nn.initializers.lecun_normal(),
    jaxinit.normal(0.02),
)


class Network(NamedTuple):
    """A function, how to make its parameters from a key, and a batch."""

    family: str
    name: str
    apply: Callable[..., Any]
    make: Callable[[Any], Any]
    inputs: tuple[Any, ...]
    labels: Any
    learning_rate: float = 0.003


class MLP(nn.Module):
    """Dense layers of one width."""

    width: int
    depth: int
    act: Any
    law: Any

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Logits."""
        for _ in range(self.depth):
            x = self.act(nn.Dense(self.width, kernel_init=self.law)(x))
        return nn.Dense(CLASSES)(x)


class CNN(nn.Module):
    """Convolutions, pooled in between, with or without normalization."""

    width: int
    depth: int
    act: Any
    norm: bool
    law: Any

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Logits."""
        for i in range(self.depth):
            x = nn.Conv(self.width, (3, 3), kernel_init=self.law)(x)
            x = nn.BatchNorm(use_running_average=False)(x) if self.norm else x
            x = self.act(x)
            if i % 2:
                x = nn.max_pool(x, (2, 2), (2, 2)) if x.shape[1] > 2 else x
        return nn.Dense(CLASSES)(x.mean((1, 2)))


class ResNet(nn.Module):
    """Residual blocks, each begun at zero by the scale of its last normalization, or by Fixup."""

    width: int
    depth: int
    norm: bool

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Logits."""
        x = nn.relu(nn.Conv(self.width, (3, 3), kernel_init=_HE)(x))
        fixup = _HE if self.norm else jaxinit.he_normal() * self.depth**-0.5
        for _ in range(self.depth):
            h = nn.Conv(self.width, (3, 3), kernel_init=fixup)(x)
            h = nn.relu(nn.BatchNorm(use_running_average=False)(h) if self.norm else h)
            last = _HE if self.norm else nn.initializers.zeros
            h = nn.Conv(self.width, (3, 3), kernel_init=last)(h)
            if self.norm:
                scale = nn.initializers.zeros
                h = nn.BatchNorm(use_running_average=False, scale_init=scale)(h)
            x = nn.relu(x + h)
        head = _LECUN if self.norm else nn.initializers.zeros
        return nn.Dense(CLASSES, kernel_init=head)(x.mean((1, 2)))


class Transformer(nn.Module):
    """A causal language model, normalized before each branch, or after each and the embedding."""

    width: int
    depth: int
    before: bool
    law: Any

    @nn.compact
    def __call__(self, tokens: Any) -> Any:
        """Logits of the next token."""
        x = nn.Embed(VOCABULARY, self.width, embedding_init=self.law)(tokens)
        x = x + self.param("positions", self.law, (tokens.shape[1], self.width))
        x = x if self.before else nn.LayerNorm()(x)
        mask = nn.make_causal_mask(tokens)
        for _ in range(self.depth):
            x = self._added(
                x, lambda h: nn.MultiHeadDotProductAttention(4, kernel_init=self.law)(h, mask=mask)
            )
            x = self._added(x, self._dense)
        x = nn.LayerNorm()(x) if self.before else x
        return nn.Dense(VOCABULARY, kernel_init=self.law)(x)

    def _added(self, x: Any, branch: Callable[[Any], Any]) -> Any:
        return x + branch(nn.LayerNorm()(x)) if self.before else nn.LayerNorm()(x + branch(x))

    def _dense(self, h: Any) -> Any:
        h = nn.gelu(nn.Dense(4 * self.width, kernel_init=self.law)(h))
        return nn.Dense(self.width, kernel_init=self.law)(h)


class Recurrent(nn.Module):
    """Cells over a sequence, read at the end or at every step."""

    cell: Any
    width: int
    layers: int
    every: bool

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """Logits."""
        for _ in range(self.layers):
            x = nn.RNN(self.cell(self.width))(x)
        return nn.Dense(CLASSES)(x if self.every else x[:, -1])


class Perceptron(nnx.Module):
    """The same as `MLP`, in nnx."""

    def __init__(self, width: int, depth: int, rngs: nnx.Rngs) -> None:
        init = jaxinit.for_activation("gelu")
        sizes = [16, *[width] * depth]
        self.layers = nnx.List(
            nnx.Linear(a, b, kernel_init=init, rngs=rngs) for a, b in itertools.pairwise(sizes)
        )
        self.head = nnx.Linear(width, CLASSES, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """Logits."""
        for layer in self.layers:
            x = nnx.gelu(layer(x))
        return self.head(x)


def networks() -> Iterator[Network]:
    """All that are to be found healthy, without their seeds."""
    key = jax.random.key(7)
    classes = jax.random.randint(jax.random.fold_in(key, 0), (BATCH,), 0, CLASSES)
    centres = jax.random.normal(jax.random.fold_in(key, 1), (CLASSES, 16))
    vectors = centres[classes] + jax.random.normal(jax.random.fold_in(key, 2), (BATCH, 16))
    vectors = vectors / jnp.std(vectors)
    coarse = jax.random.normal(jax.random.fold_in(key, 3), (BATCH, 4, 4, 3))
    images = jax.image.resize(coarse, (BATCH, 8, 8, 3), "linear")
    series = jax.random.normal(jax.random.fold_in(key, 4), (BATCH, STEPS, 8)).cumsum(1)
    series = series / jnp.std(series)
    tokens = jax.random.randint(jax.random.fold_in(key, 5), (8, TOKENS + 1), 0, VOCABULARY)

    acts: tuple[tuple[str, Any, Any], ...] = (
        ("relu", nn.relu, _HE),
        ("tanh", jnp.tanh, jaxinit.glorot_normal()),
        ("gelu", nn.gelu, jaxinit.for_activation("gelu")),
        ("selu", nn.selu, _LECUN),
        ("silu", nn.silu, jaxinit.for_activation("silu")),
    )
    for name, act, init in acts:
        # A signal of gelu or silu that is larger than 1 grows, as its length map is steep there.
        deep = 4 if name in ("gelu", "silu") else 16
        for width, depth in ((16, 2), (32, 6), (64, deep), (256, 4)):
            mlp = MLP(width, depth, act, init)
            yield _linen("MLP", f"{name} {width}x{depth}", mlp, vectors, classes)
    yield _linen("MLP", "relu 32x30", MLP(32, 30, nn.relu, _HE), vectors, classes)
    yield _linen("MLP", "relu lecun 64x3", MLP(64, 3, nn.relu, _LECUN), vectors, classes)
    yield _nnx("MLP", "nnx gelu 32x4", vectors, classes)
    for name, act, init in acts[:3]:
        for norm in (False, True):
            told = f"{name} {'batch norm' if norm else 'plain'} 8x4"
            init = jaxinit.he_normal() if name == "relu" else _LECUN
            yield _linen("CNN", told, CNN(8, 4, act, norm, init), images, classes, True)
    for norm, depth in ((True, 2), (False, 3)):
        told = f"resnet {'batch norm' if norm else 'fixup'} 8x{depth}"
        yield _linen("CNN", told, ResNet(8, depth, norm), images, classes, True)
    for before in (True, False):
        for width, depth, kind, init in (
            (32, 1, "lecun", _LECUN),
            (64, 2, "normal(0.02)", _GPT),
            (32, 3, "lecun", _LECUN),
        ):
            told = f"{'pre' if before else 'post'}-norm {kind} {width}x{depth}"
            model = Transformer(width, depth, before, init)
            yield _linen("transformer", told, model, tokens[:, :-1], tokens[:, 1:])
    for cell in (nn.LSTMCell, nn.GRUCell, nn.SimpleCell):
        for layers, every in ((1, False), (2, True)):
            told = f"{cell.__name__} {'all' if every else 'last'} 32x{layers}"
            wanted = jnp.repeat(classes[:, None], STEPS, 1) if every else classes
            yield _linen("RNN", told, Recurrent(cell, 32, layers, every), series, wanted)


def _linen(
    family: str, name: str, model: Any, given: Any, labels: Any, mutable: bool = False
) -> Network:
    def apply(params: Any, x: Any) -> Any:
        return model.apply(params, x, mutable=["batch_stats"])

    make = jax.jit(lambda key: model.init(key, given))
    return Network(family, name, apply if mutable else model.apply, make, (given,), labels)


def _nnx(family: str, name: str, given: Any, labels: Any) -> Network:
    def make(key: Any) -> Any:
        return nnx.split(Perceptron(32, 4, nnx.Rngs(key)))[1]

    structure = nnx.split(Perceptron(32, 4, nnx.Rngs(0)))[0]

    def apply(state: Any, x: Any) -> Any:
        return nnx.merge(structure, state)(x)

    return Network(family, name, apply, make, (given,), labels)
