"""What to do about a finding: the initializers that the layers in question should have."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

from jaxinit.advice.laws import choose
from jaxinit.advice.recommendation import Recommendation, Row
from jaxinit.advice.roles import roles
from jaxinit.advice.uses import Role, Use
from jaxinit.capture.tracing import Trace
from jaxinit.diagnosis.signs import Reading
from jaxinit.paths import leaves

# Of what makes the logits of attention.
ASKING = frozenset({"attention query", "attention key", "packed attention"})


class Remedies:
    """Initializers by path, worked out when they are first asked for.

    Args:
        traced: the function.
        params: that it was traced with.
        readings: of its sites, in order.
    """

    def __init__(self, traced: Trace, params: Any, readings: Sequence[Reading]) -> None:
        self.traced, self.params, self.readings = traced, params, readings

    @cached_property
    def uses(self) -> list[Use]:
        """What each parameter does."""
        return roles(self.traced, self.params)

    @cached_property
    def rows(self) -> dict[str, Row]:
        """What to give each parameter, by path."""
        found = {}
        for use in self.uses:
            init, reason = choose(use)
            found[use.path] = Row(use.path, use.shape, use.role, None, init, reason)
        return found

    @cached_property
    def roles(self) -> dict[str, Role]:
        """Of each parameter, by path."""
        return {use.path: use.role for use in self.uses}

    def rules(self) -> str:
        """Python of the rules for all parameters."""
        kept = (leaf.path for leaf in leaves(self.params) if leaf.is_array)
        others = tuple(path for path in kept if path not in self.rows)
        return Recommendation(tuple(self.rows.values()), others).code()

    def of(self, places: Sequence[str], scales: Mapping[str, float] = MappingProxyType({})) -> str:
        """Pairs of a path and an initializer, a line each, as `Rules` takes them.

        Args:
            places: paths of leaves and of readings; of an activation, the kernel before is meant.
            scales: factors of initializers, by path.
        """
        paths: dict[str, None] = {}
        for place in places:
            if place in self.rows:
                paths[place] = None
            for i, reading in enumerate(self.readings):
                if reading.path == place:
                    paths.update(dict.fromkeys(self._before(i)))
        laws = {path: self.rows[path].initializer for path in paths if path in self.rows}
        laws |= {path: laws[path] * factor for path, factor in scales.items() if path in laws}
        return "\n".join(f'("{path}", {law!r}),' for path, law in laws.items())

    def _before(self, position: int) -> list[str]:
        """Leaves that make up the input of a reading: of attention those of queries and keys."""
        attends = self.readings[position].site.kind == "softmax"
        found: list[str] = []
        for i in range(position, -1, -1):
            site = self.readings[i].site
            if attends and i < position and site.kind == "softmax":
                break
            paths = [kernel.path for kernel in site.kernels]
            if not paths or (attends and not ASKING & {self.roles.get(path) for path in paths}):
                continue
            found += [*paths, *([] if site.bias is None else [site.bias])]
            if not attends:
                break
        return found
