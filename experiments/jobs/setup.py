"""What a job begins with: its data, its network, its folder, its stages."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import optax

import gsm_optax
from experiments import datasets, models
from experiments.configs.check import ConfigError
from experiments.configs.recipe import Phase, Recipe
from experiments.datasets.dataset import DataError, Dataset
from experiments.jobs.command_line import Job
from experiments.models import Model
from experiments.run.driver import train
from experiments.run.folder import (
  FILES,
  Finished,
  RunError,
  RunFolder,
  finished,
  refuse_other_run,
)
from experiments.run.recording import Display
from experiments.run.stages import Outcome, Run, Stage, Start
from experiments.run.surroundings import surroundings
from experiments.train.devices import is_first_process
from experiments.train.optimizers import Task
from experiments.train.pruners import GSM
from experiments.train.structures import Built

OF_BASE = "data,model,seed,batch_size,base"
"""What a base model depends on."""


@dataclass(frozen=True)
class Setup:
  """A job, ready to run.

  Attributes:
    job: what is to be run.
    data: its images and labels.
    model: its network.
    folder: where its files go.
    environment: of the code that runs, whatever is edited meanwhile.
    deadline: the `time.monotonic` after which to stop.
    structure: what is kept together in the network; single weights without.
  """

  job: Job
  data: Dataset
  model: Model
  folder: RunFolder
  environment: dict[str, Any]
  deadline: float | None
  structure: Built | None = None

  @property
  def units(self) -> gsm_optax.Structure | None:
    """What the library is told of the structure."""
    return self.structure.structure if self.structure else None

  @property
  def steps_per_epoch(self) -> int:
    """How many batches the training images make."""
    return self.data.train_size // self.job.recipe.batch_size

  def stage(self, name: str, phase: Phase, tx: Any = None) -> Stage:
    """A phase, ready to run; `tx` takes the place of the phase's optimizer."""
    task = self.task(phase)
    tx = tx or phase.optimizer.build(task)
    rate = task.learning_rate
    return Stage(name, phase.epochs, tx, rate, phase.augmentation)

  def task(self, phase: Phase) -> Task:
    """What the phase's optimizer is built for."""
    schedule = phase.schedule.build(phase.epochs, self.steps_per_epoch)
    density = self.job.recipe.density
    return Task(schedule, density, self.steps_per_epoch, phase.epochs, self.units)

  def masked_stage(self, name: str, mask: Any, epochs: int) -> Stage:
    """As under GSM, but by the base model's optimizer, with the mask's zeros held."""
    recipe = self.job.recipe
    phase = Phase(
      *(epochs, recipe.base.optimizer, recipe.gsm.schedule, recipe.gsm.augmentation)
    )
    tx = phase.optimizer.build(self.task(phase))
    return self.stage(name, phase, optax.chain(tx, gsm_optax.freeze_pruned(mask)))

  def train(
    self, folder: RunFolder, stages: Sequence[Stage], display: Display, start: Any
  ) -> Outcome:
    """Trains stages in a folder."""
    run = Run(
      folder,
      self.job.recipe,
      stages,
      self.model,
      self.data,
      display,
      start,
      self.deadline,
      self.structure,
    )
    return train(run)

  def train_part(self, stage: Stage, start: Start) -> Outcome:
    """Trains one stage in a folder of its own, and keeps the params."""
    folder = self.folder.part(stage.name)
    quiet = self.job.quiet or not is_first_process()
    with folder.opened(resume=True), Display(quiet) as display:
      display.say(f"Training: {stage.name}")
      outcome = self.train(folder, [stage], display, start)
      folder.save("params", outcome.params)
    return outcome


@contextmanager
def set_up(
  job: Job, files: Sequence[str] = FILES, sources: Sequence[Path] = ()
) -> Generator[Setup]:
  """Checks all that can be checked before a job, then makes its folder.

  Args:
    job: what is to be run.
    files: all that such a job leaves in its folder.
    sources: folders of finished runs that it takes something from, besides its base.

  Raises:
    DataError: if the data cannot be had.
    ModelError: if the network cannot be built for them.
    ConfigError: if the recipe does not fit them, or the devices.
    RunError: if the folder holds a run that this one would overwrite, or the base model
      is not the job's.
  """
  recipe, deadline = job.recipe, job.deadline
  folder = RunFolder(job.folder, job.description, files)
  data = load_data(recipe, job.data_dir)
  shape, classes = data.image_shape, data.num_classes
  model = models.load(recipe.model.name, shape, classes, recipe.model.options)
  structure = build_structure(recipe, model, shape)
  check_density(recipe, model, structure)
  for source in (*sources, *([job.base] if job.base else [])):
    finished(source)
    if job.folder.resolve() in (source.resolve(), *source.resolve().parents):
      raise RunError(
        f"{source} lies in {job.folder}, where this job's own files go: choose another"
        " folder with --out."
      )
  if job.base:
    find_base(job.base, job.description)
  with folder.opened(job.resume) as replaces:
    if replaces and not job.quiet:
      print(f"Running anew what is finished in {job.folder}.", flush=True)
    yield Setup(job, data, model, folder, surroundings(), deadline, structure)


def load_data(recipe: Recipe, data_dir: Path | None) -> Dataset:
  """The recipe's data, of which a batch can be taken and split over the devices."""
  wanted = recipe.data
  data = datasets.load(wanted.name, data_dir, wanted.held_out, **wanted.options)
  if data.train_size < recipe.batch_size:
    raise DataError(
      f"A batch of {recipe.batch_size} is larger than the {data.train_size} training"
      " images: choose a smaller --batch-size."
    )
  if recipe.batch_size % jax.device_count():
    raise ConfigError(
      f"--batch-size {recipe.batch_size} cannot be split evenly over the"
      f" {jax.device_count()} devices."
    )
  return data


def build_structure(
  recipe: Recipe, model: Model, image_shape: tuple[int, ...]
) -> Built | None:
  """What a recipe keeps together in a network; ``None``: single weights."""
  try:
    return recipe.structure.build(model, image_shape)
  except ValueError as error:
    raise ConfigError(str(error)) from error


def check_density(recipe: Recipe, model: Model, built: Built | None = None) -> None:
  """Raises a ConfigError for a density of less than one weight, or unit."""
  params, _ = jax.eval_shape(model.init, jax.random.key(0))
  densities = {"": recipe.density}
  optimizer = recipe.gsm.optimizer
  if isinstance(optimizer, GSM):
    densities["density · active_share: "] = recipe.density * optimizer.active_share
  for name, density in densities.items():
    try:
      structure = built.structure if built else None
      gsm_optax.keep_top_saliency(density, structure=structure).init(params)
    except ValueError as error:
      raise ConfigError(f"{name}{error}") from error


def find_base(
  path: Path, description: dict[str, Any], flag: str = "--base"
) -> Finished:
  """The finished run in a folder, which must have the wanted base model.

  Args:
    path: the folder.
    description: of a run that its base model is wanted for.
    flag: the one that named the folder.

  Raises:
    RunError: if it has another.
  """
  run = finished(path, flag)
  refuse_other_run(run.description, description, path, flag, OF_BASE)
  return run


def start_from(run: Finished) -> Start:
  """The end of a finished run's base training, to start from."""
  base = run.weights("base")
  wall = {"base": run.results["wall_seconds"].get("base", 0.0)}
  return Start(base["params"], base["batch_stats"] or {}, 1, wall)
