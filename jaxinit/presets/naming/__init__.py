"""Ready mappings from the roles of a recipe to the paths of well-known models.

A model of one's own takes one with changes: `{**naming.flax.GPT2, "position": None}`.
"""

from jaxinit.presets.naming import authors as authors
from jaxinit.presets.naming import flax as flax
from jaxinit.presets.naming import hugging_face as hugging_face
