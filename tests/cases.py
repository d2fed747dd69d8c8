"""One row for every public initializer: what the contract tests run over."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxinit
from jaxinit import Bound, Initializer, Spec, part
from jaxinit._initializer import Factory


@dataclass(frozen=True)
class Case:
    """An initializer and what its law allows."""

    name: str
    init: Bound
    shape: tuple[int, ...] = (24, 16)
    scalar: bool = False
    complex: bool = True
    random: bool = True
    tolerance: float = 0.0  # between shardings: 0 is bit for bit
    fused: bool = True  # one kernel, if it is random: false for laws that sort, solve or multiply
    empty: bool = True  # any axis may have no entries
    sharded: tuple[int, ...] | None = None  # a shape whose last axes divide by 8, where it is fixed
    dtype: str | None = None  # of the weights, where it is not that of the call

    @property
    def elementwise(self) -> bool:
        return self.random and self.fused and not self.tolerance

    def __str__(self) -> str:
        return repr(self.init)


def _fan(name: str, **arguments: Any) -> Case:
    return Case(name, getattr(jaxinit, name)(**arguments))


CASES = (
    Case("zeros", jaxinit.zeros, scalar=True, random=False),
    Case("ones", jaxinit.ones, scalar=True, random=False),
    Case("zeros_init", jaxinit.zeros_init(), scalar=True, random=False),
    Case("ones_init", jaxinit.ones_init(), scalar=True, random=False),
    Case("constant", jaxinit.constant(0.3), scalar=True, random=False),
    Case("identity", jaxinit.identity(0.7), random=False),
    Case(
        "identity", jaxinit.identity(in_axis=-3, batch_axis=-2), shape=(3, 8, 4, 16), random=False
    ),
    Case("linspace", jaxinit.linspace(-0.3, 1.7, 0), random=False),
    Case(
        "from_array",
        jaxinit.from_array(tuple(range(16)), ((0, 16, 2),)),
        shape=(8,),
        random=False,
        empty=False,
    ),
    Case("prior_bias", jaxinit.prior_bias(0.01), scalar=True, random=False),
    Case(
        "class_prior_bias",
        jaxinit.class_prior_bias(tuple(range(1, 9))),
        shape=(8,),
        random=False,
        empty=False,
    ),
    Case("dirac", jaxinit.dirac(2), shape=(3, 8, 16), random=False),
    Case("shift", jaxinit.shift(-3), shape=(16, 16), random=False, empty=False),
    Case("hadamard_zero", jaxinit.hadamard_zero(), shape=(16, 24), random=False),
    Case("idinit", jaxinit.idinit(0.7), shape=(2, 8, 24), random=False),
    Case("idinit_zero", jaxinit.idinit_zero(), shape=(2, 8, 24), random=False),
    Case("bilinear", jaxinit.bilinear(), shape=(4, 8, 8), random=False, empty=False),
    Case("sinusoidal", jaxinit.sinusoidal(), random=False),
    Case("alibi_slopes", jaxinit.alibi_slopes(), shape=(24,), random=False),
    Case("rotary_frequencies", jaxinit.rotary_frequencies(), shape=(16,), random=False),
    Case("dct", jaxinit.dct(), random=False, empty=False),
    Case("dft", jaxinit.dft(part="imag"), random=False, empty=False),
    Case("stft", jaxinit.stft(part="real"), shape=(8, 8), random=False, empty=False),
    Case("uniform", jaxinit.uniform(0.4), scalar=True, complex=False),
    Case("normal", jaxinit.normal(0.02), scalar=True),
    Case("normal", jaxinit.normal(0.02, mean=0.1), scalar=True),
    Case("truncated_normal", jaxinit.truncated_normal(0.5), scalar=True, complex=False),
    Case(
        "truncated_normal",
        jaxinit.truncated_normal(0.5, None, -0.5, 3.0),
        scalar=True,
        complex=False,
    ),
    Case("uniform_between", jaxinit.uniform_between(-0.1, 0.4), scalar=True, complex=False),
    Case("laplace", jaxinit.laplace(0.1), scalar=True, complex=False),
    Case("student_t", jaxinit.student_t(5.0, 0.1), scalar=True),
    Case("rademacher", jaxinit.rademacher(0.3), scalar=True),
    Case("ternary", jaxinit.ternary(0.2, 0.3), scalar=True, complex=False),
    Case("sparse", jaxinit.sparse(5), shape=(3, 8, 16)),
    Case("low_discrepancy", jaxinit.low_discrepancy()),
    Case("embedding", jaxinit.embedding(padding_id=-2)),
    Case("siren", jaxinit.siren()),
    Case("fourier_features", jaxinit.fourier_features(10.0), scalar=True),
    Case("finer_bias", jaxinit.finer_bias(5.0), shape=(16,), scalar=True),
    Case("hash_grid", jaxinit.hash_grid(), scalar=True),
    *(
        Case("variance_scaling", jaxinit.variance_scaling(1.5, mode, distribution))
        for mode in ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
        for distribution in ("truncated_normal", "normal", "uniform")
    ),
    _fan("glorot_normal"),
    _fan("glorot_uniform"),
    _fan("xavier_normal", out_axis=(-1,)),
    Case("xavier_uniform", jaxinit.xavier_uniform(0, (1, 2), 3), shape=(8, 2, 4, 3)),
    _fan("he_normal", negative_slope=0.2),
    _fan("he_uniform"),
    _fan("kaiming_normal"),
    _fan("kaiming_uniform", in_axis=-1, out_axis=-2),
    _fan("lecun_normal"),
    _fan("lecun_uniform"),
    _fan("for_activation", fn="leaky_relu", mode="fan_out", negative_slope=0.2),
    _fan("kumar", fn="sigmoid", distribution="uniform"),
    _fan("random_walk"),
    _fan("spectral"),
    Case("ntk", jaxinit.ntk(), scalar=True),
    Case("small", jaxinit.small(64), scalar=True),
    Case("wang", jaxinit.wang(64, 12), scalar=True),
    Case("orthogonal", jaxinit.orthogonal(), shape=(160, 96), tolerance=1e-5),
    Case("orthogonal", jaxinit.orthogonal(0.5, 0), shape=(16, 8, 4), tolerance=1e-5),
    Case("orthogonal", jaxinit.orthogonal(batch_axis=0), shape=(8, 16, 24), tolerance=1e-5),
    Case("special_orthogonal", jaxinit.special_orthogonal(), (16, 16), tolerance=1e-5, empty=False),
    Case("scaled_orthogonal", jaxinit.scaled_orthogonal(0.5), (3, 2, 8, 16), tolerance=1e-5),
    Case("spectrum", jaxinit.spectrum(0.5), tolerance=1e-5),
    Case("low_rank", jaxinit.low_rank(3, 0.1), tolerance=1e-5),
    Case("permutation", jaxinit.permutation(), (16, 16), fused=False, empty=False),
    Case("reservoir", jaxinit.reservoir(0.9, 0.2), (16, 16), tolerance=1e-5, empty=False),
    Case("circulant", jaxinit.circulant(jaxinit.he_normal()), (16, 16), fused=False, empty=False),
    Case("toeplitz", jaxinit.toeplitz(jaxinit.he_normal()), fused=False),
    Case("symmetric", jaxinit.symmetric(jaxinit.he_normal()), (16, 16), fused=False, empty=False),
    Case(
        "antisymmetric",
        jaxinit.antisymmetric(jaxinit.he_normal()),
        (16, 16),
        fused=False,
        empty=False,
    ),
    Case("unit_norm", jaxinit.unit_norm(), tolerance=1e-5),
    Case("unit_rows", jaxinit.unit_rows(jaxinit.he_normal()), tolerance=1e-5),
    Case("depth_scaled", jaxinit.depth_scaled(jaxinit.he_normal(), 12)),
    Case("layer_scaled", jaxinit.layer_scaled(jaxinit.he_normal(), 3)),
    Case("layer_scale", jaxinit.layer_scale(depth=24), scalar=True, random=False),
    Case("fixup", jaxinit.fixup(16, 3)),
    Case(
        "looks_linear",
        jaxinit.looks_linear(jaxinit.he_normal()),
        (16, 16),
        fused=False,
        empty=False,
    ),
    _fan("t_fixup", role="value", layers=6, side="encoder"),
    _fan("deepnorm", role="output", encoder_layers=12, decoder_layers=6, side="encoder"),
    _fan("sub_ln", role="ffn", decoder_layers=24),
    Case("switch", jaxinit.switch(), shape=(4, 8, 16)),
    Case("mimetic", jaxinit.mimetic(), shape=(2, 16, 2, 8), tolerance=1e-5, empty=False),
    Case("scaled", jaxinit.he_normal() * 0.3),
    Case("scaled", jaxinit.scaled(jaxinit.orthogonal(), -2.0), shape=(16, 8), tolerance=1e-5),
    Case("added", jaxinit.normal(0.1) + jaxinit.identity(0.5)),
    Case("blocks", jaxinit.blocks(jaxinit.he_normal(), n=2)),
    Case(
        "blocks",
        jaxinit.blocks(jaxinit.he_normal(), jaxinit.identity(), axis=0, sizes=(8, 16)),
        fused=False,
        empty=False,
    ),
    Case("block_diagonal", jaxinit.block_diagonal(jaxinit.he_normal(), 4)),
    Case("stacked", jaxinit.stacked(jaxinit.he_normal()), shape=(3, 8, 16)),
    Case(
        "layered",
        jaxinit.layered(jaxinit.he_normal(), jaxinit.he_normal() * 0.5),
        shape=(2, 8, 16),
        empty=False,
    ),
    Case("tiled", jaxinit.tiled(jaxinit.he_normal(), 2)),
    Case("mirrored", jaxinit.mirrored(jaxinit.he_normal(), 0)),
    Case("transposed", jaxinit.transposed(jaxinit.he_normal())),
    Case("reshaped", jaxinit.reshaped(jaxinit.he_normal(), (8, -1))),
    Case(
        "masked",
        jaxinit.masked(jaxinit.he_normal(), 16 * (0, 1)),
        (8, 32),
        fused=False,
        empty=False,
    ),
    Case("sparsified", jaxinit.sparsified(jaxinit.he_normal(), 0.5, 0)),
    Case("clipped", jaxinit.clipped(jaxinit.normal(1.0), -0.5, 1.0), scalar=True, complex=False),
    Case("mixture", jaxinit.mixture((jaxinit.normal(0.1), jaxinit.ones), (0.7, 0.3)), scalar=True),
    Case("dale", jaxinit.dale(jaxinit.he_normal()), complex=False),
    Case("centered", jaxinit.centered(jaxinit.normal(0.1), 0), tolerance=1e-5),
    Case("standardized", jaxinit.standardized(jaxinit.normal(0.1), 0), tolerance=1e-5),
    Case("normalized", jaxinit.normalized(jaxinit.normal(0.1), -1), tolerance=1e-5),
    Case("spectral_normalized", jaxinit.spectral_normalized(jaxinit.normal(0.1)), tolerance=1e-5),
    Case(
        "with_dtype",
        jaxinit.with_dtype(jaxinit.normal(0.1), "bfloat16"),
        scalar=True,
        complex=False,
        dtype="bfloat16",
    ),
    Case("with_sharding", jaxinit.with_sharding(jaxinit.he_normal(), None)),
    Case("delta_orthogonal", jaxinit.delta_orthogonal(2.0), shape=(3, 2, 8, 16), tolerance=1e-5),
    Case("conv_orthogonal", jaxinit.conv_orthogonal(), shape=(3, 8, 16), tolerance=1e-5),
    Case("icnr", jaxinit.icnr(jaxinit.he_normal(), 2), shape=(3, 2, 8, 16), fused=False),
    Case("gabor", jaxinit.gabor(), shape=(5, 3, 8, 16), random=False, empty=False),
    Case("gabor", jaxinit.gabor(phase="random"), shape=(5, 3, 8, 16), empty=False),
    Case("np_rnn", jaxinit.np_rnn(), (16, 16), tolerance=1e-5, empty=False),
    Case("gates", jaxinit.gates(jaxinit.lecun_normal(), 4)),
    Case("gate_bias", jaxinit.gate_bias((0, 1, 0, 0)), (32,), random=False),
    Case("chrono_bias", jaxinit.chrono_bias(100), (32,), complex=False, fused=False),
    Case("hippo", jaxinit.hippo("legs"), (16, 16), random=False, empty=False),
    Case("hippo_input", jaxinit.hippo_input("fout", axis=-2), random=False),
    Case("hippo_dplr", jaxinit.hippo_dplr("input", half=True), random=False),
    Case("s4d", jaxinit.s4d("real"), random=False),
    Case("s4d", jaxinit.s4d("rand", "imag")),
    Case("log_step", jaxinit.log_step(), scalar=True, complex=False),
    Case("inverse_softplus_step", jaxinit.inverse_softplus_step(), scalar=True, complex=False),
    Case("mamba_dt_kernel", jaxinit.mamba_dt_kernel()),
    Case("mamba_a_log", jaxinit.mamba_a_log(), random=False),
    Case("mamba2_a_log", jaxinit.mamba2_a_log(1, 16), scalar=True, complex=False),
    Case("lru_nu", jaxinit.lru_nu(0.5, 0.99), scalar=True, complex=False),
    Case("lru_gamma", jaxinit.lru_gamma(0.5, 0.99), scalar=True, complex=False),
    Case("lru_theta", jaxinit.lru_theta(0.5), scalar=True, complex=False),
    Case("rwkv_decay", jaxinit.rwkv_decay(7, 3, 12, head_size=8), random=False),
)


def public_initializers() -> Iterator[str]:
    """Names that jaxinit exports for a factory of initializers, or for one."""
    for name, value in vars(jaxinit).items():
        called = isinstance(value, Factory | FunctionType)
        made = called and inspect.signature(value, eval_str=True).return_annotation
        if isinstance(value, Bound) or made is Initializer:
            yield name


def wide_dtypes(case: Case) -> list[Any]:
    """The dtypes in which a law computes, without 64-bit ones."""
    return [jnp.float32, jnp.complex64] if case.complex else [jnp.float32]


def _programs(case: Case) -> tuple[Any, ...]:
    """What is compiled for a row in each dtype: all but its numbers."""
    specs = (Spec(case.shape, np.dtype(dtype)) for dtype in wide_dtypes(case))
    return tuple(part(case.init, spec).program for spec in specs)


_CORE = ("zeros", "constant", "normal", "uniform", "truncated_normal", "he_normal", "orthogonal")
# One row a program: what a compiler may change is tried once for laws that differ in numbers alone.
_rows = {_programs(case): case for case in sorted(CASES, key=lambda case: case.name in _CORE)}
PROGRAMS = tuple(case for case in CASES if case in _rows.values())
# What is one for all laws is tried in full on these: narrow dtypes, kinds of keys, partitions.
CORE = tuple({case.name: case for case in reversed(PROGRAMS) if case.name in _CORE}.values())


def representative(case: Case) -> Case:
    """The row of PROGRAMS that stands for a row."""
    return _rows[_programs(case)]


NARROW = [
    jnp.bfloat16,
    jnp.float16,
    *(
        getattr(jnp, name)
        for name in sorted(vars(jnp))
        if name.startswith(("float8_", "float4_")) and name != "float8_e8m0fnu"
    ),
]


def bits(x: jax.Array) -> np.ndarray[Any, Any]:
    """The bytes of an array, so that equality is of bits: -0.0 is not 0.0."""
    return np.frombuffer(np.asarray(x).tobytes(), np.uint8)
