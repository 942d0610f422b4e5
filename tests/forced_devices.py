"""Tests that need several devices, on a CPU that pretends to have them."""

import os
import subprocess
import sys
from pathlib import Path


def assert_passes_on_eight_devices(tests: Path) -> None:
  """Runs a file of tests in a process of its own, with eight devices."""
  flags = os.environ.get("XLA_FLAGS", "")
  environment = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count=8",
  }
  command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", str(tests)]
  result = subprocess.run(command, env=environment, capture_output=True, text=True)
  assert result.returncode == 0, result.stdout[-10000:]
