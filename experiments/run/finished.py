"""What other runs take from a finished one."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from experiments.run.errors import RunError, reason
from experiments.run.locks import read_locked
from experiments.run.weights import load_weights, unsafe_character


class Finished(NamedTuple):
  """A finished run.

  Attributes:
    path: its folder.
    results: its ``results.json``.
    flag: the one that named the folder.
  """

  path: Path
  results: dict[str, Any]
  flag: str = "--base"

  @property
  def description(self) -> dict[str, Any]:
    """What the run is."""
    return self.results["config"]

  def weights(self, name: str) -> Any:
    """``base``, ``params`` or ``pruned_params``, as nested dicts.

    Raises:
      RunError: if they are missing or damaged, or a run is writing there.
    """
    path = self.path / name
    if not path.is_dir():
      raise RunError(
        f"{self.path} lacks its {name}: name another folder with {self.flag}, or remove"
        " it and run it again."
      )
    with read_locked(self.path, self.flag):
      try:
        return load_weights(path)
      except Exception as error:
        if unsafe := unsafe_character(path):
          raise RunError(
            f"{path.absolute()} cannot be read with {unsafe} in its path: rename that"
            " folder."
          ) from error
        raise RunError(
          f"{path} is damaged ({reason(error)}): remove {self.path} and run it again,"
          f" or name another folder with {self.flag}."
        ) from error


def finished(path: Path, flag: str = "--base") -> Finished:
  """The finished run in a folder.

  Args:
    path: the folder.
    flag: the one that named it.

  Raises:
    RunError: if there is none.
  """
  try:
    results = read_json(path / "results.json")
  except (FileNotFoundError, NotADirectoryError) as error:
    raise RunError(
      f"{path} holds no finished run: name another folder with {flag}, or run"
      " python -m experiments.prune there."
    ) from error
  except (OSError, ValueError) as error:
    raise RunError(
      f"{path / 'results.json'} cannot be read ({reason(error)}): run it again with"
      f" --resume, or name another folder with {flag}."
    ) from error
  if not all(isinstance(results.get(key), dict) for key in ("config", "wall_seconds")):
    raise RunError(
      f"{path / 'results.json'} is not a run's: name another folder with {flag}."
    )
  return Finished(path, results, flag)


def read_json(path: Path) -> dict[str, Any]:
  """An object.

  Raises:
    OSError: if the file cannot be read.
    ValueError: if it is no JSON, or no object.
  """
  content = json.loads(path.read_text())
  if not isinstance(content, dict):
    raise ValueError("it is no JSON object")
  return content
