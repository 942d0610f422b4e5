"""The weights of an Orbax checkpoint."""

import re
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from gsm_optax._files._errors import ReadError, needs, one_line
from gsm_optax._files._names import select
from gsm_optax._trees import path_name

_ITEMS = ("params", "state", "default")
"""Items of a `CheckpointManager` step that may hold the params, the preferred first."""


def folder_of_arrays(folder: Path) -> Path | None:
  """Where the arrays are: there, in an item, or in those of the last step.

  Raises:
    ReadError: if there are several items.
  """
  if _has_arrays(folder):
    return folder
  items = {item.name: item for item in sorted(folder.iterdir()) if _has_arrays(item)}
  for name in _ITEMS:
    if name in items:
      return items[name]
  if len(items) > 1:
    names = ", ".join(items)
    raise ReadError(f"{folder} holds {names}: give the path of one of them.")
  if items:
    return next(iter(items.values()))
  # Of the ASCII digits alone: `isdigit` takes a raised two for one, and `int` does not.
  steps = [
    step
    for step in folder.iterdir()
    if re.fullmatch(r"[0-9]+", step.name) and step.is_dir()
  ]
  return (
    folder_of_arrays(max(steps, key=lambda step: int(step.name))) if steps else None
  )


def _has_arrays(folder: Path) -> bool:
  return (folder / "_METADATA").is_file()


def read_orbax(folder: Path, key: str | None) -> dict[str, np.ndarray]:
  """Reads as `read_weights` does.

  Raises:
    ReadError: if it cannot.
  """
  try:
    import orbax.checkpoint as ocp
  except ModuleNotFoundError as error:
    raise ReadError(needs("an Orbax checkpoint", "orbax-checkpoint")) from error
  for file in folder.rglob("*"):
    if not (file.is_file() or file.is_dir()):  # a pipe: who reads it waits
      raise ReadError(f"{file} is no ordinary file.")
  folder = folder.absolute()
  with ocp.PyTreeCheckpointer() as checkpointer:
    try:
      metadata = cast(Any, checkpointer.metadata(folder)).item_metadata
      if metadata is None:
        raise ValueError("its file _METADATA, or another one, is damaged.")
      leaves, structure = jax.tree_util.tree_flatten_with_path(metadata.tree)
      names = [path_name(path) for path, _ in leaves]
      chosen = select(names, key, folder)
      # Placeholders are not read: the optimizer's state may be larger than the params.
      wanted = [
        leaf if name in chosen and _is_weight(leaf) else ocp.PLACEHOLDER
        for name, (_, leaf) in zip(names, leaves, strict=True)
      ]
      # NumPy arrays need none of the devices that the checkpoint was saved from.
      to_numpy = [ocp.RestoreArgs(restore_type=np.ndarray)] * len(leaves)
      restored = checkpointer.restore(
        folder,
        args=ocp.args.PyTreeRestore(
          item=structure.unflatten(wanted), restore_args=structure.unflatten(to_numpy)
        ),
      )
    except ReadError:
      raise
    except Exception as error:
      # Files of other shapes than Orbax writes can fail anywhere within it.
      kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
      raise ReadError(f"Orbax cannot read {folder}: {kind}{one_line(error)}") from error
  return {
    chosen[name]: leaf
    for name, leaf in zip(names, structure.flatten_up_to(restored), strict=True)
    if leaf is not ocp.PLACEHOLDER
  }


def _is_weight(leaf: Any) -> bool:
  shape, dtype = getattr(leaf, "shape", ()), getattr(leaf, "dtype", None)
  return len(shape) >= 2 and dtype is not None and jnp.issubdtype(dtype, jnp.inexact)
