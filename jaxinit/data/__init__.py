"""Initialization that data decides: pure functions of (apply_fn, params, batch), for any model.

>>> import jax, jaxinit
>>> def apply(params, x):
...     return jax.numpy.tanh(x @ params["kernel"])
>>> x = 5 * jax.random.normal(jax.random.key(0), (256, 8))
>>> params = jaxinit.data.lsuv(apply, {"kernel": jax.numpy.ones((8, 8))}, x, jax.random.key(1))
>>> print(f"{(x @ params['kernel']).var():.3f}")
1.000
"""

from jaxinit.data.autoinit import autoinit as autoinit
from jaxinit.data.calibration import Calibration as Calibration
from jaxinit.data.first_batch import actnorm as actnorm
from jaxinit.data.first_batch import weight_norm as weight_norm
from jaxinit.data.gradinit import gradinit as gradinit
from jaxinit.data.krahenbuhl import krahenbuhl as krahenbuhl
from jaxinit.data.lsuv import lsuv as lsuv
from jaxinit.data.metainit import metainit as metainit
