"""What each parameter does in a function, by the way its values meet the data."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxinit.advice.branches import branches
from jaxinit.advice.flow import Flow, Meeting, moves
from jaxinit.advice.kernels import site_roles
from jaxinit.advice.others import ending, other_role
from jaxinit.advice.parts import parts
from jaxinit.advice.uses import SLOPE, KernelRole, Use
from jaxinit.capture.plan import Place
from jaxinit.capture.sites import Activation, Kernel
from jaxinit.capture.tracing import Trace
from jaxinit.paths import leaves

# What turns outputs into rates, probabilities or actions, and is no part of hidden layers' law.
_LINKS = frozenset({"identity", "sigmoid", "log_sigmoid", "softplus", "exp", "tanh"})


def _prelu(z: Any) -> Any:
    return jnp.where(z >= 0, z, SLOPE * z)


_PRELU = Activation("leaky_relu", _prelu, (("negative_slope", SLOPE),))


def roles(trace: Trace, params: Any) -> list[Use]:
    """The role of each leaf of the parameters with a dtype of real or complex numbers.

    Args:
        trace: of a function of the parameters.
        params: that it was traced with.

    Returns:
        A use for each leaf, in the order of the tree.
    """
    found = _Roles(trace)
    tree = leaves(params)
    given = sorted(i for i in trace.plan.given if i is not None)
    return [found.use(i, tree[i].path, np.shape(tree[i].value)) for i in given]


class _Roles:
    """What is known of a function, once for all of its parameters."""

    def __init__(self, trace: Trace) -> None:
        self.flow = Flow(trace.plan)
        self.branches = branches(self.flow)
        self.sites = site_roles(self.flow)
        recurrent = [s for s, role in self.sites.items() if role.endswith("kernel")]
        self.parts = parts(self.flow, recurrent)
        self.sloped = {s for z in self.flow.slopes.values() for s in self.flow.kernels(z)}
        self.forgotten: set[int] = set()  # outputs of forget gates whose bias is found
        self.kernels: dict[str, list[tuple[Place, Kernel]]] = defaultdict(list)
        for place in self.flow.places.values():
            for kernel in place.site.kernels:
                self.kernels[kernel.path].append((place, kernel))
        self.meetings: dict[int, list[Meeting]] = defaultdict(list)
        for leaf, meeting in self.flow.meetings():
            self.meetings[leaf].append(meeting)

    def use(self, position: int, path: str, shape: tuple[int, ...]) -> Use:
        bare = self._with_parts(Use(path, shape, "unused"), position)
        if path in self.kernels:
            return self._kernel(bare, self.kernels[path])
        meetings = self.meetings[position]
        use = replace(bare, role=other_role(self.flow, self.branches, position, meetings))
        if use.role == "bias" and use.forget is not None:
            return replace(use, role="forget bias")
        if use.role == "layer scale":
            products = (meeting.step.outputs[0].number for meeting in meetings)
            ends = (ending(self.flow, self.branches, product) for product in products)
            return replace(use, branch=next(filter(None, ends), None))
        return use

    def _with_parts(self, use: Use, position: int) -> Use:
        """With the functions that its parts go through, where they go apart."""
        found = self.parts.get(position, [])
        if len({part.axis for part in found}) != 1:
            return use
        axis = found[0].axis
        size = math.gcd(use.shape[axis], *(n for part in found for n in (part.start, part.stop)))
        new = [part for part in found if part.forgets and part.output not in self.forgotten]
        forgets = [part.start // size for part in new if part.stop - part.start == size]
        if len(use.shape) == 1:
            self.forgotten.update(part.output for part in new)
        apart = size < use.shape[axis] or self._is_joined(use.path)
        return replace(
            use,
            activations=tuple(part.activation for part in found) if apart else (),
            gates=use.shape[axis] // size,
            gate_axis=axis,
            forget=forgets[0] if forgets else None,
        )

    def _is_joined(self, path: str) -> bool:
        return path in self.kernels and any(len(p.site.kernels) > 1 for p, _ in self.kernels[path])

    def _kernel(self, use: Use, sites: Sequence[tuple[Place, Kernel]]) -> Use:
        outputs = [place.output.number for place, _ in sites]
        axes = next((kernel.axes for _, kernel in sites if kernel.axes is not None), None)
        branch = next((b for b in self.branches if not set(b.ends).isdisjoint(outputs)), None)
        activations = use.activations or _activations(sites)
        if not activations and not self.sloped.isdisjoint(outputs):
            activations = (_PRELU,)
        use = replace(use, axes=axes, branch=branch, activations=activations)
        return replace(use, role=self._kernel_role(use, [place for place, _ in sites]))

    def _kernel_role(self, use: Use, places: Sequence[Place]) -> KernelRole:
        looked_up = [self._looks_up(place) for place in places]
        if any(looked_up):
            return "embedding" if all(looked_up) else "tied embedding"
        outputs = [place.output.number for place in places]
        known = list(dict.fromkeys(self.sites[s] for s in outputs if s in self.sites))
        if len(known) > 1 and all(role.startswith("attention") for role in known):
            return "packed attention"
        # At the first step of a cell there is no state yet, and its kernels are gates alone.
        other = next((role for role in known if role != "gate"), None)
        if other is not None:
            return other
        if use.branch is not None:
            return "residual output"
        hidden = use.activation is not None and use.activation.name not in _LINKS
        if not hidden and all(map(self._ends, outputs)):
            return "head"
        return known[0] if known else _plain(places, use)

    def _looks_up(self, place: Place) -> bool:
        """Whether rows of a table are looked up, by numbers or by their one-hot vectors."""
        behind = self.flow.back(place.input.number, through=moves)
        steps = (self.flow.makers[s] for s in behind if s in self.flow.makers)
        return place.site.kind == "embedding" or any(step.name == "eq" for step in steps)

    def _ends(self, output: int) -> bool:
        """Whether the output of a site is, up to functions without kernels, the function's."""
        ahead = self.flow.ahead(output)
        others = ahead & self.flow.places.keys() - {output}
        kernels = any(self.flow.places[slot].site.kernels for slot in others)
        return not kernels and not ahead.isdisjoint(self.flow.results)


def _activations(sites: Sequence[tuple[Place, Kernel]]) -> tuple[Activation, ...]:
    found = (place.site.activations or place.site.after_sum for place, _ in sites)
    return next((each[:1] for each in found if each), ())


def _plain(places: Sequence[Place], use: Use) -> KernelRole:
    if all(place.site.kind != "conv" for place in places):
        return "dense"
    if use.axes is None:
        return "conv"
    inputs, *_ = use.axes.resolve(use.shape)
    if use.axes.groups > 1 and all(use.shape[axis] == 1 for axis in inputs):
        return "depthwise"
    return "transposed conv" if use.axes.in_stride > 1 else "conv"
