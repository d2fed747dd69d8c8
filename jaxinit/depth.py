"""Deep networks: factors that fall with depth, and a start that is linear at any depth."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from jaxinit._checks import natural, optional, positive, whole
from jaxinit._draw import Draw, Spec, derive
from jaxinit._initializer import Init, initializer, part
from jaxinit.algebra import multiple
from jaxinit.axes import Axes, normalize
from jaxinit.compose import mirrored
from jaxinit.constant import ones
from jaxinit.scaling import he_normal

_HE = he_normal()


def _several(name: str, value: Any) -> int:
    depth = whole(name, value)
    if depth == 1:
        raise ValueError(
            f"{name}=1: the one layer of such a branch is its last, which Fixup sets to zero: use "
            "zeros for it"
        )
    return depth


@initializer
def depth_scaled(
    spec: Spec, init: Init, layers: Annotated[int, whole], branches: Annotated[int, whole] = 2
) -> Draw:
    """W = V / √(branches · layers), with V drawn by init: for the last kernel of a residual branch.

    The sum of all branches of the network then has the variance that one of them had. Depths share
    one compilation.

    Args:
        init: of the kernel, were there no other branch.
        layers: of the network.
        branches: residual branches of a layer; a transformer's has attention and feed-forward.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer or a number is not whole.
        ValueError: if a number is less than 1.

    >>> import jax, jaxinit
    >>> init = depth_scaled(jaxinit.normal(0.02), layers=8)
    >>> print(f"{init(jax.random.key(0), (400, 400)).std():.4f}")
    0.0050

    Peers:
        megatron: scaled_init_method_normal

    Reference:
        Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3.
    """
    return multiple(spec, init, (branches * layers) ** -0.5)


@initializer
def layer_scaled(spec: Spec, init: Init, index: Annotated[int, natural]) -> Draw:
    """W = V / √(2 (index + 1)), with V drawn by init: for the last kernel of a residual branch.

    As `depth_scaled` by the layers so far instead of by all. Layers share one compilation.

    Args:
        init: of the kernel, were there no other branch.
        index: of the layer, from 0.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer or index is not whole.
        ValueError: if index is negative.

    >>> import jax, jaxinit
    >>> init = layer_scaled(jaxinit.normal(0.02), index=7)
    >>> print(f"{init(jax.random.key(0), (400, 400)).std():.4f}")
    0.0050

    Peers:
        torchtitan: depth_init
        timm: fix_init_weight

    Reference:
        Bao, Dong, Piao, Wei, "BEiT: BERT Pre-Training of Image Transformers", 2021,
        arXiv:2106.08254.
    """
    return multiple(spec, init, (2 * (index + 1)) ** -0.5)


@initializer
def layer_scale(
    spec: Spec,
    eps: Annotated[ArrayLike | None, optional(positive)] = None,
    dtype: DTypeLike | None = None,
    *,
    depth: Annotated[int | None, optional(whole)] = None,
) -> Draw:
    """W = eps: for the vector of factors, one a channel, at the end of a residual branch.

    CaiT's eps falls with the depth of the network: 0.1 up to 18 layers, 1e-5 up to 24, else 1e-6.

    Args:
        eps: the factor; None means CaiT's for the depth, or 1e-5 where there is none either.
        dtype: default dtype of the weights.
        depth: layers of the network, in place of eps.

    Returns:
        An initializer.

    Raises:
        TypeError: if depth is not whole.
        ValueError: if eps is not above 0 or depth is less than 1; when called, if both are given.

    >>> layer_scale(depth=12)(None, (2,), "bfloat16").tolist()
    [0.10009765625, 0.10009765625]

    Peers:
        timm: LayerScale

    Reference:
        Touvron, Cord, Sablayrolles, Synnaeve, Jégou, "Going deeper with Image Transformers", 2021,
        arXiv:2103.17239, section 2.
    """
    if eps is not None and depth is not None:
        raise ValueError(f"eps={eps!r} and depth={depth} both say what the factor is: pass one")
    if depth is not None:
        eps = 0.1 if depth <= 18 else 1e-5 if depth <= 24 else 1e-6
    return multiple(spec, ones, 1e-5 if eps is None else eps)


@initializer
def fixup(
    spec: Spec,
    layers: Annotated[int, whole],
    branch_depth: Annotated[int, _several],
    init: Init = _HE,
) -> Draw:
    """W = L^(-1/(2m - 2)) V, with V drawn by init: for a residual network without normalization.

    It is for every layer of a branch but the last, which is `zeros`, as is the classifier's kernel;
    layers outside the branches take init itself. A step of gradient descent then changes the output
    by an amount that does not depend on the depth. L counts residual branches, and m the kernels
    that one multiplies in sequence: 4 in attention, where query, key and value take this factor.

    Args:
        layers: L, residual branches of the network.
        branch_depth: m, layers of a branch, at least 2.
        init: a standard law for the layer's activation.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer or a number is not whole.
        ValueError: if layers is less than 1, or branch_depth less than 2.

    >>> import jax
    >>> init = fixup(layers=16, branch_depth=2)
    >>> print(f"{init(jax.random.key(0), (3, 3, 32, 32)).std() * (9 * 32 / 2) ** 0.5:.2f}")
    0.25

    Reference:
        Zhang, Dauphin, Ma, "Fixup Initialization: Residual Learning Without Normalization", 2019,
        arXiv:1901.09321.
    """
    return multiple(spec, init, layers ** (-1 / (2 * branch_depth - 2)))


@initializer
def looks_linear(
    spec: Spec,
    init: Init,
    mirror: Literal["both", "in", "out"] = "both",
    in_axis: Annotated[int, normalize] = -2,
    out_axis: Annotated[int, normalize] = -1,
) -> Draw:
    """W = [[V, -V], [-V, V]], with V drawn by init: a deep rectifier network that starts linear.

    Its units are pairs z and -z, of which one passes relu, and relu(z) V - relu(-z) V = z V. Of a
    relu network, the first kernel is mirrored in its outputs alone, [V, -V], and the last in its
    inputs alone, [V; -V]. Under CReLU, which makes the pairs itself, every kernel but the first
    (V) is mirrored in its inputs alone. With V orthogonal the network starts as an isometry.

    Args:
        init: of the kernel of the linear network; its fans are the block's.
        mirror: "both", "in" or "out": which units are pairs, first halves with second halves.
        in_axis: axis of the inputs.
        out_axis: axis of the outputs.

    Returns:
        An initializer.

    Raises:
        TypeError: if init is no initializer.
        ValueError: for an unknown mirror; when called, if a mirrored axis has an odd number of
            units, or the axes do not fit the shape.

    >>> import jaxinit
    >>> looks_linear(jaxinit.ones)(None, (2, 4)).tolist()
    [[1.0, 1.0, -1.0, -1.0], [-1.0, -1.0, 1.0, 1.0]]

    Reference:
        Balduzzi et al., "The Shattered Gradients Problem: If resnets are the answer, then what is
        the question?", 2017, arXiv:1702.08591; Burkholz, Dubatovka, "Initialization of
        ReLUs for Dynamical Isometry", 2019, arXiv:1806.06362.
    """
    inputs, outputs, *_ = Axes(in_axis, out_axis).resolve(spec.shape)
    for axis in {"both": inputs + outputs, "in": inputs, "out": outputs}[mirror]:
        init = mirrored(init, axis)
    return derive(_same, part(init, spec))


def _same(key: Any, shape: tuple[int, ...], dtype: np.dtype[Any], weights: Any) -> Array:
    return weights(key)
