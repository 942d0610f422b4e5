"""Checkpoints of an interrupted run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.run.errors import reason
from experiments.run.files import check_seal, remove, remove_partial, write_json
from experiments.run.weights import read_arrays, write_arrays, written_by_all
from experiments.train.devices import is_first_process, wait_for_others

KEPT = 2
"""How many there are: where one is damaged, the one before it takes its place."""


class DamagedError(Exception):
  """No checkpoint can be read, or none written; the message says what to do."""


class RefusedError(Exception):
  """Raised by `like` for a checkpoint that is whole, but must not be used.

  Attributes:
    reason: what `Checkpoints.newest` raises in its place.
  """

  def __init__(self, reason: Exception):
    super().__init__(str(reason))
    self.reason = reason


class Checkpoints:
  """The last checkpoints of a run: arrays, and a JSON description of them.

  Each is a sealed folder by the number of its step, written under another name and
  renamed when it is whole, so that a run may be killed at any moment.
  """

  def __init__(self, folder: Path, say: Callable[[str], None]):
    """Opens `folder`, or makes it; `say` is told of damaged checkpoints.

    Raises:
      OSError: if it cannot be written.
    """
    self._folder, self._say = folder, say
    if is_first_process():
      folder.mkdir(exist_ok=True)
      remove_partial(folder)
    wait_for_others(f"open {folder}")

  def steps(self) -> list[int]:
    """The steps of which there are checkpoints, ascending."""
    names = [path.name for path in self._folder.iterdir()]
    return sorted(int(name) for name in names if name.isdecimal())

  def save(self, step: int, arrays: Any, description: dict[str, Any]) -> None:
    """Saves what `newest` will give back; `step` must grow.

    Raises:
      DamagedError: if it cannot be written.
    """
    try:
      with written_by_all(self._folder / str(step)) as partial:
        if is_first_process():
          partial.mkdir()
          write_json(partial / "description.json", description)
        write_arrays(partial / "arrays", arrays)
      self._remove(self.steps()[:-KEPT])
    except Exception as error:
      raise DamagedError(
        f"A checkpoint cannot be written to {self._folder} ({reason(error)}). If the"
        " disk is full, free some space: --resume continues from the one before."
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
    steps, problem = self.steps(), None
    for step in reversed(steps):
      path = self._folder / str(step)
      try:
        check_seal(path)
        description = json.loads((path / "description.json").read_text())
        arrays = read_arrays(path / "arrays", like(description))
      except RefusedError as refusal:
        raise refusal.reason from None
      except Exception as error:
        problem = reason(error)
        self._say(f"Checkpoint {step} of {self._folder} is damaged ({problem}).")
        continue
      # Training comes to these steps again.
      self._remove([damaged for damaged in steps if damaged > step])
      return arrays, description
    if steps:
      raise DamagedError(
        f"No checkpoint in {self._folder} can be read ({problem}): remove the run's"
        " folder to begin anew."
      )
    return None

  def _remove(self, steps: list[int]) -> None:
    wait_for_others(f"before removing from {self._folder}")
    if is_first_process():
      for step in steps:
        remove(self._folder / str(step))
    wait_for_others(f"after removing from {self._folder}")
