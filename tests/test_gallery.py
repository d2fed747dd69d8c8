"""The gallery shows every initializer, and says only what the docstrings and the objects say."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from cases import public_initializers

import jaxinit
from jaxinit import cli, gallery

NAMES = sorted(public_initializers())


def run(*arguments: str) -> int:
    return cli.main(arguments)


def test_list_has_a_line_for_every_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert sorted(listed) == NAMES
    assert all(len(line.split(maxsplit=1)[1]) > 8 for line in lines if line.startswith("  "))


def test_list_searches_names_laws_and_peers(capsys: pytest.CaptureFixture[str]) -> None:
    for pattern, expected in (
        ("orthogonal", "delta_orthogonal"),
        ("ORTHO", "orthogonal"),
        ("xavier_normal_", "glorot_normal"),
        ("haar", "orthogonal"),
    ):
        assert run("list", pattern) == 0
        found = [
            line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:2] == "  "
        ]
        assert expected in found
        assert len(found) < len(NAMES) / 2
    assert run("list", "no such law") == 1
    assert "no initializer matches 'no such law'" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_every_name_can_be_shown(name: str) -> None:
    (entry,) = (entry for entry in gallery.entries() if entry.name == name)
    assert gallery.accepted(entry.example(), [*gallery.SHAPES, *entry.shapes()]).size > 1
    document = inspect.getdoc(entry.factory) or ""
    assert entry.description.startswith(document.partition("\n")[0])
    assert "Args:" not in entry.description
    if "Reference:" in document:
        assert entry.section("Reference") in document.replace("\n    ", "\n")


def test_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "shown.png"
    assert run("show", "he_normal", "--out", str(out), "--shape", "128,64") == 0
    text = capsys.readouterr().out
    assert text.startswith("he_normal(in_axis=-2, out_axis=-1")
    for part in ("N(0, 2 / ((1 + a²) n_in))", "torch: kaiming_normal_", "arXiv:1502.01852"):
        assert part in text
    spread = jaxinit.he_normal()(jaxinit.random.key(0), (128, 64)).std()
    assert "he_normal() of shape (128, 64): mean" in text
    assert f"std {spread:.3g}" in text
    assert out.read_bytes().startswith(b"\x89PNG")
    for call in ("he_normal() * 0.5", "s4d('lin')", "ones", "presets.torch.linear_kernel()"):
        assert run("show", call, "--out", str(out)) == 0
        assert capsys.readouterr().out


def test_the_figure_sets_the_law_beside_the_independent_one() -> None:
    init = jaxinit.orthogonal()
    drawing = gallery.figure(init, gallery.draw(init, 3, [(32, 32)]), 3)
    panels = drawing.axes
    spectra = [p.lines[0].get_ydata() for p in panels if p.get_title() == "singular values"]
    np.testing.assert_allclose(np.asarray(spectra[0]), 1, atol=1e-5)
    assert np.ptp(np.asarray(spectra[1])) > 1
    assert any(p.get_title() == "orthogonal()" for p in panels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "he_norml"), "did you mean he_normal?"),
        (("show", "he_normal("), "he_normal(: "),
        (("show", "3 + 4"), "is a int, not an initializer"),
        (("show", "jaxinit.he_normal"), "is a factory: write the call"),
        (("show", "open('/etc/passwd')"), "name 'open' is not defined"),
        (("show", "delta_orthogonal", "--shape", "3,3"), "a convolution kernel has 3 to 5"),
    ],
)
def test_errors(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "none.png"
    assert run(*arguments, "--out", str(out)) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("shape", ["64,x", "", "0,3"])
def test_a_bad_shape(shape: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run("show", "normal", "--shape", shape)
    assert stop.value.code == 2
    assert "allowed is whole numbers" in capsys.readouterr().err
