"""Checkpoints of an interrupted run, with Orbax."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


class CheckpointError(Exception):
  """A run cannot be started or continued; the message says what to do."""


class Checkpoints:
  """The last checkpoints of a run: arrays, and a JSON description of them.

  Orbax writes each to a folder of another name and renames it when it is whole, so that
  a run may be killed at any moment.
  """

  def __init__(self, folder: Path):
    """Opens `folder`, or makes it."""
    self._manager = ocp.CheckpointManager(
      folder.absolute(),
      options=ocp.CheckpointManagerOptions(
        max_to_keep=2, enable_async_checkpointing=False
      ),
    )

  def save(self, epoch: int, arrays: Any, description: dict[str, Any]) -> None:
    """Saves what `load` will give back; `epoch` must grow."""
    self._manager.save(
      epoch,
      args=ocp.args.Composite(
        arrays=ocp.args.StandardSave(arrays), description=ocp.args.JsonSave(description)
      ),
    )

  def description(self) -> dict[str, Any] | None:
    """The description saved last, or ``None`` where nothing was saved."""
    epoch = self._manager.latest_step()
    if epoch is None:
      return None
    args = ocp.args.Composite(description=ocp.args.JsonRestore())
    return self._manager.restore(epoch, args=args)["description"]

  def load(self, like: Any) -> Any:
    """The arrays saved last, in the structure, types and shardings of `like`."""
    target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    args = ocp.args.Composite(arrays=ocp.args.StandardRestore(target))
    return self._manager.restore(self._manager.latest_step(), args=args)["arrays"]

  def close(self) -> None:
    """Ends Orbax's threads."""
    self._manager.close()


def save_params(path: Path, params: Any) -> None:
  """Writes params as an Orbax checkpoint of their own, in place of an earlier one."""
  # From the host, so that they can be read where there are other devices.
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(path.absolute(), jax.tree.map(np.asarray, params), force=True)


def load_params(path: Path) -> Any:
  """Params written by `save_params`, as nested dicts."""
  with ocp.StandardCheckpointer() as checkpointer:
    return checkpointer.restore(path.absolute())
