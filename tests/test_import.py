"""`import jaxinit` loads jax and numpy only."""

import os
import subprocess
import sys

EXTRAS = ("flax", "optax", "chex", "matplotlib", "rich", "sklearn", "scipy", "jax.extend.random")


def loaded_after(code: str) -> set[str]:
    script = f"{code}; import sys; print(*(m for m in {EXTRAS!r} if m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_import_is_lazy() -> None:
    before = loaded_after("import jax, numpy")
    assert loaded_after("import jaxinit, jaxinit.cli") == before


def test_annotations_of_what_is_imported_are_text() -> None:
    """Evaluating them took a third of the import."""
    script = """
import sys, types, jaxinit
for module in [m for name, m in sys.modules.items() if name.startswith("jaxinit.")]:
    for value in vars(module).values():
        function = getattr(value, "__wrapped__", value)
        if isinstance(function, types.FunctionType) and function.__module__ == module.__name__:
            if not all(isinstance(a, str) for a in function.__annotations__.values()):
                print(module.__name__, function.__name__)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == ""


def test_this_test_can_fail() -> None:
    assert "optax" in loaded_after("import jaxinit, optax")


def test_the_theory_of_an_activation_starts_no_backend() -> None:
    """The number of devices can still be chosen after it."""
    script = """
import jax, jaxinit
jaxinit.gains.critical(jax.nn.gelu, q=1.0)
jaxinit.gains.gain(jax.nn.relu)
jax.config.update("jax_num_cpu_devices", 3)
assert jax.device_count() == 3
"""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
