"""Starts the tests of `eight_devices.py` where there are eight devices."""

import os
import subprocess
import sys
from pathlib import Path


def test_on_eight_devices():
  tests = Path(__file__).with_name("eight_devices.py")
  flags = os.environ.get("XLA_FLAGS", "")
  environment = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count=8",
  }
  command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", str(tests)]
  result = subprocess.run(command, env=environment, capture_output=True, text=True)
  assert result.returncode == 0, result.stdout[-10000:]
