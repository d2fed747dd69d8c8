"""Other frameworks' defaults, and whole models: rules from a mapping of roles to paths.

A framework's module has a function for each parameter of each of its layers:
`torch.linear_bias(fan_in=64)`. A recipe, such as `gpt2(layers=12)`, gives the rules of a model; its
roles, which it documents, are where `naming` says, or where your own mapping does.

>>> import jax, jaxinit
>>> from jaxinit import presets
>>> tree = {f"h_{i}": {"w": jax.ShapeDtypeStruct((300, 300), "float32")} for i in range(2)}
>>> paths = {role: None for role in presets.naming.flax.GPT2} | {"residual": "**/w"}
>>> rules = presets.gpt2(layers=50, paths=paths)
>>> print(f"{jaxinit.initialize(tree, rules, jax.random.key(0))['h_1']['w'].std():.4f}")
0.0020
"""

from jaxinit.presets import equinox as equinox
from jaxinit.presets import flax as flax
from jaxinit.presets import haiku as haiku
from jaxinit.presets import keras as keras
from jaxinit.presets import naming as naming
from jaxinit.presets import timm as timm
from jaxinit.presets import torch as torch
from jaxinit.presets.language import bert as bert
from jaxinit.presets.language import deepnet as deepnet
from jaxinit.presets.language import gpt2 as gpt2
from jaxinit.presets.language import llama as llama
from jaxinit.presets.language import mamba as mamba
from jaxinit.presets.language import t5 as t5
from jaxinit.presets.recipe import Paths as Paths
from jaxinit.presets.vision import clip as clip
from jaxinit.presets.vision import convnext as convnext
from jaxinit.presets.vision import resnet as resnet
from jaxinit.presets.vision import vit as vit
