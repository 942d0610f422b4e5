"""The wheel: what it holds, and that it works without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import gsm_optax

ROOT = Path(__file__).parents[1]


def run(*arguments, **options):
  done = subprocess.run(arguments, capture_output=True, text=True, **options)
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  pytest.importorskip("hatchling")
  folder = tmp_path_factory.mktemp("wheel")
  build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
  run(sys.executable, "-m", "pip", *build, f"--wheel-dir={folder}", str(ROOT))
  (path,) = folder.glob("*.whl")
  return path


def test_it_holds_the_package_alone(wheel):
  sources = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "gsm_optax").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
  }
  info = f"gsm_optax-{gsm_optax.__version__}.dist-info/"
  with zipfile.ZipFile(wheel) as file:
    names = {name for name in file.namelist() if not name.endswith("/")}
  assert {name for name in names if not name.startswith(info)} == sources
  assert "gsm_optax/py.typed" in names
  assert {f"{info}METADATA", f"{info}licenses/LICENSE"} <= names


def test_its_description_can_be_published(wheel):
  pytest.importorskip("twine")
  assert "PASSED" in run(sys.executable, "-m", "twine", "check", "--strict", str(wheel))


def test_it_works_without_the_checkout(wheel, tmp_path):
  with zipfile.ZipFile(wheel) as file:
    file.extractall(tmp_path)
  program = """
import jax.numpy as jnp, gsm_optax
print(gsm_optax.__file__)
print(gsm_optax.prune(jnp.array([[1e-9, 0.0], [3.0, 4.0]]), 0.5))
"""
  environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
  printed = run(sys.executable, "-c", program, cwd=tmp_path, env=environment)
  location, *rest = printed.splitlines()
  assert Path(location) == tmp_path / "gsm_optax" / "__init__.py"
  assert rest == ["[[0. 0.]", " [3. 4.]]"]
