"""The tour: one deep network from every kind of start, measured before and after it trains.

A network of `depth` hidden layers computes z = W h + b and h = act(z) from layer to layer. Before
training, on one batch of digits:

- the forward signal of a layer is the root mean square of its h;
- the backward signal of a layer is the root mean square of the loss's gradient by its z;
- a unit is dead when that gradient is zero for every digit, so that no weight into it moves;
- a unit has a twin when another unit of its layer has the same z and the same gradient for every
  digit, so that the two get the same update.

Zero and same mean to the rounding of float32.
"""

from jaxinit.tour.experiment import Row as Row
from jaxinit.tour.experiment import Settings as Settings
from jaxinit.tour.experiment import experiment as experiment
from jaxinit.tour.figure import figure as figure
from jaxinit.tour.report import report as report
from jaxinit.tour.verdict import verdict as verdict
