"""`import jaxinit` loads jax and numpy only."""

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


def test_this_test_can_fail() -> None:
    assert "optax" in loaded_after("import jaxinit, optax")
