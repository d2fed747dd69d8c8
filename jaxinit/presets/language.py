"""Language models: GPT-2, BERT, T5, LLaMA, Mamba and DeepNet, each a table from role to law."""

import functools
from typing import Literal

from jaxinit._checks import one_of, whole
from jaxinit._draw import Draw, Spec
from jaxinit._initializer import initializer
from jaxinit.algebra import multiple
from jaxinit.axes import Axes
from jaxinit.constant import ones, zeros
from jaxinit.decay import mamba_a_log
from jaxinit.depth import depth_scaled, layer_scaled
from jaxinit.embedding import embedding
from jaxinit.iid import normal, truncated_normal
from jaxinit.presets import torch
from jaxinit.presets.naming import authors, flax, hugging_face
from jaxinit.presets.recipe import Paths, arrange
from jaxinit.rules import Rules, by_depth
from jaxinit.scaling import variance_scaling
from jaxinit.steps import inverse_softplus_step, mamba_dt_kernel
from jaxinit.transformer import Side, deepnorm, deepnorm_alpha


def gpt2(layers: int, paths: Paths = flax.GPT2, *, stddev: float = 0.02) -> Rules:
    """GPT-2: w ~ N(0, stddev²), and stddev/√(2 layers) for the last kernel of each branch.

    Roles: embedding, position, residual (the kernels that write to the residual stream: the output
    of attention and the last of the feed-forward block), kernel (every other), scale (1), bias (0).

    Args:
        layers: of the model, each of two branches.
        paths: from role to path pattern.
        stddev: of embeddings and kernels.

    Returns:
        The rules.

    Raises:
        TypeError: if layers is not whole, or a path is no pattern.
        ValueError: if layers is less than 1, stddev is negative, or paths lack a role or have one
            too many.

    >>> from jaxinit.presets import naming
    >>> for pattern, law in gpt2(12, naming.hugging_face.GPT2).rules[2:4]:
    ...     print(pattern, law)
    **/c_proj/kernel depth_scaled(init=normal(stddev=0.02), layers=12)
    **/kernel normal(stddev=0.02)

    Reference:
        Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3;
        OpenAI's code draws positions with a standard deviation of 0.01, everyone else's so.
    """
    kernel = normal(stddev)
    table = {
        "embedding": kernel,
        "position": kernel,
        "residual": depth_scaled(kernel, layers),
        "kernel": kernel,
        "scale": ones,
        "bias": zeros,
    }
    return arrange("gpt2", table, paths)


def bert(paths: Paths = flax.BERT, *, stddev: float = 0.02, truncated: bool = True) -> Rules:
    """BERT: w = stddev z, with z ~ N(0, 1) given |z| < 2, for embeddings and kernels.

    Roles: embedding (of tokens, positions and segments), kernel, scale (1), bias (0).

    Args:
        paths: from role to path pattern.
        stddev: before truncation, after which it is 0.88 of that.
        truncated: whether the normal is, as in Google's code; in Hugging Face's it is not.

    Returns:
        The rules.

    Raises:
        TypeError: if a path is no pattern.
        ValueError: if stddev is negative, or paths lack a role or have one too many.

    >>> bert().rules[1]
    ('**/kernel', truncated_normal(stddev=0.02))

    Reference:
        Devlin, Chang, Lee, Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers for
        Language Understanding", 2018, arXiv:1810.04805, and its code.
    """
    kernel = truncated_normal(stddev) if truncated else normal(stddev)
    table = {"embedding": kernel, "kernel": kernel, "scale": ones, "bias": zeros}
    return arrange("bert", table, paths)


def t5(features: int, head_size: int = 64, paths: Paths = flax.T5) -> Rules:
    """T5: w ~ N(0, 1/n_in), and N(0, 1/(n_in head_size)) for queries, whose logits are not scaled.

    Roles: embedding (N(0, 1)), position (of relative positions, N(0, 1/features)), query,
    key_value, head (the output layer, N(0, 1); None if tied), kernel (every other, the output of
    attention included), scale (1). T5 has no biases.

    Args:
        features: width of the model.
        head_size: features of a head.
        paths: from role to path pattern.

    Returns:
        The rules.

    Raises:
        TypeError: if a size is not whole, or a path is no pattern.
        ValueError: if a size is less than 1, or paths lack a role or have one too many.

    >>> from jaxinit.presets import naming
    >>> t5(512, paths={**naming.hugging_face.T5, "head": None}).rules[2]
    ('**/q/kernel', variance_scaling(scale=0.015625, mode='fan_in', distribution='normal'))

    Reference:
        Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
        Transformer", 2019, arXiv:1910.10683, and the code in Mesh TensorFlow.
    """
    kernel = variance_scaling(1.0, "fan_in", "normal")
    table = {
        "embedding": normal(1.0),
        "position": normal(whole("features", features) ** -0.5),
        "query": variance_scaling(1 / whole("head_size", head_size), "fan_in", "normal"),
        "key_value": kernel,
        "head": normal(1.0),
        "kernel": kernel,
        "scale": ones,
    }
    return arrange("t5", table, paths)


@initializer
def _torchtitan_head(spec: Spec) -> Draw:
    """w = z/√n_in, with z ~ N(0, 1) given |z| < 3."""
    unit = truncated_normal(1.0, lower=-3.0, upper=3.0)
    return multiple(spec, unit, Axes().fans(spec.shape).fan_in ** -0.5)


def llama(
    mode: Literal["torchtitan", "hugging_face"] = "torchtitan",
    paths: Paths = hugging_face.LLAMA,
    *,
    stacked: int | None = None,
) -> Rules:
    """LLaMA: w ~ N(0, 0.02²), and 0.02/√(2 (l+1)) for kernels that end a branch of layer l.

    So does torchtitan, the code of Meta's that trains this family, which has N(0, 1) for embeddings
    and z/√n_in, with z ~ N(0, 1) given |z| < 3, for the head. How the published weights began is
    not known. Hugging Face draws all by N(0, 0.02²).

    Roles: embedding, head (None if tied), residual (the output of attention, and the up and down
    projections of the feed-forward block), kernel (every other), scale (1).

    Args:
        mode: whose laws, "torchtitan" or "hugging_face".
        paths: from role to path pattern.
        stacked: axis along which residual kernels stack the layers, as those of a scanned block do;
            None takes the layer from the first part of the path that ends in a number.

    Returns:
        The rules.

    Raises:
        TypeError: if a path is no pattern.
        ValueError: for an unknown mode, or if paths lack a role or have one too many.

    >>> from jaxinit.paths import Leaf
    >>> llama().rules[2][1].at(Leaf("model/layers/7/mlp/down_proj/kernel", None))
    layer_scaled(init=normal(stddev=0.02), index=7)

    Reference:
        Touvron et al., "LLaMA: Open and Efficient Foundation Language Models", 2023,
        arXiv:2302.13971; Liang et al., "TorchTitan", 2024, arXiv:2410.06511, and its code.
    """
    one_of("mode", mode, ("torchtitan", "hugging_face"))
    kernel = normal(0.02)
    titan = mode == "torchtitan"
    table = {
        "embedding": normal(1.0) if titan else kernel,
        "head": _torchtitan_head() if titan else kernel,
        "residual": by_depth(functools.partial(layer_scaled, kernel), stacked) if titan else kernel,
        "kernel": kernel,
        "scale": ones,
    }
    return arrange("llama", table, paths)


def mamba(layers: int, paths: Paths = authors.MAMBA, *, taps: int = 4) -> Rules:
    """Mamba: PyTorch's laws, the last kernel of a layer times 1/√layers, and the steps' own.

    Roles: embedding (N(0, 0.02²)), convolution, convolution_bias, step and step_bias (of the
    projection to step sizes Δ: U(±1/√rank), and softplus(b) = Δ log-uniform from 1e-3 to 0.1),
    decay (A_log: log 1, …, log N), skip (D: 1), residual (the output projection), kernel (every
    other), scale (1).

    Args:
        layers: of the model, each of one branch.
        paths: from role to path pattern.
        taps: of the depthwise convolution, on which its bias depends.

    Returns:
        The rules.

    Raises:
        TypeError: if a number is not whole, or a path is no pattern.
        ValueError: if a number is less than 1, or paths lack a role or have one too many.

    >>> mamba(48).rules[4:6]
    (('**/dt_proj/bias', inverse_softplus_step()), ('**/A_log', mamba_a_log()))

    Reference:
        Gu, Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023,
        arXiv:2312.00752, section 3.6, and its code.
    """
    kernel = torch.linear_kernel()
    table = {
        "embedding": normal(0.02),
        "convolution": torch.conv_kernel(spatial=1),
        "convolution_bias": torch.conv_bias(taps),
        "step": mamba_dt_kernel(),
        "step_bias": inverse_softplus_step(),
        "decay": mamba_a_log(),
        "skip": ones,
        "residual": depth_scaled(kernel, layers, branches=1),
        "kernel": kernel,
        "scale": ones,
    }
    return arrange("mamba", table, paths)


def deepnet(
    encoder_layers: int = 0,
    decoder_layers: int = 0,
    side: Side = None,
    paths: Paths = flax.DEEPNET,
) -> Rules:
    """DeepNet: Xavier's normal, times β for values, outputs and feed-forward kernels.

    A model of two stacks takes the rules of each side, on paths of that side. The blocks are
    x ← norm(α x + f(x)) with α of `deepnorm_alpha`.

    Roles: embedding (N(0, 1/features)), query_key, value, output, head (the output layer, N(0,
    1/n_in); None if tied), feed_forward, scale (1), bias (0).

    Args:
        encoder_layers: N; 0 if there is no encoder.
        decoder_layers: M; 0 if there is no decoder.
        side: "encoder" or "decoder", whose the paths are; needed if there are both.
        paths: from role to path pattern.

    Returns:
        The rules.

    Raises:
        TypeError: if a number of layers is not whole, or a path is no pattern.
        ValueError: for an unknown side, a negative number of layers, no layers, two stacks and no
            side, or if paths lack a role or have one too many.

    >>> from jaxinit.presets import naming
    >>> paths = {**naming.flax.DEEPNET, "value": "**/v"}
    >>> deepnet(decoder_layers=18, paths=paths).rules[2]
    ('**/v', deepnorm(role='value', encoder_layers=0, decoder_layers=18, side=None))

    Reference:
        Wang, Ma, Dong, Huang, Zhang, Wei, "DeepNet: Scaling Transformers to 1,000 Layers", 2022,
        arXiv:2203.00555, figure 2.
    """
    stack = (encoder_layers, decoder_layers, side)
    deepnorm_alpha(*stack)  # which refuses what are no stacks, before any kernel is drawn
    table = {
        "embedding": embedding(),
        "query_key": deepnorm("query", *stack),
        "value": deepnorm("value", *stack),
        "output": deepnorm("output", *stack),
        "head": variance_scaling(1.0, "fan_in", "normal"),
        "feed_forward": deepnorm("ffn", *stack),
        "scale": ones,
        "bias": zeros,
    }
    return arrange("deepnet", table, paths)
