"""The theory of signal propagation: moments of an activation, and what depth makes of a signal."""

from jaxinit.gains.names import Activation as Activation
from jaxinit.gains.names import activation as activation
from jaxinit.gains.names import parameter as parameter
from jaxinit.gains.scale import Moment as Moment
from jaxinit.gains.scale import Moments as Moments
from jaxinit.gains.scale import Tangent as Tangent
from jaxinit.gains.scale import gain as gain
from jaxinit.gains.scale import moments as moments
from jaxinit.gains.scale import tangent as tangent
