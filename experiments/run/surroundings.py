"""What a result depends on besides its recipe."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax


def surroundings() -> dict[str, Any]:
  """What a result depends on besides its configuration."""
  device = jax.devices()[0]
  names = ["jax", "jaxlib", "optax", "flax", "numpy", "orbax-checkpoint"]
  return {
    "device": {
      "platform": device.platform,
      "kind": _processor() if device.platform == "cpu" else device.device_kind,
      "count": jax.device_count(),
      "cpu_cores": _usable_cores(),
    },
    "versions": {
      "python": platform.python_version(),
      **{name: found for name in names if (found := _version(name))},
    },
    "git_commit": _git_commit(),
  }


def devices() -> str:
  """How many there are, and of what kind."""
  return f"{jax.device_count()} × {jax.devices()[0].device_kind}"


def _version(name: str) -> str | None:
  try:
    return version(name)
  except PackageNotFoundError:  # not every experiment needs every package
    return None


def _usable_cores() -> int | None:
  """Those that this process may use: XLA's rounding differs with their number."""
  if hasattr(os, "sched_getaffinity"):  # not on macOS
    return len(os.sched_getaffinity(0))
  return os.cpu_count()


def _processor() -> str:
  cpuinfo = Path("/proc/cpuinfo")
  if cpuinfo.exists():
    for line in cpuinfo.read_text().splitlines():
      if line.startswith("model name"):
        return line.split(":", 1)[1].strip()
  return platform.processor() or platform.machine()


def _git_commit() -> str | None:
  """The commit of the checkout, marked where code differs from it; None outside one.

  Other results, and the pages that have tables of them, change nothing of what a run
  does.
  """

  def git(*command: str) -> str:
    return subprocess.run(
      ["git", *command],
      cwd=Path(__file__).parents[2],
      capture_output=True,
      text=True,
      check=True,
    ).stdout.strip()

  try:
    code = ("*.py", "pyproject.toml")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *code)
    return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
  except (OSError, subprocess.CalledProcessError):
    return None
