"""Any JAX function, observed: the signal at every layer, forward and backward, in one run."""

from jaxinit.capture.observers import combined as combined
from jaxinit.capture.observers import entropy as entropy
from jaxinit.capture.observers import examples as examples
from jaxinit.capture.observers import moments as moments
from jaxinit.capture.observers import slopes as slopes
from jaxinit.capture.observers import statistics as statistics
from jaxinit.capture.observers import units as units
from jaxinit.capture.sites import Activation as Activation
from jaxinit.capture.sites import Kernel as Kernel
from jaxinit.capture.sites import Observer as Observer
from jaxinit.capture.sites import Site as Site
from jaxinit.capture.sites import Slice as Slice
from jaxinit.capture.sites import Unobserved as Unobserved
from jaxinit.capture.tracing import Observation as Observation
from jaxinit.capture.tracing import Trace as Trace
from jaxinit.capture.tracing import trace as trace
