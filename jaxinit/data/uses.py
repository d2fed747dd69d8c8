"""Where each kernel is used, and what is measured there as an array that fits the kernel."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinit.capture import Kernel, Site, Slice, Trace
from jaxinit.capture.activations import ELEMENTWISE
from jaxinit.data.parameters import Parameters, listed
from jaxinit.paths import Leaf, Pattern, match

LAYERS = ("matmul", "conv")


class Use(NamedTuple):
    """A leaf at a site.

    Args:
        site: its name.
        path: of the leaf.
        slice: of the leaf, that is used there.
        steps: lengths of the scans around the site.
        units: axes of the leaf that number the units of the site, in the order of its output.
    """

    site: str
    path: str
    slice: Slice
    steps: tuple[int, ...]
    units: tuple[int, ...] = ()


class Uses:
    """All uses of some leaves.

    Args:
        uses: of them.
        shapes: of the leaves.
    """

    def __init__(self, uses: Sequence[Use], shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.uses = tuple(uses)
        self.sites = tuple(dict.fromkeys(use.site for use in uses))
        self._shapes = shapes
        kept: dict[str, set[int]] = {use.path: set() for use in uses}
        for use in uses:
            kept[use.path].update(use.units, (axis for _, axis in use.slice.scans))
            kept[use.path].update(axis for axis, _ in use.slice.fixed)
        self.shapes: dict[str, tuple[int, ...]] = {
            path: tuple(n if axis in kept[path] else 1 for axis, n in enumerate(shapes[path]))
            for path in kept
        }
        self.counts: dict[str, Any] = self._sums(lambda use: np.ones(()))

    def pooled(self, values: Mapping[str, Any]) -> dict[str, Array]:
        """The mean over its uses of what each slice, and unit, of a leaf has.

        Args:
            values: of each site, of shape (*steps, *units), or (*steps,) without units.

        Returns:
            By path, arrays that broadcast to the leaf; 1 for a slice that nothing uses.
        """
        sums = self._sums(lambda use: values[use.site])
        return {
            path: _numpy(total).where(self.counts[path] > 0, total / self._at_least_one(path), 1)
            for path, total in sums.items()
        }

    def shared(self, site: str) -> bool:
        """Whether another site, or another step of a scan, uses a kernel of a site as well."""
        own = (self.counts[use.path][_index(use)] for use in self.uses if use.site == site)
        return any((count > 1).any() for count in own)

    def _at_least_one(self, path: str) -> Any:
        return np.maximum(self.counts[path], 1).astype(np.float32)

    def _sums(self, values: Callable[[Use], Any]) -> dict[str, Any]:
        found: dict[str, Any] = {p: np.zeros(s, np.float32) for p, s in self.shapes.items()}
        for use in self.uses:
            value = self._fitted(use, values(use))
            if isinstance(value, np.ndarray):
                found[use.path][_index(use)] += value
            else:
                found[use.path] = jnp.asarray(found[use.path]).at[_index(use)].add(value)
        return found

    def _fitted(self, use: Use, values: Array) -> Array:
        """Summed over the scans that do not run over the leaf, its axes those of the leaf."""
        shape = self._shapes[use.path]
        over = dict(use.slice.scans)
        if not values.ndim:
            values = _numpy(values).broadcast_to(
                values, (*use.steps, *(shape[axis] for axis in use.units))
            )
        gone = tuple(i for i in range(len(use.steps)) if i not in over)
        values = values.sum(gone)
        order = [over[i] for i in range(len(use.steps)) if i in over] + list(use.units)
        values = values.reshape([shape[axis] for axis in order])
        values = values.transpose(sorted(range(len(order)), key=order.__getitem__))
        return values.reshape([n if axis in order else 1 for axis, n in enumerate(shape)])


def layers(
    trace: Trace, parameters: Parameters, keep: Sequence[Pattern], what: str
) -> tuple[list[Site], dict[str, str]]:
    """The sites whose kernels are to be changed, and the leaves that are left and why.

    Args:
        trace: of the function.
        parameters: of it.
        keep: patterns of the paths of kernels that stay as they are.
        what: is to be done, for errors.

    Returns:
        Sites in order, and reasons by path.

    Raises:
        ValueError: if there are none.
    """
    left: dict[str, str] = {}
    found: list[Site] = []
    for site in trace.sites:
        kept = [k for k in site.kernels if matches(keep, k.path, parameters)]
        if site.kind in LAYERS and site.kernels and not kept:
            found.append(site)
        left.update((k.path, "kept") for k in kept)
    for site in trace.sites:
        if site.kind == "embedding":
            left.update((k.path, "is looked up") for k in site.kernels)
    used = {kernel.path for site in found for kernel in site.kernels}
    unseen = listed([f"{u.primitive} in {u.scope or 'the function'}" for u in trace.unobserved])
    reason = "no matrix product or convolution that is observed uses it"
    reason += f"; passed through unobserved: {unseen}" if trace.unobserved else ""
    elementwise = _elementwise(trace)
    for path, value in parameters.arrays.items():
        if value.ndim > 1 and path not in used and path not in elementwise:
            left.setdefault(path, reason)
    if not found:
        known = listed([f"{path} ({why})" for path, why in left.items()]) or "none"
        raise ValueError(
            f"{what} found no kernel to change in apply_fn(params, batch); parameters of two or "
            f"more axes: {known}"
        )
    return found, {path: why for path, why in left.items() if path not in used}


def _elementwise(trace: Trace) -> set[str]:
    """The leaves that a signal is multiplied by or added to, entry by entry."""
    analysis = trace.plan.analysis
    return {
        analysis.tree[weight.leaf].path
        for step, _ in analysis.makers.values()
        if step.name in ELEMENTWISE and any(analysis.fact(atom).data for atom in step.inputs)
        for atom in step.inputs
        for weight in analysis.fact(atom).weights
    }


def kernels(sites: Sequence[Site]) -> Iterator[Use]:
    """The uses of the kernels of some sites, without units."""
    for site in sites:
        for kernel in site.kernels:
            yield Use(site.name, kernel.path, kernel.slice, site.steps)


def units(site: Site, kernel: Kernel) -> tuple[int, ...]:
    """The axes of a kernel that number the units of its site, in the order of its output.

    Raises:
        ValueError: if they are not known.
    """
    found: tuple[int, ...] = ()
    if kernel.axes is not None:
        _, outputs, batch, _ = kernel.axes.resolve(kernel.shape)
        sliced = {axis for _, axis in kernel.slice.scans} | {axis for axis, _ in kernel.slice.fixed}
        found = (*(axis for axis in batch if axis not in sliced), *outputs)
    sizes = [kernel.shape[axis] for axis in found]
    if len(site.kernels) > 1 or math.prod(sizes) != math.prod(site.shape[a] for a in site.units):
        raise ValueError(
            f"which axes of {kernel.path!r}, of shape {kernel.shape}, number the units of "
            f"{site.name!r}, of output {site.shape}, is not known: name it in keep="
        )
    return found


def matches(keep: Sequence[Pattern], path: str, parameters: Parameters) -> bool:
    """Whether a path matches one of some patterns."""
    leaf = Leaf(path, parameters.arrays.get(path))
    return any(match(pattern, leaf) is not None for pattern in keep)


def _numpy(value: Any) -> Any:
    """The module that works on a value at once, without a compilation, if there is one."""
    return np if isinstance(value, np.ndarray | np.generic) else jnp


def _index(use: Use) -> tuple[Any, ...]:
    fixed = dict(use.slice.fixed)
    return tuple(
        slice(fixed[axis], fixed[axis] + 1) if axis in fixed else slice(None)
        for axis in range(1 + max(fixed, default=-1))
    )
