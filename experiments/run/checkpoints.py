"""Checkpoints of an interrupted run, with Orbax."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


class DamagedError(Exception):
  """No checkpoint can be read; the message says what to do."""


class Checkpoints:
  """The last checkpoints of a run: arrays, and a JSON description of them.

  Orbax writes each to a folder of another name and renames it when it is whole, so that
  a run may be killed at any moment. Two are kept: where one is damaged, the one before
  it takes its place.
  """

  def __init__(self, folder: Path, say: Callable[[str], None]):
    """Opens `folder`, or makes it; `say` is told of damaged checkpoints."""
    self._folder, self._say = folder, say
    self._manager = ocp.CheckpointManager(
      folder.absolute(),
      options=ocp.CheckpointManagerOptions(
        max_to_keep=2, enable_async_checkpointing=False, cleanup_tmp_directories=True
      ),
    )

  def save(self, step: int, arrays: Any, description: dict[str, Any]) -> None:
    """Saves what `newest` will give back; `step` must grow.

    Raises:
      DamagedError: if it cannot be written.
    """
    described = {**description, "digest": digest(arrays)}
    try:
      self._manager.save(
        step,
        args=ocp.args.Composite(
          arrays=ocp.args.StandardSave(arrays), description=ocp.args.JsonSave(described)
        ),
      )
    except Exception as error:
      raise DamagedError(
        f"A checkpoint cannot be written to {self._folder} ({_reason(error)}): free"
        " some space there; --resume then continues from the one before."
      ) from error

  def newest(
    self, like: Callable[[dict[str, Any]], Any]
  ) -> tuple[Any, dict[str, Any]] | None:
    """The newest checkpoint that can be read: its arrays and description, or ``None``.

    Args:
      like: makes of a description a tree of the structure, types and shardings that the
        arrays are to have.

    Raises:
      DamagedError: if there are checkpoints, but none that can be read.
    """
    steps = sorted(self._manager.all_steps(), reverse=True)
    problem = None
    for step in steps:
      try:
        args = ocp.args.Composite(description=ocp.args.JsonRestore())
        description = self._manager.restore(step, args=args)["description"]
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like(description))
        args = ocp.args.Composite(arrays=ocp.args.StandardRestore(target))
        arrays = self._manager.restore(step, args=args)["arrays"]
        if digest(arrays) != description["digest"]:
          raise ValueError("its arrays are not those that were saved")
      except RefusedError as refusal:
        raise refusal.reason from None
      except Exception as error:
        problem = _reason(error)
        self._say(f"Checkpoint {step} of {self._folder} is damaged ({problem}).")
        continue
      # Training comes to these steps again.
      for damaged in steps[: steps.index(step)]:
        self._manager.delete(damaged)
      return arrays, description
    if steps:
      raise DamagedError(
        f"No checkpoint in {self._folder} can be read ({problem}): remove the run's"
        " folder to begin anew."
      )
    return None

  def close(self) -> None:
    """Ends Orbax's threads."""
    self._manager.close()


class RefusedError(Exception):
  """Raised by `like` for a checkpoint that is whole, but must not be used.

  Attributes:
    reason: what `Checkpoints.newest` raises in its place.
  """

  def __init__(self, reason: Exception):
    super().__init__(str(reason))
    self.reason = reason


def digest(tree: Any) -> str:
  """A checksum of all bits of a tree of arrays."""
  result = hashlib.blake2b(digest_size=16)
  for leaf in jax.tree.leaves(tree):
    array = np.asarray(leaf)
    result.update(f"{array.dtype}{array.shape}".encode())
    result.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
  return result.hexdigest()


def _reason(error: Exception) -> str:
  reason = str(error).strip() or type(error).__name__
  return reason.splitlines()[0][:200]
