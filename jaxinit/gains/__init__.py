"""The theory of signal propagation: moments of an activation, and what depth makes of a signal."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from jaxinit._lazy import lazy as _lazy
from jaxinit.gains.names import Activation as Activation
from jaxinit.gains.names import activation as activation
from jaxinit.gains.names import parameter as parameter
from jaxinit.gains.scale import Moment as Moment
from jaxinit.gains.scale import Moments as Moments
from jaxinit.gains.scale import Tangent as Tangent
from jaxinit.gains.scale import gain as gain
from jaxinit.gains.scale import moments as moments
from jaxinit.gains.scale import tangent as tangent

if _TYPE_CHECKING:
    from jaxinit.gains.criticality import Criticality as Criticality
    from jaxinit.gains.criticality import DepthScales as DepthScales
    from jaxinit.gains.criticality import critical as critical
    from jaxinit.gains.criticality import depth_scales as depth_scales
    from jaxinit.gains.criticality import fixed_point as fixed_point
    from jaxinit.gains.maps import correlation_map as correlation_map
    from jaxinit.gains.maps import length_map as length_map
    from jaxinit.gains.maps import susceptibility as susceptibility
    from jaxinit.gains.phases import PhaseDiagram as PhaseDiagram
    from jaxinit.gains.phases import phase_diagram as phase_diagram
    from jaxinit.gains.shaping import Shaped as Shaped
    from jaxinit.gains.shaping import dks as dks
    from jaxinit.gains.shaping import tat as tat
else:
    __getattr__, __dir__ = _lazy(
        __name__,
        {
            **dict.fromkeys(
                ("Criticality", "DepthScales", "critical", "depth_scales", "fixed_point"),
                "jaxinit.gains.criticality",
            ),
            **dict.fromkeys(
                ("correlation_map", "length_map", "susceptibility"), "jaxinit.gains.maps"
            ),
            **dict.fromkeys(("PhaseDiagram", "phase_diagram"), "jaxinit.gains.phases"),
            **dict.fromkeys(("Shaped", "dks", "tat"), "jaxinit.gains.shaping"),
        },
    )
