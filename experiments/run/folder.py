"""A run's folder: its files, and the only judge of whether two runs are the same."""

import re
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments.configs.recipe import flatten
from experiments.run.checkpoints import Checkpoints
from experiments.run.errors import RunError, reason, unwritable
from experiments.run.files import (
  check_seal,
  remove,
  remove_partial,
  whole_name,
  write_json,
  writing,
)
from experiments.run.finished import Finished, finished, read_json
from experiments.run.locks import LOCK, locked
from experiments.run.weights import TRIAL, save_weights, try_out, unsafe_character
from experiments.train.devices import is_first_process, wait_for_others

__all__ = ["FILES", "Finished", "RunError", "RunFolder", "finished", "refuse_other_run"]

FILES = (
  *("checkpoints", "tensorboard", "base", "params", "pruned_params"),
  *("batch_stats", "reestimated_batch_stats"),
  *("job.json", "metrics.jsonl", "results.json", "report.png", LOCK),
)
"""All that a run leaves in its folder."""


class RunFolder:
  """The folder of one run, which no other run may use meanwhile.

  Attributes:
    path: the folder.
    description: what the run is; JSON. Two runs are the same if theirs are equal.
  """

  def __init__(
    self, path: Path, description: dict[str, Any], files: Iterable[str] = FILES
  ):
    """Touches nothing yet: see `opened`.

    Args:
      path: the folder.
      description: what the run is; JSON.
      files: the names of all that it leaves there.

    Raises:
      RunError: if no run could read back what it would write there.
    """
    self.path, self.description = path, description
    self._files = frozenset(files)
    other = "choose another folder with --out."
    if unsafe := unsafe_character(path):
      raise RunError(
        f"The path {path.absolute()} contains {unsafe}, which checkpoints cannot have:"
        f" {other}"
      )
    if re.search(r"[\0\ud800-\udfff]", str(path)):
      raise RunError(f"The path {str(path)!r} contains what is no character: {other}")
    if re.match("[a-z0-9]{2,}:/", str(path)):
      raise RunError(f"{path} is an address, and runs need a folder: {other}")

  @contextmanager
  def opened(self, resume: bool) -> Generator[bool]:
    """Makes the folder and locks it; clears it of the same run, if finished.

    Args:
      resume: whether to keep what the same run has left there.

    Yields:
      Whether the same run was finished there, and its files are gone now.

    Raises:
      RunError: if it holds an unfinished run, another run, or files that are no run's,
        or if what is written there cannot be read back.
    """
    with ExitStack() as stack:
      replaces = False
      with unwritable(self.path):
        if is_first_process():
          if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file: choose a folder with --out.")
          self._refuse_foreign()  # before anything is written there
          self.path.mkdir(parents=True, exist_ok=True)
          stack.enter_context(locked(self.path))
          self._refuse_foreign()
          replaces = self._is_to_be_replaced(resume)
        wait_for_others(f"opened {self.path}")
        try_out(self.path)
        if is_first_process():
          if not resume:
            self._clear()
          self.write_json("job.json", self.description)
        wait_for_others(f"prepared {self.path}")
      yield replaces
    wait_for_others(f"closed {self.path}")

  def _refuse_foreign(self) -> None:
    if not self.path.exists():
      return
    names = {path.name for path in self.path.iterdir()} - {TRIAL}
    if foreign := sorted(name for name in names if whole_name(name) not in self._files):
      raise RunError(
        f"{self.path} holds files that are no run's ({', '.join(foreign[:3])}): choose"
        " another folder with --out."
      )

  def _is_to_be_replaced(self, resume: bool) -> bool:
    """Whether there is a finished run to clear away; raises for what must stay."""
    remove_partial(self.path)
    results = self.path / "results.json"
    if resume:
      self._refuse_noted(self.path / "job.json")
      self._refuse_noted(results, "config")
      return False
    if results.exists():
      try:
        saved = read_json(results).get("config")
        if not isinstance(saved, dict):
          raise ValueError("it does not say what the run is")
        self.refuse_other(saved)
      except (OSError, ValueError) as error:
        raise RunError(
          f"{results} is damaged ({reason(error)}): write it anew with --resume, remove"
          " the folder, or choose another with --out."
        ) from error
      return True
    if any(self.path.rglob("checkpoints/[0-9]*")) or any(self.path.rglob("params")):
      raise RunError(
        f"{self.path} holds an unfinished run: continue it with --resume, remove the"
        " folder, or choose another with --out."
      )
    return False

  def _refuse_noted(self, path: Path, key: str | None = None) -> None:
    """Refuses another run that a file tells of; one that tells nothing is rewritten."""
    try:
      noted = read_json(path)
    except (OSError, ValueError):
      return
    noted = noted.get(key) if key else noted
    if isinstance(noted, dict):
      self.refuse_other(noted)

  def _clear(self) -> None:
    """Removes all files; killed in between, it leaves an unfinished run or none."""
    order = ("results.json", "checkpoints")
    names = {path.name for path in self.path.iterdir()} - {LOCK, *order}
    for name in (*order, *sorted(names)):
      remove(self.path / name)

  def refuse_other(self, saved: Any) -> None:
    """Raises a RunError unless `saved` describes this run."""
    refuse_other_run(saved, self.description, self.path)

  def checkpoints(self, say: Callable[[str], None]) -> Checkpoints:
    """The run's checkpoints.

    Args:
      say: is told what a user should know.
    """
    with unwritable(self.path):
      return Checkpoints(self.path / "checkpoints", say)

  def part(self, name: str) -> "RunFolder":
    """The folder of a run that is a part of this one."""
    return RunFolder(self.path / name, self.description)

  def write_json(self, name: str, content: Any) -> None:
    """Writes a whole file or none."""
    with unwritable(self.path):
      write_json(self.path / name, content)

  def save_figure(self, name: str, figure: Figure) -> None:
    """Writes a whole picture or none."""
    with unwritable(self.path), writing(self.path / name) as partial:
      figure.savefig(partial, dpi=120, format="png")

  def save(self, name: str, weights: Any) -> None:
    """Writes params or the like, whole or not at all, and reads them back.

    Raises:
      RunError: if they cannot be written, or are not what was written.
    """
    with unwritable(self.path):
      save_weights(self.path / name, weights)

  def damage(self, name: str) -> str | None:
    """What is wrong with weights that were saved, if anything."""
    try:
      check_seal(self.path / name)
    except Exception as error:
      return reason(error)
    return None


def refuse_other_run(
  saved: Any, wanted: dict[str, Any], path: Path, flag: str = "--out", only: str = ""
) -> None:
  """Raises a RunError that names what differs between two descriptions.

  Args:
    saved: of the run in the folder.
    wanted: of the one that should be there.
    path: the folder.
    flag: the one that named the folder.
    only: a comma-separated list of the names that matter, by default all.
  """
  before, now = flatten(saved), flatten(wanted)
  parts = tuple(only.split(",")) if only else ()
  differences = [
    f"{name} {before.get(name)} instead of {now.get(name)}"
    for name in sorted(before.keys() | now.keys())
    if before.get(name) != now.get(name) and (not parts or name.startswith(parts))
  ]
  if differences:
    raise RunError(
      f"{path} holds another run, with {', '.join(differences)}: give the same flags,"
      f" or choose another folder with {flag}."
    )
