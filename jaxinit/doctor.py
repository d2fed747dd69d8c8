"""The command `jaxinit doctor`: a diagnosis of what a function of the caller's returns."""

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxinit.diagnosis import Report

_PARTS = ("apply", "params", "inputs", "labels", "loss")


class DoctorError(Exception):
    """What keeps the doctor from the diagnosis, in the caller's words."""


def add_doctor(add_parser: Callable[..., argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """The command's arguments.

    Args:
        add_parser: of the commands.

    Returns:
        Its parser.
    """
    doctor = add_parser(
        "doctor",
        help="why a network does not train",
        description=(
            "Call FUNCTION of MODULE, which returns (apply, params, inputs), and labels and a loss "
            "if it wants, as a tuple or a dict; diagnose the network and print what was found. The "
            "status is 0 if it is healthy, 1 if something was found, 2 if the arguments are wrong."
        ),
        allow_abbrev=False,
    )
    doctor.add_argument(
        "target", type=_target, metavar="MODULE:FUNCTION", help="such as mymodel:setup"
    )
    doctor.add_argument("--fix", action="store_true", help="print the rules to initialize it by")
    doctor.add_argument("--html", type=Path, metavar="FILE", help="write the report as one page")
    doctor.add_argument(
        "--learning-rate",
        type=_rate,
        metavar="X",
        help="of gradient descent, to tell if it is slow or diverges",
    )
    return doctor


def examine(target: tuple[str, str], learning_rate: float | None) -> "Report":
    """The report of a network.

    Args:
        target: a module and the name of a function in it.
        learning_rate: of gradient descent, or None.

    Returns:
        The report.

    Raises:
        DoctorError: if there is no such function, it fails, or returns no network.
    """
    from jaxinit.diagnosis import diagnose

    parts = _parts(target, _function(*target))
    inputs = parts["inputs"]
    given = inputs if isinstance(inputs, tuple | list) else (inputs,)
    try:
        return diagnose(
            parts["apply"],
            parts["params"],
            *given,
            labels=parts.get("labels"),
            loss=parts.get("loss"),
            learning_rate=learning_rate,
        )
    except (TypeError, ValueError) as error:
        raise DoctorError(f"{':'.join(target)}: {error}") from error
    except Exception as error:
        raise DoctorError(f"{':'.join(target)}: apply fails: {_last(error)}") from error


def _target(text: str) -> tuple[str, str]:
    module, colon, name = text.partition(":")
    dotted = module.removesuffix(".py").replace("/", ".") if module.endswith(".py") else module
    if not colon or not all(p.isidentifier() for p in (*dotted.split("."), *name.split("."))):
        raise argparse.ArgumentTypeError(
            f"got {text!r}, allowed is a module, a colon and a function, such as mymodel:setup"
        )
    return dotted, name


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}, allowed is a positive number")
    return rate


def _function(module: str, name: str) -> Any:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise DoctorError(f"{module} cannot be imported: {_last(error)}") from error
        raise DoctorError(
            f"there is no module {module!r} on the path, nor in {here}: run the command where it is"
        ) from error
    except Exception as error:
        raise DoctorError(f"{module} cannot be imported: {_last(error)}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            own = [n for n, x in vars(found).items() if callable(x) and not n.startswith("_")]
            raise DoctorError(
                f"{module} has no function {name!r}: it has {', '.join(own[:8]) or 'none'}"
            )
        found = getattr(found, part)
    if not callable(found):
        raise DoctorError(f"{module}:{name} is a {type(found).__name__}, not a function")
    return found


def _parts(target: tuple[str, str], function: Any) -> Mapping[str, Any]:
    told = ":".join(target)
    try:
        returned = function()
    except Exception as error:
        raise DoctorError(f"{told} fails: {_last(error)}") from error
    wanted = f"{told} must return (apply, params, inputs), and labels and loss after them if any"
    if isinstance(returned, Mapping):
        unknown = [str(name) for name in returned if name not in _PARTS]
        missing = [name for name in _PARTS[:3] if name not in returned]
        if unknown or missing:
            wrong = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(unknown)}"
            raise DoctorError(f"{wanted}, and its dict {wrong}: the names are {', '.join(_PARTS)}")
        return returned
    if not isinstance(returned, tuple | list) or not 3 <= len(returned) <= len(_PARTS):
        raise DoctorError(f"{wanted}, and returned {_kind(returned)}")
    return dict(zip(_PARTS, returned, strict=False))


def _kind(value: Any) -> str:
    many = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return f"a {type(value).__name__}{many}"


def _last(error: Exception) -> str:
    """The error, and where in the caller's file it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    line = f" (line {frames[-1].lineno} of {frames[-1].filename})" if frames else ""
    return f"{type(error).__name__}: {error}{line}"
