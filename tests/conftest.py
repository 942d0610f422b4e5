import os
from collections.abc import Iterator

import jax
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


@pytest.fixture(autouse=True, scope="module")
def clear_compiled_programs() -> Iterator[None]:
  """Keeps a test process below the 65,530 memory mappings that Linux allows.

  On a CPU each compiled program holds about three; beyond the limit XLA crashes.
  """
  yield
  jax.clear_caches()
