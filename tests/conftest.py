import os

import pytest

# Optax's tests of sharding ask for eight devices as soon as they are imported. Only the
# process that runs them may import them, not the collection of doctests: all processes
# that other tests start would inherit the eight, and round differently.
collect_ignore = ["gsm_optax/optax_suites.py"]

FORCED = "xla_force_host_platform_device_count"
FORCED_BEFORE = FORCED in os.environ.get("XLA_FLAGS", "")


def pytest_collection_finish() -> None:
  if FORCED in os.environ.get("XLA_FLAGS", "") and not FORCED_BEFORE:
    raise pytest.UsageError(f"importing the tests has set {FORCED}")
