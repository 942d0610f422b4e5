"""The weights of a checkpoint, whoever wrote it."""

import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from gsm_optax._files._errors import ReadError, one_line
from gsm_optax._files._load import read_saved
from gsm_optax._files._names import select
from gsm_optax._files._orbax import folder_of_arrays, read_orbax
from gsm_optax._files._safetensors import read_safetensors


def read_weights(path: Path, key: str | None = None) -> dict[str, np.ndarray]:
  """Reads the weights of a checkpoint, by name.

  Args:
    path: an Orbax checkpoint folder, a safetensors file, or one of `save`.
    key: the subtree to read; ``None`` reads ``params`` if there is one, else all.

  Returns:
    The floating-point arrays with two or more dimensions, by their names in the
    subtree, in host memory whichever devices they were saved from.

  Raises:
    ReadError: if none can be read; the message says why.
  """
  try:
    weights = _read(path, key)
  except OSError as error:
    reason = error.strerror or one_line(error)
    raise ReadError(f"{error.filename or path} cannot be read: {reason}.") from error
  if not weights:
    raise ReadError(
      f"{path} holds no floating-point array with two or more dimensions"
      f" {f'at {key!r}' if key else 'to report on'}: name another subtree with --key."
    )
  return weights


def _read(path: Path, key: str | None) -> dict[str, np.ndarray]:
  try:
    path.stat()
  except FileNotFoundError as error:
    raise ReadError(f"{path} does not exist.") from error
  if path.is_dir():
    folder = folder_of_arrays(path)
    if folder is not None:
      return read_orbax(folder, key)
  elif path.is_file():  # neither a pipe, which might never end, nor a device
    if zipfile.is_zipfile(path):
      return _read_saved(path, key)
    weights = read_safetensors(path, key)
    if weights is not None:
      return weights
  raise ReadError(
    f"{path} is neither an Orbax checkpoint (a folder with a file _METADATA) nor a"
    " safetensors file, nor one of `gsm_optax.save`."
  )


def _read_saved(path: Path, key: str | None) -> dict[str, np.ndarray]:
  try:
    saved = read_saved(path)
  except ValueError as error:
    raise ReadError(one_line(error)) from error
  chosen = select(saved.names, key, path)
  result: dict[str, np.ndarray] = {}
  for name, leaf in zip(saved.names, saved.arrays, strict=True):
    if name in chosen and leaf.ndim >= 2 and jnp.issubdtype(leaf.dtype, jnp.inexact):
      place = chosen[name]
      while place in result:  # "a/b", and "b" in "a"
        place += "'"
      # What JAX may not compute with is exact in a wider type.
      is_narrow = leaf.dtype.itemsize == 1
      result[place] = leaf.astype(np.float32) if is_narrow else leaf
  return result
