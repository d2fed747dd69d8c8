"""What the collection holds, told from the docstrings and the objects themselves."""

import ast
import difflib
import doctest
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxinit
from jaxinit._initializer import Bound, Factory, Initializer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The first of these that a law accepts is drawn, where the user asks for no shape.
SHAPES = ((64, 64), (3, 3, 32, 64), (64,), (2, 64, 64), (5, 32, 64), (64, 128), (128, 64))
SECTIONS = ("Args:", "Returns:", "Raises:", "Peers:", "Reference:")
BINS = 50


@dataclass(frozen=True)
class Entry:
    """A public initializer: its name, its factory and what its docstring says."""

    name: str
    factory: Callable[..., Initializer]

    @property
    def family(self) -> str:
        """Of the law: the first line of the module in which it is written."""
        return _summary(sys.modules[self.factory.__module__])

    @property
    def law(self) -> str:
        """The first line of the docstring; for another name of a law, that law's name too."""
        same = "" if self.name == self.factory.__name__ else f"{self.factory.__name__}: "
        return same + _summary(self.factory)

    @property
    def call(self) -> str:
        """How to call it: its parameters and their defaults."""
        if isinstance(getattr(jaxinit, self.name), Bound):
            return self.name
        empty = inspect.Parameter.empty
        signature = inspect.signature(self.factory)
        bare = [p.replace(annotation=empty) for p in signature.parameters.values()]
        return f"{self.name}{inspect.Signature(bare)}"

    @property
    def description(self) -> str:
        """The docstring up to its first section."""
        lines: list[str] = []
        for line in (inspect.getdoc(self.factory) or "").splitlines():
            if line in SECTIONS or line.startswith(">>>"):
                break
            lines.append(line)
        return "\n".join(lines).strip()

    def section(self, title: str) -> str:
        """A section of the docstring, such as Args or Reference; empty if there is none."""
        lines = inspect.getdoc(self.factory) or ""
        _, found, rest = lines.partition(f"\n{title}:\n")
        body = []
        for line in rest.splitlines() if found else ():
            if line and not line.startswith(" "):
                break
            body.append(line)
        return inspect.cleandoc("\n".join(body))

    def example(self) -> Initializer:
        """The initializer that it makes without arguments, or else that its docstring shows.

        Raises:
            ValueError: if the docstring shows none.
        """
        value = getattr(jaxinit, self.name)
        if isinstance(value, Bound):
            return value
        parameters = inspect.signature(self.factory).parameters.values()
        if all(p.default is not p.empty or p.kind is p.VAR_KEYWORD for p in parameters):
            return self.factory()
        names = _names()
        for statement in self._statements():
            for node in ast.walk(statement):
                if isinstance(node, ast.Call) and _called(node) == self.factory.__name__:
                    made = eval(ast.unparse(node), names)
                    if isinstance(made, Bound):
                        return made
            exec(ast.unparse(statement), names)
        raise ValueError(f"{self.name} needs arguments: write the call, as {self.name}(...)")

    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes that its docstring draws."""
        calls = (node for s in self._statements() for node in ast.walk(s))
        seconds = (node.args[1] for node in calls if isinstance(node, ast.Call) and node.args[1:])
        texts = [ast.unparse(node) for node in seconds if isinstance(node, ast.Tuple)]
        return [ast.literal_eval(text) for text in texts if set(text) <= set("(0123456789, )")]

    def _statements(self) -> list[ast.stmt]:
        shown = inspect.getdoc(self.factory) or ""
        examples = doctest.DocTestParser().get_examples(shown)
        return [statement for e in examples for statement in ast.parse(e.source).body]


def entries(pattern: str = "") -> list[Entry]:
    """The public initializers whose name, family, law or peers contain a pattern.

    Args:
        pattern: text, in any case; empty means all.

    Returns:
        Entries in the order of their families and names.

    >>> [entry.name for entry in entries("lecun_u")]
    ['lecun_uniform']
    """
    found = [entry for entry in _all() if _matches(entry, pattern.lower())]
    return sorted(found, key=lambda entry: (entry.factory.__module__, entry.name))


def evaluate(call: str) -> Initializer:
    """The initializer that a call in jaxinit's names makes, such as "he_normal() * 0.5".

    Args:
        call: a Python expression.

    Returns:
        The initializer.

    Raises:
        ValueError: if it is no such expression.

    >>> evaluate("he_normal() * 0.5")
    scaled(init=he_normal(), factor=0.5)
    """
    names = _names()
    try:
        value = eval(call, {"__builtins__": {}}, names)
    except Exception as error:
        near = difflib.get_close_matches(getattr(error, "name", None) or "", names, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{call}: {error}{hint}") from error
    if isinstance(value, Factory):
        raise ValueError(f"{call} is a factory: write the call, as {call}(...)")
    if not isinstance(value, Initializer):
        raise ValueError(f"{call} is a {type(value).__name__}, not an initializer")
    return value


def accepted(init: Initializer, shapes: Sequence[tuple[int, ...]] = SHAPES) -> jax.ShapeDtypeStruct:
    """The first of some shapes that a law accepts, and the dtype: complex where the law is.

    Args:
        init: an initializer.
        shapes: to try.

    Returns:
        What it would draw.

    Raises:
        ValueError: if the law accepts none.

    >>> accepted(jaxinit.he_normal(), [(2,), (2, 3)]).shape
    (2, 3)
    """
    reasons = []
    for shape in shapes:
        for dtype in (jnp.float32, jnp.complex64):
            try:
                return jax.eval_shape(
                    lambda key, s=shape, d=dtype: init(key, s, d), jax.random.key(0)
                )
            except (TypeError, ValueError) as error:
                reasons.append(str(error))
    raise ValueError(reasons[0])


def draw(
    init: Initializer, seed: int, shapes: Sequence[tuple[int, ...]] = SHAPES
) -> np.ndarray[Any, Any]:
    """Weights of the first of some shapes that the law accepts.

    Args:
        init: an initializer.
        seed: of the key.
        shapes: to try.

    Returns:
        An array, complex where the law is.

    Raises:
        ValueError: if the law accepts none.

    >>> draw(jaxinit.ones, 0, [(2,)]).tolist()
    [1.0, 1.0]
    """
    found = accepted(init, shapes)
    return np.asarray(init(jax.random.key(seed), found.shape, found.dtype))


def figure(init: Initializer, weights: np.ndarray[Any, Any], seed: int) -> "Figure":
    """The weights, their histogram and singular values, beside independent normal ones.

    Args:
        init: what drew the weights.
        weights: any array.
        seed: of the normal ones, which have the same shape and root mean square.

    Returns:
        A figure.
    """
    from matplotlib.figure import Figure

    values = weights.ravel()
    rms = float(np.sqrt(np.mean(np.abs(values) ** 2)))
    kind = np.promote_types(weights.dtype, np.float32)
    normal = np.asarray(
        jaxinit.normal(rms)(jax.random.fold_in(jax.random.key(seed), 1), weights.shape, kind)
    )
    rows = ((repr(init), weights), (f"independent normal, standard deviation {rms:.3g}", normal))
    drawing = Figure(figsize=(11, 6.4), layout="constrained")
    panels = drawing.subplots(2, 3)
    edges = np.histogram_bin_edges(np.real(np.concatenate([values, normal.ravel()])), BINS)
    largest = float(np.abs(weights).max(initial=0)) or 1.0
    for (title, array), (image, histogram, spectrum) in zip(rows, panels, strict=True):
        matrix = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array.reshape(1, -1)
        shown = image.imshow(
            np.real(matrix),
            cmap="RdBu",
            vmin=-largest,
            vmax=largest,
            aspect="auto",
            interpolation="nearest",
        )
        drawing.colorbar(shown, ax=image)
        image.set_title(title, fontsize="small", wrap=True)
        image.set_ylabel("inputs and taps")
        histogram.hist(np.real(array.ravel()), bins=edges, density=True)
        histogram.set_title("entries")
        spectrum.plot(np.linalg.svd(matrix, compute_uv=False), ".-")
        spectrum.set_ylim(bottom=0)
        spectrum.set_title("singular values")
    return drawing


def _all() -> Iterator[Entry]:
    for name, value in vars(jaxinit).items():
        factory = value._factory if isinstance(value, Bound) else value
        called = isinstance(factory, Factory | FunctionType)
        made = called and inspect.signature(factory, eval_str=True).return_annotation
        if made is Initializer:
            yield Entry(name, factory)


def _names() -> dict[str, Any]:
    public = {name: getattr(jaxinit, name) for name in dir(jaxinit)}
    return {**public, "jaxinit": jaxinit, "jax": jax, "jnp": jnp, "np": np}


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func).split(".")[-1]


def _matches(entry: Entry, pattern: str) -> bool:
    texts = (entry.name, entry.family, entry.law, entry.section("Peers"))
    return any(pattern in text.lower() for text in texts)


def _summary(documented: Any) -> str:
    return (inspect.getdoc(documented) or "").partition("\n")[0].removesuffix(".")
