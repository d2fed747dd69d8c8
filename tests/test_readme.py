"""What README prints runs as printed."""

import re
from pathlib import Path
from typing import Any

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_python_blocks_run_in_order() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) >= 4
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert repr(names["cauchy"](2.0)) == "cauchy(scale=2.0)"
    assert names["weights"].dtype == names["jnp"].bfloat16


def test_each_command_is_one_line_that_makes_its_own_environment() -> None:
    for name in ("tour", "test"):
        (command,) = re.findall(rf"^# {name}\n(.*)\n```", README, re.M)
        assert command.startswith("python3 -m venv .venv && .venv/bin/python -m pip install")


def test_the_pictures_exist() -> None:
    for path in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (Path(__file__).parent.parent / path).is_file()
