"""Recipes on models of each naming: every leaf covered, and drawn by its role's law."""

import math
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from preset_models import HIDDEN, LAYERS, SIZE, D, tree
from scipy import stats

import jaxinit
from jaxinit import Rules, initialize, presets
from jaxinit.paths import leaves
from jaxinit.presets import naming

KEY = jax.random.key(20261124)
CUT = stats.truncnorm(-2, 2).std()
CUT_3 = stats.truncnorm(-3, 3).std()
ONE, ZERO = "ones_init()", "zeros_init()"
untyped: Any = presets


def uniform(fan: float) -> float:
    """Of PyTorch's U(±1/√n)."""
    return (3 * fan) ** -0.5


def xavier(inputs: int, outputs: int, gain: float = 1.0) -> float:
    return gain * math.sqrt(2 / (inputs + outputs))


def depth(path: str) -> int:
    found = re.search(r"\d+", path)
    assert found
    return int(found[0])


def by_layer(path: str) -> float:
    return 0.02 / math.sqrt(2 * (depth(path) + 1))


hf = naming.hugging_face
PLAIN: dict[str, Any] = {r"scale$|weight$": ONE, r"bias$": ZERO}
GPT2 = {
    r"c_proj/kernel|/out/kernel|Dense_1/kernel|linear2/kernel": 0.02 / math.sqrt(2 * LAYERS),
    r"kernel|embedding": 0.02,
    **PLAIN,
}
T5 = {
    r"(rel_embedding|bias/embedding)$": D**-0.5,
    r"embedding$|lm_head|logitdense": 1.0,
    r"(query|/q)/kernel": (D * SIZE) ** -0.5,
    r"/o/kernel": 48**-0.5,
    r"(wo|Dense_1)/kernel": HIDDEN**-0.5,
    r"kernel": D**-0.5,
    **PLAIN,
}
LLAMA = {
    r"(o_proj|up_proj|down_proj|wo|w2|w3)/kernel": by_layer,
    r"(lm_head|output)/kernel": CUT_3 * D**-0.5,
    r"kernel": 0.02,
    r"embedding": 1.0,
    **PLAIN,
}
BLOCK = {
    r"(query|key|value|out|attention/output/dense)/kernel": xavier(D, D),
    r"(Dense_\d|linear\d|intermediate/dense|\d/output/dense)/kernel": xavier(D, HIDDEN),
}
TOKENS_OF_VIT = {r"cls": 1e-6, r"pos(ition)?_embedding": 0.02}
VIT_JAX = {
    **TOKENS_OF_VIT,
    r"(projection|embedding)/kernel": (4 * 4 * 3) ** -0.5,
    r"(head|classifier)/": ZERO,
    **BLOCK,
    r"(Dense_\d|linear\d|intermediate/dense|\d/output/dense)/bias": "normal(stddev=1e-06)",
    **PLAIN,
}
VIT_JAX = {r"attention/output/dense/bias": ZERO, **VIT_JAX}
PATCH = {r"(projection|embedding)/(kernel|bias)": uniform(4 * 4 * 3)}
VIT_MOCO = {
    **TOKENS_OF_VIT,
    **PATCH,
    r"(head|classifier)/kernel": xavier(D, 10),
    **BLOCK,
    **PLAIN,
}
BETA = (8 * LAYERS) ** -0.25
DEEPNET = {
    r"embedding|logitdense": D**-0.5,
    r"(query|key)/kernel": xavier(D, D),
    r"(value|out)/kernel": xavier(D, D, BETA),
    r"kernel": xavier(D, HIDDEN, BETA),
    **PLAIN,
}
RESNET = {
    r"ResNetBlock_\d/BatchNorm_1/scale|layer/2/normalization/scale": ZERO,
    r"(Dense_0|classifier/1)/(kernel|bias)": uniform(D),
    r"(conv_init|embedder/convolution)/kernel": (2 / (49 * D)) ** 0.5,
    r"layer/\d/convolution/kernel": (2 / (9 * 2 * D)) ** 0.5,
    r"Conv_\d/kernel": (2 / (9 * D)) ** 0.5,
    **PLAIN,
}
CLIP = {
    r"token_embedding": 0.02,
    r"text_model/embeddings/position": 0.01,
    r"patch_embedding": uniform(48),
    r"class_embedding|vision_model/embeddings/position": D**-0.5,
    r"text_model.*(out_proj|fc2)/kernel": (2 * LAYERS * D) ** -0.5,
    r"vision_model.*(out_proj|fc2)/kernel": (2 * 5 * D) ** -0.5,
    r"fc1/kernel": (2 * D) ** -0.5,
    r"kernel": D**-0.5,
    r"logit_scale": f"constant(value={math.log(1 / 0.07)!r})",
    **PLAIN,
}
MAMBA = {
    r"conv1d": uniform(4),
    r"dt_proj/kernel": uniform(4),
    r"dt_proj/bias": "inverse_softplus_step()",
    r"A_log": "mamba_a_log()",
    r"/D$": ONE,
    r"out_proj": uniform(2 * D) / math.sqrt(LAYERS),
    r"in_proj": uniform(D),
    r"x_proj": uniform(2 * D),
    r"embedding": 0.02,
    **PLAIN,
}
CASES: list[tuple[str, Rules, dict[str, Any]]] = [
    ("text", presets.gpt2(LAYERS), GPT2),
    ("nnx text", presets.gpt2(LAYERS), GPT2),
    ("gpt2", presets.gpt2(LAYERS, hf.GPT2), GPT2),
    ("text", presets.bert(), {r"kernel|embedding": 0.02 * CUT, **PLAIN}),
    ("bert", presets.bert(hf.BERT, truncated=False), {r"kernel|embedding": 0.02, **PLAIN}),
    ("t5", presets.t5(D, SIZE), T5),
    ("t5 of hf", presets.t5(D, SIZE, hf.T5), T5),
    ("llama", presets.llama(), LLAMA),
    ("llama of its authors", presets.llama(paths=naming.authors.LLAMA), LLAMA),
    ("llama", presets.llama("hugging_face"), {r"kernel|embedding": 0.02, **PLAIN}),
    ("mamba", presets.mamba(LAYERS), MAMBA),
    ("deepnet", presets.deepnet(LAYERS), DEEPNET),
    ("vision", presets.vit(), VIT_JAX),
    ("nnx vision", presets.vit(), VIT_JAX),
    ("vit", presets.vit(paths=hf.VIT), VIT_JAX),
    ("vision", presets.vit("moco", patch=48), VIT_MOCO),
    (
        "vit",
        presets.vit("timm", hf.VIT, patch=48),
        {**TOKENS_OF_VIT, **PATCH, "kernel": 0.02, **PLAIN},
    ),
    (
        "vit",
        presets.vit("jax_nlhb", hf.VIT, classes=10),
        {r"classifier/bias": f"constant(value={-math.log(10)!r})", **VIT_JAX},
    ),
    ("clip", presets.clip(LAYERS, 5), CLIP),
    (
        "convnext",
        presets.convnext(head_scale=0.1),
        {r"head/kernel": 0.002, r"kernel": 0.02, r"gamma": "constant(value=1e-06)", **PLAIN},
    ),
    ("resnet", presets.resnet(features=D), RESNET),
    (
        "resnet",
        presets.resnet(False, features=D),
        {r"layer/2.*scale|BatchNorm_1/scale": ONE, **RESNET},
    ),
    ("resnet of hf", presets.resnet(True, hf.RESNET, features=D), RESNET),
]


@pytest.mark.parametrize(
    ("name", "rules", "laws"), CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)]
)
def test_each_role_has_its_law(name: str, rules: Rules, laws: dict[str, Any]) -> None:
    model = tree(name)
    assigned = rules.assign(leaves(model))  # as `initialize`: nothing uncovered, nothing unused
    assert len(assigned) == len(leaves(model))
    used = set()
    for row in rules.explain(model).rows:
        pattern = next(p for p in laws if re.search(p, row.path))
        used.add(pattern)
        law = laws[pattern]
        if isinstance(law, str):
            assert row.initializer == law, row.path
        else:
            expected = law(row.path) if callable(law) else law
            assert row.expected == pytest.approx(expected, rel=1e-4), row.path
    assert len(used) > 1


def test_a_model_is_drawn_so() -> None:
    """What `explain` promises, measured; and the depth of a layer, by path and along an axis."""
    kernel = {"kernel": jax.ShapeDtypeStruct((60, 60), "float32")}
    abstract = {f"h_{i}": {"mlp": {"linear1": kernel, "linear2": kernel}} for i in range(3)}
    paths = dict.fromkeys(naming.flax.GPT2) | {
        role: naming.flax.GPT2[role] for role in ("residual", "kernel")
    }
    drawn = initialize(abstract, presets.gpt2(50, paths), KEY)
    for row in presets.gpt2(50, paths).explain(drawn).rows:
        law = 0.002 if "linear2" in row.path else 0.02
        assert row.measured == pytest.approx(law, rel=5 / (2 * 3600) ** 0.5), row.path
    none = dict.fromkeys(naming.authors.LLAMA)
    rules = presets.llama(paths={**none, "residual": "**/wo"}, stacked=0)
    stack = initialize({"wo": jax.ShapeDtypeStruct((3, 60, 60), "float32")}, rules, KEY)["wo"]
    spread = np.asarray(stack.std(axis=(1, 2))) * np.sqrt(2 * np.arange(1, 4)) / 0.02
    np.testing.assert_allclose(spread, 1, atol=5 / (2 * 3600) ** 0.5)


def test_axes_of_a_naming() -> None:
    """A kernel the other way round has the fans of its axes, in composed laws and by depth too."""
    none = dict.fromkeys(naming.authors.MAMBA)
    rules = presets.mamba(LAYERS, {**none, "residual": ("**/w", "bi,oi->bo")})
    row = rules.explain({"w": jax.ShapeDtypeStruct((7, 300), "float32")}).rows[0]
    assert row.expected == pytest.approx(uniform(300) / math.sqrt(LAYERS), rel=1e-4)
    law = jaxinit.by_depth(lambda i: jaxinit.lecun_normal() * (i + 1.0))
    deep = presets.recipe.arrange("deep", {"kernel": law}, {"kernel": ("**/w", "bi,oi->bo")})
    row = deep.explain({"h_1": {"w": jax.ShapeDtypeStruct((7, 300), "float32")}}).rows[0]
    assert row.expected == pytest.approx(2 / 300**0.5, rel=1e-4)


def test_timm_s_grouped_convolutions() -> None:
    shape = (3, 3, 1, 64)
    law = jaxinit.variance_scaling(2.0, "fan_out", "normal", fan=9)
    ours = presets.timm.efficientnet_conv_kernel(groups=64)
    np.testing.assert_array_equal(ours(KEY, shape), law(KEY, shape))
    head = presets.timm.efficientnet_head_kernel()(KEY, (3, 10000))
    assert 0.0099 < abs(head).max() < 0.01


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (
            lambda: untyped.gpt2(2, {k: v for k, v in hf.GPT2.items() if k != "residual"}),
            ValueError,
            r"no 'residual', which gpt2 needs: .* None if the model has no such .* 'embedding', ",
        ),
        (
            lambda: untyped.gpt2(2, {**hf.GPT2, "residuals": "**/x"}),
            ValueError,
            r"role of gpt2='residuals' is none of .*; did you mean 'residual'\?",
        ),
        (lambda: untyped.gpt2(2, "**/kernel"), TypeError, r"paths='\*\*/kernel' is a str"),
        (lambda: untyped.bert({**hf.BERT, "bias": 3}), TypeError, "bias: 3 is no pattern"),
        (
            lambda: untyped.bert({**hf.BERT, "kernel": ("**", "dense")}),
            ValueError,
            "kernel: axes='dense' is not an einsum",
        ),
        (lambda: untyped.gpt2(0), ValueError, "layers=0 is less than 1"),
        (lambda: untyped.t5(0), ValueError, "features=0 is less than 1"),
        (lambda: untyped.t5(8, 0), ValueError, "head_size=0 is less than 1"),
        (lambda: untyped.mamba(0), ValueError, "layers=0 is less than 1"),
        (lambda: untyped.clip(0), ValueError, "text_layers=0 is less than 1"),
        (lambda: untyped.vit("jaxx"), ValueError, "mode='jaxx' is none of .*did you mean 'jax'"),
        (lambda: untyped.llama("meta"), ValueError, "mode='meta' is none of 'torchtitan'"),
        (lambda: untyped.deepnet(), ValueError, "encoder_layers=0 and decoder_layers=0"),
        (lambda: untyped.torch.linear_bias(0), ValueError, "fan_in=0 is less than 1"),
        (lambda: untyped.torch.lstm_kernel(0.5), TypeError, "hidden=0.5 is not a whole number"),
        (lambda: untyped.haiku.lstm_bias("ifg"), ValueError, "order='ifg' does not name each"),
        (
            lambda: untyped.keras.depthwise_kernel(2)(KEY, (3, 3, 1, 5)),
            ValueError,
            r"shape \(3, 3, 1, 5\) is not that of a depthwise kernel with multiplier=2",
        ),
        (
            lambda: untyped.torch.conv_kernel(1)(KEY, (3, 3, 4, 5)),
            ValueError,
            "of a 3-D kernel and shape",
        ),
    ],
    ids=range(18),
)
def test_bad_input(call: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()


def test_presets_load_when_they_are_named() -> None:
    script = (
        "import sys, jaxinit;"
        "assert not [m for m in sys.modules if m.startswith('jaxinit.presets')];"
        "assert jaxinit.presets.torch.linear_kernel();"
        "assert not {'flax', 'torch', 'keras', 'haiku', 'equinox', 'timm'} & set(sys.modules);"
        "import jaxinit.presets as presets; assert presets is jaxinit.presets;"
        "assert not hasattr(jaxinit, 'preset')"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
