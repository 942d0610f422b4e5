from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True)
def _quickly_compiled() -> Iterator[None]:
  """The networks are tiny, and each is compiled many times."""
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)
