"""A run's folder: its files, and the only judge of whether two runs are the same."""

import json
import os
import shutil
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from matplotlib.figure import Figure

from experiments.configs.recipe import flatten
from experiments.run.checkpoints import Checkpoints
from experiments.run.files import PARTIAL, write_json
from experiments.run.weights import load_weights, save_weights
from experiments.train.devices import is_first_process, wait_for_others


class RunError(Exception):
  """A run cannot be started or continued; the message says what to do."""


FILES = (
  *("checkpoints", "tensorboard", "base", "params", "pruned_params"),
  *("job.json", "metrics.jsonl", "results.json", "report.png", "lock"),
)
"""All that a run leaves in its folder."""

UNSAFE = frozenset("*?[]\\")
"""Characters of a path that Orbax takes for patterns: it would not find its files."""


class Finished(NamedTuple):
  """A finished run.

  Attributes:
    path: its folder.
    results: its ``results.json``.
  """

  path: Path
  results: dict[str, Any]

  @property
  def description(self) -> dict[str, Any]:
    """What the run is."""
    return self.results["config"]

  def weights(self, name: str) -> Any:
    """``base``, ``params`` or ``pruned_params``, as nested dicts.

    Raises:
      RunError: if they are missing or damaged.
    """
    path = self.path / name
    if not path.is_dir():
      raise RunError(f"{self.path} lacks its {name}: run it again.")
    try:
      return load_weights(path)
    except Exception as error:
      raise RunError(
        f"{path} is damaged ({_first_line(error)}): run it again."
      ) from error


def finished(path: Path, flag: str = "--base") -> Finished:
  """The finished run in a folder.

  Args:
    path: the folder.
    flag: the one that named it.

  Raises:
    RunError: if there is none.
  """
  if not (path / "results.json").exists():
    raise RunError(
      f"{path} holds no finished run: name another folder with {flag}, or run"
      " python -m experiments.prune there."
    )
  results = _read_json(path / "results.json")
  if not isinstance(results.get("config"), dict) or "wall_seconds" not in results:
    raise RunError(f"{path / 'results.json'} is not a run's: run it again.")
  return Finished(path, results)


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
      RunError: if Orbax could not read back what it would write there.
    """
    self.path, self.description = path, description
    self._files = frozenset(files)
    if unsafe := sorted(UNSAFE & set(str(path.absolute()))):
      raise RunError(
        f"The path {path.absolute()} contains {unsafe[0]}, which checkpoints cannot"
        " have: choose another folder with --out."
      )

  @contextmanager
  def opened(self, resume: bool) -> Generator[bool]:
    """Makes the folder and locks it; clears it of the same run, if finished.

    Args:
      resume: whether to keep what the same run has left there.

    Yields:
      Whether the same run was finished there, and its files are gone now.

    Raises:
      RunError: if it holds an unfinished run, another run, or files that are no run's,
        or if it cannot be written.
    """
    if not is_first_process():
      wait_for_others("folder")
      yield False
      return
    with _sentences(self.path):
      if self.path.exists() and not self.path.is_dir():
        raise RunError(f"{self.path} is a file: choose a folder with --out.")
      self.path.mkdir(parents=True, exist_ok=True)
      lock = _locked(self.path)
    with lock:
      with _sentences(self.path):
        replaces = self._prepare(resume)
      wait_for_others("folder")
      yield replaces

  def _prepare(self, resume: bool) -> bool:
    names = {path.name for path in self.path.iterdir()} - {"lock"}
    if foreign := sorted(name for name in names if _whole(name) not in self._files):
      raise RunError(
        f"{self.path} holds files that are no run's ({', '.join(foreign[:3])}): choose"
        " another folder with --out."
      )
    for name in names:
      if _whole(name) != name:
        _remove(self.path / name)
        names = names - {name}
    note, results = self.path / "job.json", self.path / "results.json"
    if resume and note.exists():
      self.refuse_other(_read_json(note))
    if resume or not names:
      self.write_json("job.json", self.description)
      return False
    replaces = results.exists()
    if replaces:
      self.refuse_other(_read_json(results).get("config", {}))
    elif any(self.path.rglob("checkpoints/[0-9]*")):
      raise RunError(
        f"{self.path} holds an unfinished run: continue it with --resume, remove the"
        " folder, or choose another with --out."
      )
    for name in names:
      _remove(self.path / name)
    self.write_json("job.json", self.description)
    return replaces

  def refuse_other(self, saved: Any) -> None:
    """Raises a RunError unless `saved` describes this run."""
    refuse_other_run(saved, self.description, self.path)

  def checkpoints(self, say: Callable[[str], None]) -> Checkpoints:
    """The run's checkpoints; close them at the end.

    Args:
      say: is told what a user should know.
    """
    with _sentences(self.path):
      return Checkpoints(self.path / "checkpoints", say)

  def part(self, name: str) -> "RunFolder":
    """The folder of a run that is a part of this one."""
    return RunFolder(self.path / name, self.description)

  def write_json(self, name: str, content: Any) -> None:
    """Writes a whole file or none."""
    with _sentences(self.path):
      write_json(self.path / name, content)

  def save_figure(self, name: str, figure: Figure) -> None:
    """Writes a picture."""
    with _sentences(self.path):
      figure.savefig(self.path / name, dpi=120)

  def save(self, name: str, weights: Any) -> None:
    """Writes params or the like, whole or not at all, and reads them back.

    Raises:
      RunError: if they cannot be written, or are not what was written.
    """
    path = self.path / name
    partial = path.with_name(name + PARTIAL)
    with _sentences(self.path):
      if is_first_process() and partial.exists():
        shutil.rmtree(partial)
      wait_for_others(f"before {path}")
      save_weights(partial, weights)
      if is_first_process():
        if path.exists():
          shutil.rmtree(path)
        os.replace(partial, path)
      wait_for_others(f"after {path}")


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


def _read_json(path: Path) -> dict[str, Any]:
  try:
    content = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise RunError(
      f"{path} is damaged ({_first_line(error)}): remove the folder, or choose another"
      " with --out."
    ) from error
  if not isinstance(content, dict):
    raise RunError(f"{path} is not a run's: remove the folder, or choose another.")
  return content


def _whole(name: str) -> str:
  """The name that a file has when it is whole; Orbax adds its own to ours."""
  return name.split(".orbax-checkpoint-tmp")[0].removesuffix(PARTIAL)


def _remove(path: Path) -> None:
  if path.is_dir():
    shutil.rmtree(path)
  else:
    path.unlink()


def _locked(folder: Path) -> IO[str]:
  """The open file of the folder's lock, which closing it releases."""
  file = (folder / "lock").open("a+")
  try:
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except ImportError:
    pass  # Windows: runs do not exclude each other there
  except BlockingIOError as error:
    file.close()
    raise RunError(
      f"Another run is using {folder}: wait for its end, or choose another folder with"
      " --out."
    ) from error
  return file


@contextmanager
def _sentences(path: Path) -> Generator[None]:
  """Makes a RunError of whatever keeps a folder from being written."""
  try:
    yield
  except RunError:
    raise
  except Exception as error:
    # Orbax and TensorStore have errors of many kinds for a full disk.
    raise RunError(
      f"{path} cannot be written ({_first_line(error)}): free some space, or choose"
      " another folder with --out."
    ) from error


def _first_line(error: Exception) -> str:
  reason = str(error).strip() or type(error).__name__
  return reason.splitlines()[0][:200]
