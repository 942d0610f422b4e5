"""What the jobs have in common: their command lines, and how they end."""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from experiments.configs import recipes
from experiments.configs.check import ConfigError, check
from experiments.configs.recipe import Recipe, describe
from experiments.datasets.dataset import DataError
from experiments.models import ModelError
from experiments.run.checkpoints import DamagedError
from experiments.run.errors import RunError, reason
from experiments.run.stages import DeadlineError, DivergenceError
from experiments.run.terminal import give_up_printing, printable
from experiments.train.devices import ClusterError, join_cluster

DEFAULT = "digits"
"""The recipe where none is named."""


@dataclass(frozen=True)
class Job:
  """A recipe, and where and how to run it."""

  preset: tyro.conf.Suppress[str]
  recipe: Annotated[Recipe, tyro.conf.arg(name="")]
  data_dir: Path | None = None
  """Folder of the data set's standard files (default: the user's cache)."""
  out: Path | None = None
  """Folder for what the run leaves; the same run is replaced if it is finished there
  (default: one in runs/, by recipe and seed)."""
  base: Path | None = None
  """Folder of a finished run whose base model to take instead of training one."""
  resume: bool = False
  """Continue an interrupted run from its last checkpoint."""
  stop_after: float | None = None
  """Seconds after which to stop, with a checkpoint from which --resume continues."""
  quiet: bool = False
  """Print nothing but the result, in one line."""
  distributed: bool = False
  """Run on several processes, which the cluster's environment names."""
  coordinator_address: str | None = None
  """HOST:PORT of the first of several processes, where no environment names it."""
  num_processes: int | None = None
  """How many there are."""
  process_id: int | None = None
  """Which one this is."""

  @property
  def folder(self) -> Path:
    """Where the run's files go."""
    return self.out or Path("runs") / f"{self.preset}-{self.recipe.seed}"

  @property
  def description(self) -> dict[str, Any]:
    """What the run is, as JSON has it, to compare with a checkpoint's."""
    return json.loads(json.dumps(describe(self.recipe)))

  @property
  def deadline(self) -> float | None:
    """The `time.monotonic` at which to stop."""
    return None if self.stop_after is None else time.monotonic() + self.stop_after


AnyJob = TypeVar("AnyJob", bound=Job)

MENDABLE = (
  *(ConfigError, DataError, ModelError, RunError, DamagedError),
  *(DivergenceError, ClusterError),
)
"""What the user of a job can mend."""


def parse(
  kind: type[AnyJob], program: str, what: str, arguments: Sequence[str]
) -> AnyJob:
  """The job that a command line asks for: a recipe, then flags that change it."""
  try:
    all_recipes = recipes()
  except ConfigError as error:
    sys.exit(f"error: {error}")
  preset, flags = DEFAULT, list(arguments)
  if flags and not flags[0].startswith("-"):
    preset = flags.pop(0)
  misplaced = [flag for flag in flags if flag in all_recipes]
  if misplaced:
    sys.exit(f"error: the recipe comes first, before all flags: {misplaced[0]}.")
  names = ", ".join(all_recipes)
  if preset not in all_recipes:
    sys.exit(f"error: there is no recipe {preset!r}; choose from {names}.")
  return tyro.cli(
    kind,
    prog=f"python -m experiments.{program} {preset}",
    description=(
      f"{what} This is the recipe {preset}; put one of {names} before the flags."
    ),
    args=flags,
    default=kind(preset, all_recipes[preset]),
    config=(tyro.conf.AvoidSubcommands,),
  )


def run_command_line(
  job: AnyJob,
  run: Callable[[AnyJob], Any],
  to_continue: str = "the same command with --resume",
) -> None:
  """Runs a job; what its user can mend ends it with one sentence.

  Args:
    job: what to run.
    run: what runs it.
    to_continue: the command that continues the job where it is interrupted.
  """
  try:
    check(job.recipe)
    if job.stop_after is not None and not job.stop_after >= 0:
      raise ConfigError(f"--stop-after must be 0 or more, not {job.stop_after}.")
    cluster = job.coordinator_address, job.num_processes, job.process_id
    if job.distributed or any(part is not None for part in cluster):
      join_cluster(*cluster)
    run(job)
    sys.stdout.flush()
  except MENDABLE as error:
    sys.exit(f"error: {printable(str(error))}")
  except OSError as error:
    # Whatever else the operating system refuses: most likely to print on a full disk.
    give_up_printing()
    what = f"{error.filename}: " if error.filename else ""
    sys.exit(
      f"error: {what}{reason(error)}; after that {to_continue} continues the run."
    )
  except DeadlineError as error:
    print(f"{error}: {to_continue} continues the run.")
  except KeyboardInterrupt:
    print(f"interrupted: {to_continue} continues the run.", file=sys.stderr)
    # All files are closed by now. XLA's threads may still be at the epochs that were
    # asked for, and the interpreter's orderly end takes their memory away: a crash.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(130)
