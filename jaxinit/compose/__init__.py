"""Combinators: initializers made of initializers."""

from jaxinit.compose.context import with_axes as with_axes
from jaxinit.compose.context import with_dtype as with_dtype
from jaxinit.compose.context import with_sharding as with_sharding
from jaxinit.compose.entries import clipped as clipped
from jaxinit.compose.entries import dale as dale
from jaxinit.compose.entries import masked as masked
from jaxinit.compose.entries import mixture as mixture
from jaxinit.compose.entries import sparsified as sparsified
from jaxinit.compose.layered import layered as layered
from jaxinit.compose.layout import block_diagonal as block_diagonal
from jaxinit.compose.layout import blocks as blocks
from jaxinit.compose.layout import mirrored as mirrored
from jaxinit.compose.layout import reshaped as reshaped
from jaxinit.compose.layout import stacked as stacked
from jaxinit.compose.layout import tiled as tiled
from jaxinit.compose.layout import transposed as transposed
from jaxinit.compose.spectral import spectral_normalized as spectral_normalized
from jaxinit.compose.statistics import centered as centered
from jaxinit.compose.statistics import normalized as normalized
from jaxinit.compose.statistics import standardized as standardized
