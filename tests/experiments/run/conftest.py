"""Short runs, compiled once for all tests of them."""

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from tests.experiments.run.short_runs import bits, run
from tests.experiments.run.snapshots import Snapshots

OPTIONS = {
  "jax_persistent_cache_min_compile_time_secs": 0,
  "jax_persistent_cache_min_entry_size_bytes": -1,
}


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
  """A folder of what has been compiled; also for processes that tests start."""
  folder = tmp_path_factory.mktemp("compiled")
  options = {"jax_compilation_cache_dir": str(folder), **OPTIONS}
  before = {name: getattr(jax.config, name) for name in options}
  for name, value in options.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()
  yield {name.upper(): str(value) for name, value in options.items()}
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


@pytest.fixture(scope="session")
def whole(tmp_path_factory, compiled):
  """A run's folder, its bits, and copies of it from all moments of the run."""
  assert compiled
  root = tmp_path_factory.mktemp("whole")
  copies = Snapshots().of(root / "run", root, lambda: run(root / "run"))
  return root / "run", bits(root / "run"), list(copies.values())
