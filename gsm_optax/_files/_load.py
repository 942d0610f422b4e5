"""Reads params back from a file of `save`."""

import io
import json
import math
import os
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsm_optax._files._save import HEADER, VERSION, is_stored, stored_as
from gsm_optax._trees import named_leaves

LONGEST_HEADER = 1 << 26
"""Bytes of the header at most."""

LONGEST_START = 1 << 12
"""Bytes at most that come before the numbers of an array."""

CONTAINERS: dict[str, Callable[[Any], Any]] = {
  "dict": dict,
  "OrderedDict": OrderedDict,
  "list": list,
  "tuple": tuple,
}


def load(path: str | os.PathLike[str], like: Any = None) -> Any:
  """Reads the params that `save` has written, bit by bit as they were.

  Args:
    path: of the file.
    like: a pytree with leaves of the same names, shapes and types, such as a model's
      untrained params or their `jax.eval_shape`: what is read comes in its containers.
      ``None``: in those that were saved, if they are dicts, lists and tuples.

  Returns:
    A pytree of NumPy arrays.

  Raises:
    ValueError: if the file is not one of `save`, is damaged or cut off, or needs
      `like`; or if `like` has other leaves.
    OSError: if there is no such file, or it cannot be read.

  Example:
    >>> import os, tempfile
    >>> import numpy as np
    >>> import gsm_optax
    >>> path = os.path.join(tempfile.mkdtemp(), "pruned.npz")
    >>> gsm_optax.save(path, {"layers": [np.eye(3), np.ones(2, np.float16)]})
    >>> print(gsm_optax.load(path))
    {'layers': [array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]]), array([1., 1.], dtype=float16)]}
  """
  saved = read_saved(path)
  if like is not None:
    return _in_tree_like(like, saved)
  return _in_tree(saved.tree, saved.arrays)


class Saved(NamedTuple):
  """What a file holds.

  Attributes:
    names: of the leaves.
    arrays: the leaves.
    tree: the containers, in JSON's terms.
  """

  names: list[str]
  arrays: list[np.ndarray]
  tree: Any


def read_saved(path: str | os.PathLike[str]) -> Saved:
  """Reads a file of `save`.

  Raises:
    ValueError: if it is another, or damaged.
    OSError: if there is no such file, or it cannot be read.
  """
  with open(path, "rb") as file:
    content = io.BytesIO(file.read())
  try:
    with zipfile.ZipFile(content) as archive:
      header = _header(archive)
      described = header["leaves"]
      names = [str(leaf["name"]) for leaf in described]
      arrays = [_leaf(archive, i, leaf) for i, leaf in enumerate(described)]
      _check_tree(header["tree"], len(arrays))
  except Exception as error:
    # A damaged file can fail in a dozen ways, in `zipfile`, `zlib`, `json` and NumPy.
    raise ValueError(
      f"{os.fspath(path)!r} is no file of `gsm_optax.save`, or it is damaged:"
      f" {type(error).__name__}: {error}."
    ) from error
  return Saved(names, arrays, header["tree"])


def _header(archive: zipfile.ZipFile) -> Any:
  header = json.loads(_array(archive, HEADER, np.dtype(np.uint8), None).tobytes())
  if header["version"] != VERSION:
    raise ValueError(
      f"it has version {header['version']!r} of the format, and this version of"
      f" gsm_optax reads version {VERSION} alone"
    )
  return header


def _array(
  archive: zipfile.ZipFile, name: str, dtype: np.dtype, size: int | None
) -> np.ndarray:
  """The array of a name, flat; of so many numbers (``None``: of as many as it has)."""
  entry = archive.getinfo(f"{name}.npy")
  most = LONGEST_HEADER if size is None else size * dtype.itemsize
  if entry.file_size > most + LONGEST_START:  # and would fill the memory
    raise ValueError(f"the array {name!r} has {entry.file_size} bytes")
  with archive.open(entry) as member:
    array = np.lib.format.read_array(member, allow_pickle=False)
    is_longer = bool(member.read(1))  # also compares the checksum
  if is_longer or array.dtype != dtype or size not in (None, array.size):
    raise ValueError(f"the array {name!r} has another type or size than it should")
  return array.reshape(-1)


def _leaf(archive: zipfile.ZipFile, number: int, described: Any) -> np.ndarray:
  dtype, shape = jnp.dtype(described["dtype"]), tuple(described["shape"])
  if not is_stored(dtype):
    raise ValueError(f"a leaf of type {dtype}")
  stored, size = stored_as(dtype), math.prod(shape)
  if not described["has_mask"]:
    return _array(archive, str(number), stored, size).view(dtype).reshape(shape)
  bits = _array(archive, f"{number}.mask", np.dtype(np.uint8), -(-size // 8))
  is_nonzero = np.unpackbits(bits, count=size).view(bool)
  flat = np.zeros(size, stored)
  count = int(np.count_nonzero(is_nonzero))
  flat[is_nonzero] = _array(archive, str(number), stored, count)
  return flat.view(dtype).reshape(shape)


def _check_tree(node: Any, number: int) -> None:
  """Raises an error of some kind if this is not how containers are described."""
  if node is None:
    return
  if isinstance(node, int):
    if not 0 <= node < number:
      raise ValueError(f"there is no leaf {node}")
    return
  ((name, children),) = node.items()
  for child in children:
    if name in ("dict", "OrderedDict"):
      key, child = child
      hash(key)
    _check_tree(child, number)


def _in_tree(node: Any, arrays: list[np.ndarray]) -> Any:
  """The containers that were saved, with the arrays in them."""
  if node is None:
    return None
  if isinstance(node, int):
    return arrays[node]
  ((name, children),) = node.items()
  if name not in CONTAINERS:
    raise ValueError(
      f"The params were saved in a {name}, which cannot be made from a file: give"
      " `load` the untrained params as `like`."
    )
  if name in ("list", "tuple"):
    return CONTAINERS[name](_in_tree(child, arrays) for child in children)
  return CONTAINERS[name]((key, _in_tree(child, arrays)) for key, child in children)


def _in_tree_like(like: Any, saved: Saved) -> Any:
  """The containers of another tree, with the arrays in them."""

  def words(name: str, leaf: Any) -> str:
    dtype, shape = getattr(leaf, "dtype", "no array"), getattr(leaf, "shape", "")
    return f"{name!r}, {dtype} {tuple(shape)}"

  arrays = saved.arrays
  found = [words(name, array) for name, array in zip(saved.names, arrays, strict=True)]
  wanted = [words(name, leaf) for name, leaf in named_leaves(like)]
  for one in sorted(set(found) ^ set(wanted)):
    where = "the file" if one in found else "`like`"
    raise ValueError(
      f"`like` must have the leaves of the file, but {one}, is in {where} alone."
    )
  if found != wanted:  # ordered dicts may differ in their orders
    by_words = dict(zip(found, arrays, strict=True))
    if not len(by_words) == len(found) == len(wanted):
      raise ValueError("`like` must have its leaves in the same order as the file.")
    arrays = [by_words[each] for each in wanted]
  return jax.tree.unflatten(jax.tree.structure(like), arrays)
