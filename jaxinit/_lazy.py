"""Names of a package that are imported when they are first used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], Any]]:
    """A package's `__getattr__` and `__dir__`, so that importing it stays cheap.

    Args:
        package: its full name.
        homes: from name to the module that holds it, or that is it.

    Returns:
        Both functions.

    >>> load, names = lazy("jaxinit", {"Rules": "jaxinit.rules"})
    >>> load("Rules").__name__, "Rules" in names()
    ('Rules', True)
    """
    itself = sys.modules[package]

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(homes[name])
        value = module if homes[name] == f"{package}.{name}" else getattr(module, name)
        setattr(itself, name, value)
        return value

    return load, lambda: sorted({*vars(itself), *homes})
