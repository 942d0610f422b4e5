"""Starts the tests that need eight devices where there are eight."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["eight_devices.py", "optax_suites.py"])
def test_on_eight_devices(name):
  tests = Path(__file__).with_name(name)
  flags = os.environ.get("XLA_FLAGS", "")
  environment = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count=8",
  }
  command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", str(tests)]
  result = subprocess.run(command, env=environment, capture_output=True, text=True)
  assert result.returncode == 0, result.stdout[-10000:]
