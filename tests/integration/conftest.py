from collections.abc import Iterator

import jax
import pytest


@pytest.fixture
def x64() -> Iterator[None]:
  """64-bit types for the length of one test."""
  jax.config.update("jax_enable_x64", True)
  yield
  jax.config.update("jax_enable_x64", False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """Most trainings here are too short for weights to vanish, of which `prune` warns."""
  for item in items:
    if "tests/integration" in item.path.as_posix():
      mark = pytest.mark.filterwarnings("ignore:What is zeroed has not vanished")
      item.add_marker(mark)
