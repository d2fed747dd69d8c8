"""What the parameters of a model are like: a report, a row a leaf."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from jaxinit._checks import natural
from jaxinit.measure import Measures, measure
from jaxinit.paths import Leaf, at, leaves, shared_once
from jaxinit.table import Table, cell

_MOMENTS = ("mean", "std", "min", "max", "zeros")
_SPECTRUM = ("defect", "norm")


@dataclass(frozen=True, kw_only=True)
class Description:
    """A leaf: its size and place, and, if it has values, what they are like.

    `bytes` are those of the whole array, `device_bytes` those on one device. `missing` tells, for
    each measure that is None, why it was not computed.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    count: int
    bytes: int
    device_bytes: int
    sharding: str | None
    mean: float | complex | None = None
    std: float | None = None
    min: float | int | None = None
    max: float | int | None = None
    zeros: float | None = None
    defect: float | None = None
    norm: float | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report(Table):
    """Descriptions, one a leaf; printed, a table with the totals under it."""

    rows: tuple[Description, ...]

    @property
    def count(self) -> int:
        """Entries in all leaves."""
        return sum(row.count for row in self.rows)

    @property
    def bytes(self) -> int:
        """Bytes of all leaves."""
        return sum(row.bytes for row in self.rows)

    def cells(self) -> Sequence[Sequence[str]]:
        """The headings, then the rows; a number in brackets is that of the reason below."""
        numbers = {reason: f"[{i}]" for i, reason in enumerate(self._reasons(), 1)}
        names = [name for name in Description.__dataclass_fields__ if name != "missing"]
        rows = [
            [
                numbers[row.missing[name]] if name in row.missing else cell(getattr(row, name))
                for name in names
            ]
            for row in self.rows
        ]
        return [names, *rows]

    def notes(self) -> Sequence[str]:
        """The totals, and why something was not computed."""
        device = sum(row.device_bytes for row in self.rows)
        total = f"{self.count:,} entries, {self.bytes:,} bytes, {device:,} on one device"
        reasons = (f"[{i}] not computed: {why}" for i, why in enumerate(self._reasons(), 1))
        return [total, *reasons]

    def to_dict(self) -> dict[str, Any]:
        """Totals and rows for JSON; a complex mean is a pair."""
        rows = [asdict(row) for row in self.rows]
        for row in rows:
            if isinstance(row["mean"], complex):
                row["mean"] = (row["mean"].real, row["mean"].imag)
        return {"count": self.count, "bytes": self.bytes, "leaves": rows}

    def _reasons(self) -> Sequence[str]:
        found = itertools.chain.from_iterable(row.missing.values() for row in self.rows)
        return tuple(dict.fromkeys(found))


def describe(tree: Any, *, largest: int = 2**27) -> Report:
    """What each leaf of a tree is like: size, place, moments, extremes, zeros and spectrum.

    Of a matrix W, n x m, of k singular values σ:

        defect = √(mean((σ² / mean(σ²) - 1)²)),    norm = max σ

    The defect is 0 for any multiple of an orthogonal matrix and about √(k / max(n, m)) for
    independent entries. Both come from products of W with 64 vectors: exact for k <= 64, else the
    defect is an estimate and the norm a lower bound, as close as `jaxinit.measure.measure` tells.
    Nothing is gathered: each device reads the part it holds. One program is compiled for each
    distinct shape, dtype and sharding. `std` is √mean(|w - mean|²); `zeros` is a share.

    Args:
        tree: of arrays, or of `jax.ShapeDtypeStruct`, of which shapes alone are told at once.
        largest: entries of the largest matrix of which to compute the spectrum.

    Returns:
        A report that prints as a table, in a console of rich as one of its own.

    Raises:
        TypeError: under `jit`, where a leaf has no values yet, or if largest is no whole number.
        ValueError: if two paths are the same, or largest is negative.

    >>> report = describe({"kernel": jnp.eye(3) * 2, "bias": jax.ShapeDtypeStruct((3,), "float32")})
    >>> report.rows[1].norm, report.rows[1].defect, report.rows[1].mean is None
    (2.0, 0.0, False)
    >>> report.rows[0].missing["mean"]
    'the leaf is abstract: it has a shape and no values'
    """
    limit = natural("largest", largest)
    found = leaves(shared_once(tree)[0])
    return Report(tuple(_description(leaf, limit) for leaf in found if leaf.is_array))


def _description(leaf: Leaf, largest: int) -> Description:
    value = leaf.value
    if isinstance(value, jax.core.Tracer):
        raise TypeError(
            f"{leaf.path} is traced and has no values yet: call describe outside jit, or on "
            "jax.eval_shape's result"
        )
    shape, dtype = tuple(value.shape), value.dtype
    sharding = getattr(value, "sharding", None)
    local = shape if sharding is None else sharding.shard_shape(shape)
    values, missing = _values(leaf, largest)
    return Description(
        path=leaf.path,
        shape=shape,
        dtype=str(dtype),
        count=math.prod(shape),
        bytes=math.prod(shape) * dtype.itemsize,
        device_bytes=math.prod(local) * dtype.itemsize,
        sharding=None if sharding is None else _shown(sharding),
        **values,
        missing=missing,
    )


def _values(leaf: Leaf, largest: int) -> tuple[dict[str, Any], dict[str, str]]:
    """The measures of a leaf, and why others are missing."""
    reason = _unmeasurable(leaf)
    if reason:
        return {}, dict.fromkeys((*_MOMENTS, *_SPECTRUM), reason)
    value = leaf.value
    missing = {}
    reason = _without_spectrum(value, largest)
    if reason:
        missing = dict.fromkeys(_SPECTRUM, reason)
    with at(leaf.path):
        found = measure(value, spectral=not reason)
    zeros = found.zeros / value.size
    if found.not_finite:
        why = f"{found.not_finite} of {value.size} entries are not finite"
        return {"zeros": zeros}, dict.fromkeys((*_MOMENTS[:4], *_SPECTRUM), why)
    values = _named(found) | {"zeros": zeros}
    if not reason and found.norm == 0:
        values["defect"] = None
        missing = {"defect": "the matrix is 0, a multiple of any"}
    for name, number in values.items():
        if number is not None and not np.isfinite(number):
            values[name], missing[name] = None, "its computation overflows"
    if jnp.issubdtype(value.dtype, jnp.complexfloating):
        values |= {"min": None, "max": None}
        missing |= dict.fromkeys(("min", "max"), "complex numbers have no order")
    return values, missing


def _named(found: Measures) -> dict[str, Any]:
    return {
        "mean": found.mean,
        "std": found.stddev,
        "min": found.low,
        "max": found.high,
        "defect": found.defect,
        "norm": found.norm,
    }


def _unmeasurable(leaf: Leaf) -> str | None:
    if leaf.is_abstract:
        return "the leaf is abstract: it has a shape and no values"
    if jnp.issubdtype(leaf.value.dtype, jax.dtypes.prng_key):
        return "a key of a random number generator has no entries to measure"
    if not (jnp.issubdtype(leaf.value.dtype, jnp.number) or leaf.value.dtype.kind == "b"):
        return f"{leaf.value.dtype} is no dtype of numbers"
    if isinstance(leaf.value, jax.Array) and leaf.value.is_deleted():
        return "the array was deleted or donated"
    return None if leaf.value.size else "the leaf has no entries"


def _without_spectrum(value: Any, largest: int) -> str | None:
    if not jnp.issubdtype(value.dtype, jnp.inexact):
        return "the spectrum is that of real and complex matrices, not of whole numbers"
    if value.ndim < 2:
        return "a leaf with fewer than two axes is no matrix"
    if value.ndim > 2:
        return f"which axes of a leaf with {value.ndim} make a matrix is not known"
    if value.size > largest:
        return f"the matrix has more than largest={largest:,} entries"
    return None


def _shown(sharding: Any) -> str:
    if isinstance(sharding, NamedSharding):
        sizes = ", ".join(f"{name}={size}" for name, size in sharding.mesh.shape.items())
        return f"{tuple(sharding.spec)} of {sizes}"
    devices = sorted(map(str, sharding.device_set))
    return devices[0] if len(devices) == 1 else f"{len(devices)} devices"
