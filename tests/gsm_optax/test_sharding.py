"""Starts the tests that need eight devices where there are eight."""

from pathlib import Path

import pytest

from tests.forced_devices import assert_passes_on_eight_devices


@pytest.mark.parametrize(
  "name",
  [
    "eight_devices.py",
    "eight_devices_sparsify.py",
    "eight_devices_structures.py",
    "optax_suites.py",
  ],
)
def test_on_eight_devices(name):
  assert_passes_on_eight_devices(Path(__file__).with_name(name))
