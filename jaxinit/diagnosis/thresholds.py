"""Where healthy ends: every threshold of a diagnosis, and why it is there."""

import math
from collections.abc import Iterable

# One learning rate moves each layer by about 1e-3 of its weights a step. Layers whose signals are
# two orders of magnitude apart are moved by 1e-1, which breaks, or by 1e-5, which is nothing.
RATIO = 100.0

# A layer that multiplies a signal by less than this part of the mean factor, in logarithms, is not
# what makes it vanish or explode.
SHARE = 0.25

# An update of 1e-3 of the weights is the rule of thumb, and RATIO under it is far: 1e5 steps to
# change a weight by its own size.
SLOW = 1e-3 / RATIO

# The gradient of weights that are shared by steps is a sum over them. What is smaller than the
# largest term by the resolution of float32 is rounded away, and nothing is learned from it.
ROUNDED = 2.0**-23

# Of examples with mean cosine c the Gram matrix has the condition (1 + (n - 1) c) / (1 - c): what
# tells them apart is learned 1 / (1 - c) times later than their mean. A ReLU network at the edge
# of chaos has 1 - c = (3π / √2 l)² after l layers: this is reached after two hundred.
PARALLEL = 1e-3

# An order of magnitude more parallel at the last layer than at the first has grown with depth.
GROWN = 10.0

# What a cosine computed in float32 tells apart from 1, with a few bits lost to the sum.
RESOLVED = 2.0**-20

# On an input that is given, a unit of symmetric weights and no bias is negative with probability
# 1/2: on a batch, of whatever correlation, no more than half are dead, but for chance.
DEAD = 0.5

# More than half of the inputs of an activation are where it passes under a twentieth of the
# gradient: so does the median unit.
FLAT = 0.5
SLOPE = 0.05

# Weights of attention that differ from uniform by less than bfloat16 resolves, δ = 2⁻⁸ relative,
# are uniform: their entropy misses its maximum by δ² / 2 nats.
UNIFORM = 2.0**-17

# A softmax whose largest weight is 1 - SLOPE passes a twentieth of the gradient. Spread evenly
# over 64 tokens, the rest makes the entropy a tenth of its maximum.
ONE_HOT = 0.1

# Logits of variance v, independent of the labels, cost v / 2 nats over chance: a head that keeps
# unit variance 1/2, He's 1. At 2 nats the right class gets e⁻² of the probability it has by chance.
CHANCE = 2.0
# Of the input of a head that keeps variance, whose logits then cost CHANCE.
LOUD = math.sqrt(2 * CHANCE)

# Units that differ are equal to five digits in four projections with probability 1e-20.
TWIN = 1e-5
# A pair in a layer of 512 does no harm: one in a hundred units does.
TWINS = 0.01

# Gradient descent on a quadratic of curvature λ multiplies the error by 1 - ηλ each step.
DIVERGES = 2.0

# So many standard deviations of chance are no symptom: one layer in 30,000 passes them.
SIGMAS = 4.0


def dead(units: int) -> float:
    """The largest share of dead units that chance makes, of so many independent ones."""
    return min(DEAD + SIGMAS * math.sqrt(DEAD * (1 - DEAD) / units), 1 - 1e-9)


def ratio(widths: Iterable[int]) -> float:
    """The largest ratio of the signal of the last layer to that of the first, either way.

    At finite width the logarithm of the squared length of a signal walks at random, by a variance
    of 5 / n a ReLU layer of width n, however right the scale is.

    Args:
        widths: of the layers between.

    Reference:
        Hanin, Nica, "Products of Many Large Random Matrices and Gradients in Deep Neural
        Networks", 2018, arXiv:1812.05994, theorem 1.
    """
    return RATIO * math.exp(SIGMAS * _walk(widths) / 2)


def parallel(widths: Iterable[int]) -> float:
    """The smallest 1 - c that is healthy, of layers of some widths between.

    The difference of two signals walks at random as a signal does, and 1 - c is the square of its
    length over theirs.

    Args:
        widths: of the layers.
    """
    return max(PARALLEL * math.exp(-SIGMAS * _walk(widths)), RESOLVED)


def _walk(widths: Iterable[int]) -> float:
    """The standard deviation of the logarithm of a squared length after layers of some widths."""
    return math.sqrt(sum(5 / max(n, 1) for n in widths))
