"""Params with zeros in a small file, which NumPy alone can read."""

import json
import os
import stat
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsm_optax._trees import named_leaves

HEADER = "gsm_optax"
"""Name of the array that says what the others are: JSON in UTF-8."""

VERSION = 1
"""Of the format; a reader refuses greater ones."""

CONTAINERS: dict[type, str] = {
  dict: "dict",
  OrderedDict: "OrderedDict",
  list: "list",
  tuple: "tuple",
}
"""Which can be made again from their names."""


def save(path: str | os.PathLike[str], params: Any) -> None:
  """Writes params to a file in which zeros take next to no room.

  Every bit is kept, negative zeros and NaNs too, and so are types (in the machine's own
  order of bytes), shapes and the tree.
  The file is a compressed ``.npz`` of NumPy's, so that any program can read it without
  this library. For each leaf with many zeros it holds a bit for each weight, and the
  values of those that are not zero; any other leaf is as it is. It is written beside
  its place and then moved there, so that it is whole or not there at all.

  Args:
    path: of the file; its name is taken as it is, and a link is followed.
    params: a pytree of arrays, on any devices of this process.

  Raises:
    ValueError: if a leaf is no array of numbers or booleans, or is spread over several
      processes, or a dict has keys that are neither strings nor integers.
    OSError: if the file cannot be written.

  Example:
    >>> import os, tempfile
    >>> import jax.numpy as jnp
    >>> import gsm_optax
    >>> params = {"kernel": jnp.zeros((1000, 1000)).at[3, 4].set(2.0)}
    >>> path = os.path.join(tempfile.mkdtemp(), "pruned.npz")
    >>> gsm_optax.save(path, params)
    >>> os.path.getsize(path) < 2000
    True
    >>> print(gsm_optax.load(path)["kernel"][3, 4])
    2.0
  """
  leaves: list[dict[str, Any]] = []
  arrays: dict[str, np.ndarray] = {}
  for number, (name, leaf) in enumerate(named_leaves(params)):
    array = _array(name, leaf)
    values, mask = _without_zeros(array)
    arrays[str(number)] = values
    if mask is not None:
      arrays[f"{number}.mask"] = mask
    described = {"name": name, "dtype": array.dtype.name, "shape": list(array.shape)}
    leaves.append({**described, "has_mask": mask is not None})
  numbers = iter(range(len(leaves)))
  tree = _described(jax.tree.structure(params), numbers)
  header = json.dumps({"version": VERSION, "tree": tree, "leaves": leaves})
  arrays[HEADER] = np.frombuffer(header.encode(), np.uint8)
  _write(Path(os.path.realpath(os.fsdecode(path))), arrays)


def _array(name: str, leaf: Any) -> np.ndarray:
  """The leaf in host memory."""
  dtype = getattr(leaf, "dtype", None)
  is_shape = isinstance(leaf, jax.ShapeDtypeStruct)
  if dtype is None or is_shape or not is_stored(dtype):
    kind = type(leaf).__name__ if dtype is None or is_shape else f"of {dtype}"
    raise ValueError(
      f"The leaf {name!r} is {kind}, but only arrays of numbers and booleans can be"
      " saved."
    )
  if not getattr(leaf, "is_fully_addressable", True):
    raise ValueError(
      f"The leaf {name!r} is spread over several processes: gather it first, with"
      " `jax.experimental.multihost_utils.process_allgather`."
    )
  array = np.asarray(leaf)
  return array.astype(array.dtype.newbyteorder("="), copy=False)


def is_stored(dtype: Any) -> bool:
  """Whether arrays of this type can be in a file: JAX's, which are so everywhere."""
  if jnp.issubdtype(dtype, np.complexfloating):
    return np.dtype(dtype).itemsize <= 16
  if jnp.issubdtype(dtype, np.number):
    return np.dtype(dtype).itemsize <= 8  # a long double has more
  return jnp.issubdtype(dtype, np.bool_)


def stored_as(dtype: np.dtype) -> np.dtype:
  """The type itself, or, where NumPy's files know it not, integers of its size."""
  is_numpys_own = issubclass(dtype.type, np.number | np.bool_)
  return dtype if is_numpys_own else np.dtype(f"u{dtype.itemsize}")


def _without_zeros(array: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
  """What is not zero, bit by bit, and where it is; all and ``None`` if that is less."""
  flat = np.ascontiguousarray(array).reshape(-1)
  bits = flat.view(np.uint8).reshape(flat.size, array.dtype.itemsize)
  is_nonzero = bits.any(axis=1)  # -0.0 is not all zeros
  flat = flat.view(stored_as(array.dtype))
  mask = np.packbits(is_nonzero)
  values = flat[is_nonzero]
  if values.nbytes + mask.nbytes < flat.nbytes:
    return values, mask
  return flat.reshape(array.shape), None


def _described(structure: Any, numbers: Any) -> Any:
  """The tree as JSON: a leaf is its number, a container its name and what it holds."""
  if jax.tree_util.treedef_is_leaf(structure) and structure.num_leaves:
    return next(numbers)
  data = structure.node_data()
  if data is None or data[0] is type(None):
    return None
  kind, keys = data
  children = [_described(child, numbers) for child in structure.children()]
  name = CONTAINERS.get(kind)
  if name in ("list", "tuple"):
    return {name: children}
  if name is None:
    return {f"{kind.__module__}.{kind.__qualname__}": children}
  for key in keys:
    if type(key) not in (str, int):
      raise ValueError(
        f"A dict with the key {key!r} cannot be saved: only strings and integers can be"
        " keys."
      )
  return {name: [list(pair) for pair in zip(keys, children, strict=True)]}


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
  """Writes the whole file, or none."""
  try:
    file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False)  # noqa: SIM115
  except OSError as error:
    raise type(error)(error.errno, error.strerror, str(path)) from None
  with file:
    try:
      write: Any = np.savez_compressed  # older ones have no `allow_pickle`
      write(file, **arrays)
      file.flush()
      os.fsync(file.fileno())
      os.chmod(file.name, _mode(path))
      os.replace(file.name, path)
    except BaseException:
      os.unlink(file.name)
      raise


def _mode(path: Path) -> int:
  """Who may read the file: as before, or as any new file."""
  if path.exists():
    return stat.S_IMODE(path.stat().st_mode)
  umask = os.umask(0)
  os.umask(umask)
  return 0o666 & ~umask
