"""Weight initializers for JAX: right in every dtype, on every mesh, and fast."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from jaxinit import gains as gains
from jaxinit import random as random
from jaxinit._draw import Draw as Draw
from jaxinit._draw import Part as Part
from jaxinit._draw import Spec as Spec
from jaxinit._draw import derive as derive
from jaxinit._draw import fill as fill
from jaxinit._draw import sample as sample
from jaxinit._initializer import Bound as Bound
from jaxinit._initializer import Initializer as Initializer
from jaxinit._initializer import initializer as initializer
from jaxinit._initializer import part as part
from jaxinit._lazy import lazy as _lazy
from jaxinit.activation import for_activation as for_activation
from jaxinit.activation import kumar as kumar
from jaxinit.activation import random_walk as random_walk
from jaxinit.algebra import added as added
from jaxinit.algebra import scaled as scaled
from jaxinit.axes import Axes as Axes
from jaxinit.axes import Fans as Fans
from jaxinit.batched import batched as batched
from jaxinit.compose import block_diagonal as block_diagonal
from jaxinit.compose import blocks as blocks
from jaxinit.compose import centered as centered
from jaxinit.compose import clipped as clipped
from jaxinit.compose import dale as dale
from jaxinit.compose import layered as layered
from jaxinit.compose import masked as masked
from jaxinit.compose import mirrored as mirrored
from jaxinit.compose import mixture as mixture
from jaxinit.compose import normalized as normalized
from jaxinit.compose import reshaped as reshaped
from jaxinit.compose import sparsified as sparsified
from jaxinit.compose import spectral_normalized as spectral_normalized
from jaxinit.compose import stacked as stacked
from jaxinit.compose import standardized as standardized
from jaxinit.compose import tiled as tiled
from jaxinit.compose import transposed as transposed
from jaxinit.compose import with_axes as with_axes
from jaxinit.compose import with_dtype as with_dtype
from jaxinit.compose import with_sharding as with_sharding
from jaxinit.constant import class_prior_bias as class_prior_bias
from jaxinit.constant import constant as constant
from jaxinit.constant import from_array as from_array
from jaxinit.constant import linspace as linspace
from jaxinit.constant import ones as ones
from jaxinit.constant import ones_init as ones_init
from jaxinit.constant import prior_bias as prior_bias
from jaxinit.constant import zeros as zeros
from jaxinit.constant import zeros_init as zeros_init
from jaxinit.conv import conv_orthogonal as conv_orthogonal
from jaxinit.conv import delta_orthogonal as delta_orthogonal
from jaxinit.decay import lru_gamma as lru_gamma
from jaxinit.decay import lru_nu as lru_nu
from jaxinit.decay import lru_theta as lru_theta
from jaxinit.decay import mamba2_a_log as mamba2_a_log
from jaxinit.decay import mamba_a_log as mamba_a_log
from jaxinit.decay import rwkv_decay as rwkv_decay
from jaxinit.depth import depth_scaled as depth_scaled
from jaxinit.depth import fixup as fixup
from jaxinit.depth import layer_scale as layer_scale
from jaxinit.depth import layer_scaled as layer_scaled
from jaxinit.depth import looks_linear as looks_linear
from jaxinit.embedding import embedding as embedding
from jaxinit.filters import gabor as gabor
from jaxinit.filters import icnr as icnr
from jaxinit.gains import gain as gain
from jaxinit.identity import dirac as dirac
from jaxinit.identity import hadamard_zero as hadamard_zero
from jaxinit.identity import identity as identity
from jaxinit.identity import idinit as idinit
from jaxinit.identity import idinit_zero as idinit_zero
from jaxinit.identity import shift as shift
from jaxinit.iid import laplace as laplace
from jaxinit.iid import normal as normal
from jaxinit.iid import rademacher as rademacher
from jaxinit.iid import student_t as student_t
from jaxinit.iid import ternary as ternary
from jaxinit.iid import truncated_normal as truncated_normal
from jaxinit.iid import uniform as uniform
from jaxinit.iid import uniform_between as uniform_between
from jaxinit.implicit import finer_bias as finer_bias
from jaxinit.implicit import fourier_features as fourier_features
from jaxinit.implicit import hash_grid as hash_grid
from jaxinit.implicit import siren as siren
from jaxinit.low_discrepancy import low_discrepancy as low_discrepancy
from jaxinit.orthogonal import orthogonal as orthogonal
from jaxinit.patterns import antisymmetric as antisymmetric
from jaxinit.patterns import circulant as circulant
from jaxinit.patterns import symmetric as symmetric
from jaxinit.patterns import toeplitz as toeplitz
from jaxinit.positions import alibi_slopes as alibi_slopes
from jaxinit.positions import rotary_frequencies as rotary_frequencies
from jaxinit.positions import sinusoidal as sinusoidal
from jaxinit.recurrent import chrono_bias as chrono_bias
from jaxinit.recurrent import gate_bias as gate_bias
from jaxinit.recurrent import gates as gates
from jaxinit.recurrent import np_rnn as np_rnn
from jaxinit.reservoir import reservoir as reservoir
from jaxinit.scaling import glorot_normal as glorot_normal
from jaxinit.scaling import glorot_uniform as glorot_uniform
from jaxinit.scaling import he_normal as he_normal
from jaxinit.scaling import he_uniform as he_uniform
from jaxinit.scaling import kaiming_normal as kaiming_normal
from jaxinit.scaling import kaiming_uniform as kaiming_uniform
from jaxinit.scaling import lecun_normal as lecun_normal
from jaxinit.scaling import lecun_uniform as lecun_uniform
from jaxinit.scaling import variance_scaling as variance_scaling
from jaxinit.scaling import xavier_normal as xavier_normal
from jaxinit.scaling import xavier_uniform as xavier_uniform
from jaxinit.sparse import sparse as sparse
from jaxinit.sphere import unit_norm as unit_norm
from jaxinit.sphere import unit_rows as unit_rows
from jaxinit.ssm import hippo as hippo
from jaxinit.ssm import hippo_dplr as hippo_dplr
from jaxinit.ssm import hippo_input as hippo_input
from jaxinit.ssm import s4d as s4d
from jaxinit.steps import inverse_softplus_step as inverse_softplus_step
from jaxinit.steps import log_step as log_step
from jaxinit.steps import mamba_dt_kernel as mamba_dt_kernel
from jaxinit.structured import low_rank as low_rank
from jaxinit.structured import permutation as permutation
from jaxinit.structured import scaled_orthogonal as scaled_orthogonal
from jaxinit.structured import special_orthogonal as special_orthogonal
from jaxinit.structured import spectrum as spectrum
from jaxinit.transformer import deepnorm as deepnorm
from jaxinit.transformer import deepnorm_alpha as deepnorm_alpha
from jaxinit.transformer import mimetic as mimetic
from jaxinit.transformer import sub_ln as sub_ln
from jaxinit.transformer import switch as switch
from jaxinit.transformer import t_fixup as t_fixup
from jaxinit.transforms import dct as dct
from jaxinit.transforms import dft as dft
from jaxinit.transforms import stft as stft
from jaxinit.upsampling import bilinear as bilinear
from jaxinit.width import ntk as ntk
from jaxinit.width import small as small
from jaxinit.width import spectral as spectral
from jaxinit.width import wang as wang

if _TYPE_CHECKING:
    from jaxinit import capture as capture
    from jaxinit import data as data
    from jaxinit import flax as flax
    from jaxinit import presets as presets
    from jaxinit.advice import recommend as recommend
    from jaxinit.diagnosis import diagnose as diagnose
    from jaxinit.report import describe as describe
    from jaxinit.rules import Rules as Rules
    from jaxinit.rules import by_depth as by_depth
    from jaxinit.rules import joint as joint
    from jaxinit.trees import initialize as initialize
    from jaxinit.trees import reinitialize as reinitialize
else:
    __getattr__, __dir__ = _lazy(
        __name__,
        {
            "capture": "jaxinit.capture",
            "data": "jaxinit.data",
            "describe": "jaxinit.report",
            "diagnose": "jaxinit.diagnosis",
            "flax": "jaxinit.flax",
            "presets": "jaxinit.presets",
            "recommend": "jaxinit.advice",
            **dict.fromkeys(("Rules", "by_depth", "joint"), "jaxinit.rules"),
            **dict.fromkeys(("initialize", "reinitialize"), "jaxinit.trees"),
        },
    )

__version__ = "0.1.0"
