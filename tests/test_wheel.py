"""The wheel carries the whole command, its configs and sweeps among it, and needs no checkout."""

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from transferlab import __version__
from transferlab.folders import shipped

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("hatchling") is None or importlib.util.find_spec("build") is None,
        reason="building a wheel without network needs hatchling and build in this environment: make install",
    ),
]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the wheel of this checkout was unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob(f"transferlab-{__version__}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def python(unpacked: Path, cwd: Path, *words: str) -> str:
    """What a Python says that sees the wheel before all else."""
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_is_what_is_imported_below(unpacked: Path, tmp_path: Path) -> None:
    script = "import transferlab.folders as f; print(f.__file__, f.shipped('conf'), f.shipped('sweeps'), sep='\\n')"
    places = python(unpacked, tmp_path, "-c", script).splitlines()
    assert places == [str(unpacked / "transferlab" / name) for name in ("folders.py", "conf", "sweeps")]


@pytest.mark.parametrize("name", ["conf", "sweeps"])
def test_the_wheel_carries_every_yaml_as_it_is(unpacked: Path, name: str) -> None:
    def texts(folder: Path) -> dict[str, str]:
        return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*.yaml")}

    carried = texts(unpacked / "transferlab" / name)
    assert carried == texts(shipped(name))
    assert carried


def test_the_wheel_carries_every_module_and_nothing_beside_the_package(unpacked: Path) -> None:
    package = ROOT / "src" / "transferlab"
    modules = {str(file.relative_to(package)) for file in package.rglob("*.py")} | {"py.typed"}
    carried = {str(file.relative_to(unpacked / "transferlab")) for file in (unpacked / "transferlab").rglob("*")}
    assert modules <= carried
    plugins = {str(file.relative_to(ROOT / "src")) for file in (ROOT / "src" / "hydra_plugins").rglob("*.py")}
    assert plugins == {str(file.relative_to(unpacked)) for file in (unpacked / "hydra_plugins").rglob("*.py")}
    wanted = {"transferlab", "hydra_plugins", f"transferlab-{__version__}.dist-info"}
    assert {entry.name for entry in unpacked.iterdir()} == wanted


def test_the_wheel_carries_the_parts_of_the_page(unpacked: Path) -> None:
    parts = ROOT / "src" / "transferlab" / "compare" / "page"
    names = {file.name for file in parts.iterdir() if file.suffix in (".html", ".css", ".js")}
    assert {"page.html", "page.css", "main.js"} <= names
    for name in names:
        carried = unpacked / "transferlab" / "compare" / "page" / name
        assert carried.read_text(encoding="utf-8") == (parts / name).read_text(encoding="utf-8")


def test_the_wheels_command_is_the_cli(unpacked: Path) -> None:
    points = (unpacked / f"transferlab-{__version__}.dist-info" / "entry_points.txt").read_text()
    assert "transferlab = transferlab.cli:main" in points


def test_the_command_lists_composes_and_sweeps_without_a_checkout(unpacked: Path, tmp_path: Path) -> None:
    def command(*words: str) -> str:
        return python(unpacked, tmp_path, "-m", "transferlab.cli", *words)

    strategies = [line.split()[0] for line in command("list", "strategies").splitlines()]
    assert strategies == sorted(
        file.stem for file in shipped("conf").glob("strategy/*.yaml") if not file.name.startswith("_")
    )
    assert "alpha: 0.01" in command("train", "--cfg", "job", "strategy=l2_sp")
    assert any(line.startswith("quickstart ") for line in command("sweep").splitlines())
    # a user's own word in the wheel's yaml is what the command shows: no other conf is read
    (unpacked / "transferlab" / "conf" / "strategy" / "only_in_the_wheel.yaml").write_text("# Only here\n")
    assert "only_in_the_wheel        Only here" in command("list", "strategies")
    (unpacked / "transferlab" / "conf" / "strategy" / "only_in_the_wheel.yaml").unlink()
