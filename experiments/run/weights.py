"""Trees of arrays in sealed Orbax checkpoints."""

import hashlib
import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from experiments.run.files import PARTIAL, check_seal, remove, seal, writing
from experiments.train.devices import is_first_process, wait_for_others


def save_weights(path: Path, weights: Any) -> None:
  """Writes a tree of arrays, whole or not at all; all processes together.

  Raises:
    ValueError: if what is read back is not what was written.
  """
  with written_by_all(path) as partial:
    write_arrays(partial, weights)


def load_weights(path: Path) -> Any:
  """A tree of arrays written by `save_weights`, as nested dicts.

  Raises:
    ValueError: if it is not what was written.
  """
  check_seal(path)
  return read_arrays(path)


@contextmanager
def written_by_all(path: Path) -> Generator[Path]:
  """A folder for all processes to write to, which is then sealed and becomes `path`."""
  if not is_first_process():
    wait_for_others(f"before {path}")
    yield path.with_name(path.name + PARTIAL)
    wait_for_others(f"after {path}")
    return
  with writing(path) as partial:
    wait_for_others(f"before {path}")
    yield partial
    seal(partial)
  wait_for_others(f"after {path}")


def write_arrays(folder: Path, tree: Any) -> None:
  """Writes arrays into a new folder, and reads them back.

  Raises:
    ValueError: if what is read is not what was written.
  """
  # From the host, so that they can be read where there are other devices.
  arrays = jax.tree.map(np.asarray, tree)
  with _orbax() as checkpointer:
    checkpointer.save(folder.absolute(), arrays)
  if digest(read_arrays(folder)) != digest(arrays):
    raise ValueError("what was read back is not what was written")


def read_arrays(folder: Path, like: Any = None) -> Any:
  """The arrays in a folder: structured and sharded as `like`, or nested dicts."""
  with _orbax() as checkpointer:
    if like is None:
      return _with_numbers(checkpointer.restore(folder.absolute()))
    target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    return checkpointer.restore(folder.absolute(), target)


def _with_numbers(tree: Any) -> Any:
  """The parts of a list by numbers, as Flax has them: Orbax makes strings of them."""
  if not isinstance(tree, dict):
    return tree
  numbered = all(name.isdecimal() for name in tree)
  return {
    int(name) if numbered else name: _with_numbers(part) for name, part in tree.items()
  }


def try_out(folder: Path) -> None:
  """Writes an array below a folder and reads it back, as a run will; all processes.

  Raises:
    Exception: of any kind, if that cannot be done.
  """
  trial = folder / TRIAL
  # As deep as the checkpoints of a part of a run.
  deep = trial / "reinitialised" / "checkpoints" / f"123456789012{PARTIAL}"
  if is_first_process():
    remove(trial)
    deep.mkdir(parents=True)
  wait_for_others(f"before {trial}")
  write_arrays(deep / "arrays", {"trial": np.arange(3.0)})
  wait_for_others(f"after {trial}")
  if is_first_process():
    remove(trial)


TRIAL = f"trial{PARTIAL}"
"""The name of what `try_out` writes."""

UNSAFE = frozenset("*?[]\\")
"""Characters of a path that Orbax takes for patterns: it would not find its files."""


def unsafe_character(path: Path) -> str | None:
  """One of `path` with which nothing there could be read, if there is any."""
  return next((c for c in str(path.absolute()) if c in UNSAFE), None)


def digest(tree: Any) -> str:
  """A checksum of all bits of a tree of arrays and of their names."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  result = hashlib.blake2b(digest_size=16)
  # Sorted: what is read back has names for keys that were numbers.
  named = {_name(path): np.asarray(leaf) for path, leaf in leaves}
  for name, array in sorted(named.items(), key=lambda item: item[0]):
    result.update(f"{name}{array.dtype}{array.shape}".encode())
    result.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
  return result.hexdigest()


def _name(path: tuple[Any, ...]) -> str:
  return "/".join(
    str(
      next(getattr(key, part) for part in ("key", "idx", "name") if hasattr(key, part))
    )
    for key in path
  )


@contextmanager
def _orbax() -> Generator[ocp.StandardCheckpointer]:
  """A checkpointer that is silent: what it logs of an error, it raises besides."""
  before = logging.root.manager.disable
  logging.disable(logging.CRITICAL)
  try:
    with ocp.StandardCheckpointer() as checkpointer:
      yield checkpointer
  finally:
    logging.disable(before)
