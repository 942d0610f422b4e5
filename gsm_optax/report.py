"""The sparsity report of a checkpoint: ``python -m gsm_optax.report PATH``.

PATH is a safetensors file or an Orbax folder: a checkpoint, one step of a
`CheckpointManager`, or a manager's folder, from which the last step is read. As in
`sparsity_report` by default, only floating-point `kernels` are counted. The options:

- ``--key a/b``: report on this subtree. The default is ``params``, so that the
  optimizer's state does not count, or everything if there is no ``params``.
- ``--density D``: report on what pruning to this density would leave.
- ``--json``: print `SparsityReport.to_dict` instead of a table.

Orbax or safetensors must be installed: ``pip install 'gsm-optax[report]'``.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from gsm_optax._pruning import apply_mask, magnitude_mask
from gsm_optax._sparsity_report import sparsity_report
from gsm_optax._trees import path_name

_ITEMS = ("params", "state", "default")
"""Items of a `CheckpointManager` step that may hold the params, the preferred first."""


class ReportError(Exception):
  """There is nothing to report on; the message says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
  """Prints the report, or one sentence on why there is none; returns the exit code."""
  parser = argparse.ArgumentParser(
    prog="python -m gsm_optax.report",
    description="Prints how many weights are left in each layer of a checkpoint.",
  )
  parser.add_argument(
    "path", type=Path, help="an Orbax checkpoint folder or a safetensors file"
  )
  parser.add_argument(
    "--key",
    help="the subtree to report on, such as a/b (default: params if there is one)",
  )
  parser.add_argument(
    "--density", type=float, help="report on what pruning to this density would leave"
  )
  parser.add_argument("--json", action="store_true", help="print JSON, not a table")
  options = parser.parse_args(arguments)
  try:
    params = read_weights(options.path, options.key)
    if options.density is not None:
      params = apply_mask(params, magnitude_mask(params, options.density))
    report = sparsity_report(params)
  except (ReportError, ValueError) as error:
    print(error, file=sys.stderr)
    return 1
  print(json.dumps(report.to_dict(), indent=2) if options.json else report)
  return 0


def read_weights(path: Path, key: str | None = None) -> dict[str, np.ndarray]:
  """Reads the prunable weights of a checkpoint, by name.

  Args:
    path: an Orbax checkpoint folder or a safetensors file.
    key: the subtree to read; ``None`` reads ``params`` if there is one, else all.

  Returns:
    The floating-point arrays with two or more dimensions, by their names in the
    subtree, in host memory whichever devices they were saved from.

  Raises:
    ReportError: if none can be read; the message says why.
  """
  if path.is_dir():
    weights = _read_orbax(_folder_of_arrays(path).absolute(), key)
  elif path.exists():
    weights = _read_safetensors(path, key)
  else:
    raise ReportError(f"{path} does not exist.")
  if not weights:
    raise ReportError(
      f"{path} holds no floating-point array with two or more dimensions"
      f" {f'at {key!r}' if key else 'to report on'}: name another subtree with --key."
    )
  return weights


def _folder_of_arrays(folder: Path) -> Path:
  if _has_arrays(folder):
    return folder
  items = {item.name: item for item in sorted(folder.iterdir()) if _has_arrays(item)}
  for name in _ITEMS:
    if name in items:
      return items[name]
  if len(items) > 1:
    names = ", ".join(items)
    raise ReportError(f"{folder} holds {names}: give the path of one of them.")
  if items:
    return next(iter(items.values()))
  steps = [step for step in folder.iterdir() if step.is_dir() and step.name.isdigit()]
  if steps:
    return _folder_of_arrays(max(steps, key=lambda step: int(step.name)))
  raise ReportError(_neither(folder))


def _neither(path: Path) -> str:
  return (
    f"{path} is neither an Orbax checkpoint (a folder with a file _METADATA) nor a"
    " safetensors file."
  )


def _has_arrays(folder: Path) -> bool:
  return (folder / "_METADATA").is_file()


def _read_orbax(folder: Path, key: str | None) -> dict[str, np.ndarray]:
  try:
    import orbax.checkpoint as ocp
  except ModuleNotFoundError as error:
    raise ReportError(_needs("an Orbax checkpoint", "orbax-checkpoint")) from error
  with ocp.PyTreeCheckpointer() as checkpointer:
    try:
      metadata = cast(Any, checkpointer.metadata(folder)).item_metadata
      if metadata is None:
        raise ValueError("its file _METADATA is damaged.")
      tree = metadata.tree
      leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
      names = [path_name(path) for path, _ in leaves]
      chosen = _select(names, key, folder)
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
    except (OSError, ValueError) as error:
      raise ReportError(f"Orbax cannot read {folder}: {error}") from error
  return {
    chosen[name]: leaf
    for name, leaf in zip(names, structure.flatten_up_to(restored), strict=True)
    if leaf is not ocp.PLACEHOLDER
  }


def _is_weight(leaf: Any) -> bool:
  shape, dtype = getattr(leaf, "shape", ()), getattr(leaf, "dtype", None)
  return len(shape) >= 2 and dtype is not None and jnp.issubdtype(dtype, jnp.inexact)


def _read_safetensors(path: Path, key: str | None) -> dict[str, np.ndarray]:
  try:
    import safetensors
  except ModuleNotFoundError as error:
    raise ReportError(_needs("a safetensors file", "safetensors")) from error
  try:
    with safetensors.safe_open(path, framework="numpy") as file:
      names = list(file.keys())
      chosen = _select(names, key, path)
      slices = {name: file.get_slice(name) for name in chosen}
      return {
        chosen[name]: file.get_tensor(name)
        for name, part in slices.items()
        if len(part.get_shape()) >= 2 and "F" in part.get_dtype()  # F32, BF16, ...
      }
  except safetensors.SafetensorError as error:
    raise ReportError(_neither(path)) from error


def _select(names: Sequence[str], key: str | None, path: Path) -> dict[str, str]:
  """Maps each name under `key` to its name relative to `key`.

  The parts of a name are separated by slashes or, as in safetensors files, by dots.
  """
  parts = {name: re.split(r"[./]", name) for name in names}
  roots = list(dict.fromkeys(first for first, *_ in parts.values()))
  if key is None:
    named = [p[: p.index("params") + 1] for p in parts.values() if "params" in p]
    nested = list(dict.fromkeys("/".join(p) for p in named))
    if len(nested) > 1 and "params" not in nested:
      raise ReportError(f"{path} has several params: name one of {nested} with --key.")
    key = "params" if "params" in nested else "".join(nested)
  prefix = re.split(r"[./]", key) if key else []
  chosen = {
    name: name[len(key) + 1 :] if key and len(name) > len(key) else name
    for name in names
    if parts[name][: len(prefix)] == prefix
  }
  if not chosen:
    root = ", ".join(roots)
    raise ReportError(f"{path} has nothing at {key!r}: its root holds {root}.")
  return chosen


def _needs(what: str, package: str) -> str:
  return f"Reading {what} needs {package}: pip install 'gsm-optax[report]'."


if __name__ == "__main__":
  # Counting needs only the host, and an accelerator may be busy. x64 keeps float64.
  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_enable_x64", True)
  sys.exit(main())
