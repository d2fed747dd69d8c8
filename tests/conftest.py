"""Eight fake CPU devices, set before JAX starts, and no more compiled programs than are in use."""

import itertools
import os
from types import SimpleNamespace
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

_finished = itertools.count(1)
_NONE = SimpleNamespace(params={})


def _program(item: Any) -> str:
    """What a row of the case table compiles; empty for a test without a row."""
    case = getattr(item, "callspec", _NONE).params.get("case")
    if case is None:
        return ""
    from cases import representative

    return str(representative(case))


def pytest_runtest_teardown(item: Any, nextitem: Any) -> None:
    """Forget compiled programs now and then: thousands of them slow the collector of garbage."""
    if next(_finished) % 40 == 0:
        import jax

        jax.clear_caches()


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """All tests of the rows of the case table that share compiled programs in turn."""
    items.sort(key=_program)
