"""A wheel holds everything that the package needs, and works where no checkout is."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # builds a wheel, imports all of it in another process


ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """
import importlib, pkgutil, sys
import la
from la.folders import HOME
from la.report.scores.paper import published

for module in pkgutil.walk_packages(la.__path__, "la."):
    if module.name != "la.__main__":
        importlib.import_module(module.name)
assert len(published()) > 100
model = la.load("quick")
print(la.__file__, HOME, model.card.bias)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The files of the wheel, unpacked where nothing else is."""
    folder = tmp_path_factory.mktemp("wheel")
    words = ["pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder), "."]
    subprocess.run([sys.executable, "-m", *words], cwd=_copy(folder / "source"), check=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def _copy(folder: Path) -> Path:
    """The tracked files alone, as building leaves a folder in the source."""
    folder.mkdir()
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, files.stdout.decode().split("\0")):
        if not (ROOT / name).is_file():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


def test_every_module_imports_and_the_model_loads_without_a_checkout(installed, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed), "HOME": str(tmp_path)}
    environment.pop("LA_HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    file, home, bias = done.stdout.split()
    assert Path(file).is_relative_to(installed)
    assert Path(home) == tmp_path / ".cache" / "label-anything"
    assert float(bias) != 0
