"""Trains a study's runs for some minutes at a time, on a machine that is lent.

    python -m experiments.sitting cifar10_paper --data-dir FOLDER --out OUT --minutes 9
    python -m experiments.sitting cifar10_paper --data-dir FOLDER --out OUT --minutes 9
      --continues OUT/runs.tar

A sitting goes on with the first run that is not finished, then begins the next ones,
and stops by itself, with a checkpoint. It leaves one file, ``OUT/runs.tar``: the
results of the runs that are finished, and what the others need to go on to the same
bits, on any machine of the same kind. Results also go to
``experiments/results/STUDY``, to be committed; with ``--minutes 0 --continues
OUT/runs.tar`` that is all that is done.

Before a run begins, some steps are timed, and it gets as many epochs as fit into what
is left of the sitting, at most the recipe's; its schedules are stretched with them. The
results say so, under ``sitting``.

A GPU's compiler first tries which of its kernels are quick. With
``JAX_COMPILATION_CACHE_DIR`` it does so once for the timing and the run.
"""

import json
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from experiments.configs.check import ConfigError, check
from experiments.jobs.command_line import MENDABLE
from experiments.run.errors import RunError, unwritable
from experiments.run.files import remove, write_json
from experiments.run.finished import read_json
from experiments.run.stages import DeadlineError
from experiments.run.terminal import on_any_terminal, printable
from experiments.studies import studies
from experiments.studies.archive import NOTE, pack, unpack
from experiments.studies.plan import BESIDES, make_plan, planned
from experiments.studies.results import RESULTS
from experiments.studies.runner import copy_results, is_finished
from experiments.studies.study import Entry

SHORTEST = 120
"""Seconds without which no run is begun, nor with less than half of the sitting."""


@dataclass(frozen=True)
class Sitting:
  """What to train, for how long, and where."""

  study: tyro.conf.Positional[str] = "cifar10_paper"
  """A module of experiments.studies."""
  data_dir: Path | None = None
  """Folder of the data set's standard files (default: the user's cache)."""
  out: Path = Path("sitting")
  """Folder for runs.tar."""
  continues: Path | None = None
  """The runs.tar of the sitting before."""
  minutes: float = 9.0
  """After which to stop."""
  only: tuple[str, ...] = ()
  """Names of entries (default: all that are not finished, in their order)."""
  least_epochs: int = 60
  """With fewer than these, a run takes several sittings instead."""
  most_epochs: int | None = None
  """With no more than these, to try it out."""
  image_size: int | None = None
  """Pixels to which to shrink the images, to try it out on a CPU."""
  runs_dir: Path | None = None
  """Folder of the runs (default: runs/sitting/STUDY)."""
  results_dir: Path | None = None
  """Folder of what is to be committed (default: experiments/results/STUDY)."""

  @property
  def runs(self) -> Path:
    """Folder of the runs."""
    return self.runs_dir or Path("runs") / "sitting" / self.study

  @property
  def committed(self) -> Path:
    """Folder of what is to be committed of them."""
    return self.results_dir or RESULTS / self.study


def wanted(sitting: Sitting) -> list[Entry]:
  """The entries to run, in their order.

  Raises:
    ConfigError: if there is no such study or entry, or one cannot be run here.
  """
  if sitting.study not in studies():
    names = ", ".join(studies())
    raise ConfigError(f"There is no study {sitting.study!r}; choose from {names}.")
  entries = studies()[sitting.study].entries
  if unknown := set(sitting.only) - {entry.name for entry in entries}:
    raise ConfigError(f"No entry of {sitting.study} is called {min(unknown)}.")
  changes: dict[str, Any] = {}
  if sitting.image_size is not None:
    changes["data.options"] = {"size": sitting.image_size}
  chosen = [
    replace(entry, numbers={**entry.numbers, **changes})
    for entry in entries
    if entry.name in sitting.only or not sitting.only
  ]
  for entry in chosen:
    if entry.job != "prune" or entry.needs or not entry.recipe.gsm.epochs:
      raise ConfigError(
        f"{entry.name} needs another run, or has no epochs to choose: python -m"
        f" experiments.paper {sitting.study} --only {entry.name} runs it."
      )
    check(entry.recipe)
  return chosen


def prepare(sitting: Sitting) -> None:
  """Makes the folders, and unpacks what the sitting before has left.

  Raises:
    ConfigError: for numbers that make no sense.
    RunError: for folders that cannot be written, or an archive that cannot be used.
  """
  if not (math.isfinite(sitting.minutes) and sitting.minutes >= 0):
    raise ConfigError(f"--minutes must be 0 or more, not {sitting.minutes}.")
  for name in ("least_epochs", "most_epochs"):
    value = getattr(sitting, name)
    if value is not None and value < 1:
      flag = name.replace("_", "-")
      raise ConfigError(f"--{flag} must be at least 1, not {value}.")
  archive = sitting.out / "runs.tar"
  with unwritable(sitting.out):
    sitting.out.mkdir(parents=True, exist_ok=True)
  with unwritable(sitting.runs):
    sitting.runs.mkdir(parents=True, exist_ok=True)
  if sitting.continues:
    unpack(sitting.continues, sitting.runs, sitting.study)
  elif archive.exists() and not any(sitting.runs.iterdir()):
    raise RunError(
      f"{archive} is of a sitting before: go on with --continues {archive}, or choose"
      " another folder with --out."
    )
  write_json(sitting.runs / NOTE, {"study": sitting.study})


def run(entry: Entry, sitting: Sitting, deadline: float, console: Console) -> None:
  """Trains an entry to its end, or until the time is up.

  Raises:
    DeadlineError: if it is up before the end. The plan of a run without a checkpoint
      is made anew the next time, with all of that sitting's minutes.
  """
  folder, path = sitting.runs / entry.name, plan_path(sitting, entry)
  if any(step.name.isdecimal() for step in folder.glob("checkpoints/*")):
    plan = _read_plan(path)
  else:
    for rest in (path, folder):
      remove(rest)
    bounds = sitting.least_epochs, sitting.most_epochs
    plan = make_plan(entry.recipe, sitting.data_dir, deadline, *bounds)
    if plan["seconds_left"] <= BESIDES:
      raise DeadlineError(
        f"With {plan['seconds_left']} s left {entry.name} is not begun"
      )
    write_json(path, plan)
  console.print(plan)
  left = max(deadline - time.monotonic(), 0.0)
  job, run_job = planned(entry, plan).prepared(sitting.runs, sitting.data_dir, left)
  run_job(job)
  note_plan(sitting, entry)


def plan_path(sitting: Sitting, entry: Entry) -> Path:
  """The file that says how many epochs an entry has."""
  return sitting.runs / f"{entry.name}.plan.json"


def _read_plan(path: Path) -> dict[str, Any]:
  try:
    plan = json.loads(path.read_text())
    if not isinstance(plan["epochs"], int):
      raise TypeError("no number of epochs")
  except (OSError, ValueError, KeyError, TypeError) as error:
    folder = path.with_name(path.name.removesuffix(".plan.json"))
    raise RunError(f"{path} is damaged or missing: remove it and {folder}.") from error
  return plan


def note_plan(sitting: Sitting, entry: Entry) -> None:
  """Adds to a finished run's results how its number of epochs was chosen."""
  path = sitting.runs / entry.name / "results.json"
  results = read_json(path)
  if "sitting" not in results:
    write_json(path, {**results, "sitting": _read_plan(plan_path(sitting, entry))})


def sit(sitting: Sitting, deadline: float, console: Console) -> None:
  """Trains until the time is up, or all is finished; then packs, whatever happens."""
  entries = wanted(sitting)
  prepare(sitting)
  try:
    for entry in entries:
      if is_finished(sitting.runs / entry.name):
        note_plan(sitting, entry)  # if it was killed before that
        continue
      left = deadline - time.monotonic()
      if left <= 0 or left < min(SHORTEST, 30 * sitting.minutes):
        break
      console.rule(f"{entry.name}, {left:.0f} s left")
      run(entry, sitting, deadline, console)
  finally:
    archive = sitting.out / "runs.tar"
    pack(sitting.runs, archive)
    finished = [each for each in entries if is_finished(sitting.runs / each.name)]
    for entry in finished:
      copy_results(sitting.runs / entry.name, sitting.committed / entry.name)
    names = ", ".join(entry.name for entry in finished) or "none"
    print(f"Finished, of {len(entries)}: {names}.")
    if len(finished) < len(entries):
      print(f"--continues {archive} goes on.")


@on_any_terminal
def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  started = time.monotonic()
  arguments = sys.argv[1:] if arguments is None else arguments
  sitting = tyro.cli(
    Sitting, prog="python -m experiments.sitting", args=arguments, description=__doc__
  )
  # A machine that is taken back says so: what there is must be packed.
  before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
  try:
    sit(sitting, started + 60 * sitting.minutes, Console())
  except DeadlineError as error:
    print(f"{error}.")
  except MENDABLE as error:
    sys.exit(f"error: {printable(str(error))}")
  except KeyboardInterrupt:
    print("interrupted.", file=sys.stderr)
    sys.stderr.flush()
    os._exit(130)
  finally:
    signal.signal(signal.SIGTERM, before)
