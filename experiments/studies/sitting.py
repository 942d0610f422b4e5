"""Trains a study's runs for some minutes at a time, on a machine that is lent.

    python -m experiments.sitting cifar10_paper --data-dir FOLDER --out OUT --minutes 9

A sitting unpacks what the last one left, goes on with the first run that is not
finished, then begins the next ones, and stops by itself. It leaves in ``--out`` few
files, each less than 16 MiB: ``NAME.json``, the results of each run that is finished,
``NAME.jsonl``, its evaluations, and ``runs.tar``, from which ``--continue runs.tar``
goes on to the same bits, on any machine of the same kind.

Before a run begins, some steps are timed, and it gets as many epochs as fit into what
is left of the sitting, at most the recipe's; its schedules are stretched with them. The
results say so, under ``sitting``.

A GPU's compiler first tries which of its kernels are quick. With
``JAX_COMPILATION_CACHE_DIR`` it does so once for the timing and the run.
"""

import json
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import tyro
from rich.console import Console

from experiments import models
from experiments.configs.recipe import Recipe, changed, stretched
from experiments.jobs.command_line import MENDABLE
from experiments.jobs.setup import load_data
from experiments.run.files import write_json
from experiments.run.stages import DeadlineError
from experiments.studies import studies
from experiments.studies.study import Entry
from experiments.train.epoch import is_quick_in_a_loop, make_train_epoch
from experiments.train.optimizers import Task
from experiments.train.step import TrainState, make_augmented_step

SHARE = 0.8
"""Of the time that is left, which a run may plan to take: evaluations, compiling and
the writing of results take the rest."""

PACKED = ("job.json", "base", "checkpoints")
"""What a run that is not finished needs to go on; of its checkpoints, the newest."""

LARGEST = 16 * 2**20
"""Bytes that a file may have to come back from some machines."""


@dataclass(frozen=True)
class Sitting:
  """What to train, for how long, and where."""

  study: tyro.conf.Positional[str] = "cifar10_paper"
  """A module of experiments.studies."""
  data_dir: Path | None = None
  """Folder of the data set's standard files (default: the user's cache)."""
  out: Path = Path("sitting")
  """Folder for what is to be kept."""
  continues: Path | None = None
  """The runs.tar of the sitting before."""
  minutes: float = 9.0
  """After which to stop."""
  only: tuple[str, ...] = ()
  """Names of entries (default: all that are not finished, in their order)."""
  finished: tuple[str, ...] = ()
  """Names of entries that are finished and committed already."""
  least_epochs: int = 60
  """With fewer than these, a run takes several sittings instead."""
  most_epochs: int | None = None
  """With no more than these, to try it out."""
  image_size: int | None = None
  """Pixels to which to shrink the images, to try it out on a CPU."""


def wanted(sitting: Sitting) -> list[Entry]:
  """The entries to run, in their order."""
  if sitting.study not in studies():
    names = ", ".join(studies())
    sys.exit(f"error: there is no study {sitting.study!r}; choose from {names}.")
  entries = studies()[sitting.study].entries
  known = {entry.name for entry in entries}
  if unknown := [
    name for name in (*sitting.only, *sitting.finished) if name not in known
  ]:
    sys.exit(f"error: no entry is called {', '.join(unknown)}.")
  numbers: dict[str, Any] = {}
  if sitting.image_size is not None:
    numbers["data.options"] = {"size": sitting.image_size}
  return [
    replace(entry, numbers={**entry.numbers, **numbers})
    for entry in entries
    if (entry.name in sitting.only or not sitting.only)
    and entry.name not in sitting.finished
  ]


def images_per_second(recipe: Recipe, data_dir: Path | None) -> float:
  """The speed of training, by an epoch or a dozen steps after what is compiled."""
  data = load_data(recipe, data_dir)
  model = models.load(
    *(recipe.model.name, data.image_shape, data.num_classes, recipe.model.options)
  )
  steps = data.train_size // recipe.batch_size
  phase = recipe.gsm
  schedule = phase.schedule.build(phase.epochs, steps)
  tx = phase.optimizer.build(Task(schedule, recipe.density, steps))
  params, batch_stats = model.init(jax.random.key(0))
  state = TrainState(params, batch_stats, tx.init(params))
  epoch = make_train_epoch(
    make_augmented_step(model, tx, data, phase.augmentation),
    *(data, recipe.batch_size, is_quick_in_a_loop(model, data.image_shape)),
  )

  def marks() -> Iterator[tuple[float, int]]:
    """The time at which so many images are done."""
    nonlocal state
    for number in range(2):
      for new, within in epoch(state, jax.random.key(number), None):
        state = jax.block_until_ready(new)
        images = (number * steps + within.step) * recipe.batch_size
        yield time.perf_counter(), images

  # What comes before the first mark has been compiled besides.
  (began, before), *_, (ended, after) = islice(marks(), 12)
  return (after - before) / (ended - began)


def planned(
  entry: Entry, sitting: Sitting, deadline: float, plans: Path
) -> tuple[Entry, dict[str, Any]]:
  """The entry with its epochs, and what led to them: as planned before, or now."""
  plan_file = plans / f"{entry.name}.plan.json"
  recipe = entry.recipe
  if plan_file.exists():
    plan = json.loads(plan_file.read_text())
  else:
    speed = images_per_second(recipe, sitting.data_dir)
    train_size = load_data(recipe, sitting.data_dir).train_size
    fitting = int(SHARE * (deadline - time.monotonic()) * speed / train_size)
    most = sitting.most_epochs or recipe.gsm.epochs
    epochs = min(max(fitting, sitting.least_epochs), most, recipe.gsm.epochs)
    plan = {
      "images_per_second": round(speed),
      "seconds_left": round(deadline - time.monotonic()),
      "epochs_that_fit": fitting,
      "epochs": epochs,
      "epochs_of_the_recipe": recipe.gsm.epochs,
    }
    write_json(plan_file, plan)
  short = stretched(recipe, plan["epochs"])
  numbers = {**entry.numbers, "gsm": short.gsm}
  assert changed(recipe, {"gsm": short.gsm}) == short
  return replace(entry, numbers=numbers), plan


def pack(runs: Path, archive: Path) -> None:
  """Writes what the runs that are not finished need to go on."""
  with tarfile.open(archive, "w") as tar:
    for plan in sorted(runs.glob("*.plan.json")):
      tar.add(plan, plan.name)
    for run in sorted(path for path in runs.iterdir() if path.is_dir()):
      if (run / "results.json").exists():
        continue
      for name in PACKED:
        if (run / name).exists() and name != "checkpoints":
          tar.add(run / name, f"{run.name}/{name}")
      steps = [path for path in run.glob("checkpoints/*") if path.name.isdigit()]
      if steps:
        newest = max(steps, key=lambda path: int(path.name))
        tar.add(newest, f"{run.name}/checkpoints/{newest.name}")
  if archive.stat().st_size > LARGEST:
    print(f"Note: {archive} is larger than {LARGEST // 2**20} MiB.", file=sys.stderr)


def keep(run: Path, plan: dict[str, Any], out: Path) -> None:
  """Copies a finished run's results, with how its epochs were chosen."""
  results = json.loads((run / "results.json").read_text())
  write_json(out / f"{run.name}.json", {**results, "sitting": plan})
  shutil.copy2(run / "metrics.jsonl", out / f"{run.name}.jsonl")


def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  started = time.monotonic()
  arguments = sys.argv[1:] if arguments is None else arguments
  sitting = tyro.cli(
    Sitting, prog="python -m experiments.sitting", args=arguments, description=__doc__
  )
  deadline = started + 60 * sitting.minutes
  console = Console()
  entries = wanted(sitting)
  sitting.out.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory() as folder:
    runs = Path(folder) / "runs"
    runs.mkdir()
    if sitting.continues:
      with tarfile.open(sitting.continues) as tar:
        tar.extractall(runs, filter="data")
    try:
      for entry in entries:
        left = deadline - time.monotonic()
        if left < min(120, 30 * sitting.minutes):
          break
        console.rule(f"{entry.name}, {left:.0f} s left")
        planned_entry, plan = planned(entry, sitting, deadline, runs)
        console.print(plan)
        left = max(deadline - time.monotonic(), 0.0)
        job, run_job = planned_entry.prepared(runs, sitting.data_dir, left)
        run_job(job)
        keep(runs / entry.name, plan, sitting.out)
    except DeadlineError as error:
      console.print(f"{error}: --continues {sitting.out / 'runs.tar'} goes on.")
    except MENDABLE as error:
      sys.exit(f"error: {error}")
    finally:
      pack(runs, sitting.out / "runs.tar")
