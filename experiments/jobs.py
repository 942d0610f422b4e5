"""What the jobs have in common: their command lines, and how a run is set up."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import optax
import tyro

import gsm_optax
from experiments.checkpoints import CheckpointError
from experiments.configs import (
  PRESETS,
  Config,
  ConfigError,
  check,
  density_schedule,
  learning_rate_schedule,
)
from experiments.data import DataError, Dataset, load
from experiments.devices import (
  ClusterError,
  is_first_process,
  join_cluster,
  wait_for_others,
)
from experiments.fixed import fix_active_set
from experiments.models import LeNet5, LeNet300, Model, from_nnx
from experiments.runs import (
  RUN_FILES,
  DivergenceError,
  Phase,
  prepare_folder,
  read_finished,
  refuse_other_run,
)
from experiments.surroundings import surroundings

MODELS = {"lenet300": LeNet300, "lenet5": LeNet5}

BASE_FIELDS = (
  *("dataset", "model", "seed", "batch_size", "drops", "held_out"),
  *("base_epochs", "base_learning_rate", "base_momentum", "base_weight_decay"),
  "nesterov",
)
"""What a base model depends on."""


@dataclass(frozen=True)
class Job:
  """A configuration, and where and how to run it."""

  preset: tyro.conf.Suppress[str]
  config: tyro.conf.OmitArgPrefixes[Config]
  data_dir: Path | None = None
  """Folder of the data set's standard files (default: the user's cache)."""
  out: Path | None = None
  """Folder for what the run leaves (default: one in runs/, by preset and seed)."""
  base: Path | None = None
  """Folder of a finished run whose base model to take instead of training one."""
  resume: bool = False
  """Continue an interrupted run from its last checkpoint."""
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
    return self.out or Path("runs") / f"{self.preset}-{self.config.seed}"

  @property
  def description(self) -> dict[str, Any]:
    """The configuration as JSON has it, to compare with a checkpoint's."""
    return json.loads(json.dumps(asdict(self.config)))


AnyJob = TypeVar("AnyJob", bound=Job)

MENDABLE = (ConfigError, DataError, CheckpointError, DivergenceError, ClusterError)
"""What the user of a job can mend."""


def parse(
  kind: type[AnyJob], program: str, what: str, arguments: Sequence[str]
) -> AnyJob:
  """The job that a command line asks for: a preset, then flags that change it."""
  preset, flags = "digits", list(arguments)
  if flags and not flags[0].startswith("-"):
    preset = flags.pop(0)
  misplaced = [flag for flag in flags if flag in PRESETS]
  if misplaced:
    sys.exit(f"error: the preset comes first, before all flags: {misplaced[0]}.")
  if preset not in PRESETS:
    sys.exit(f"error: there is no preset {preset!r}; choose from {', '.join(PRESETS)}.")
  return tyro.cli(
    kind,
    prog=f"python -m experiments.{program} {preset}",
    description=(
      f"{what} This is the preset {preset}; put one of {', '.join(PRESETS)} before the"
      " flags."
    ),
    args=flags,
    default=kind(preset, PRESETS[preset]),
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
    check(job.config)
    cluster = job.coordinator_address, job.num_processes, job.process_id
    if job.distributed or any(part is not None for part in cluster):
      join_cluster(*cluster)
    run(job)
  except MENDABLE as error:
    sys.exit(f"error: {error}")
  except KeyboardInterrupt:
    print(f"interrupted: {to_continue} continues the run.", file=sys.stderr)
    # All files are closed by now. XLA's threads may still be at the epochs that were
    # asked for, and the interpreter's orderly end takes their memory away: a crash.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(130)


class Setup(NamedTuple):
  """What a job begins with.

  Attributes:
    data: its images and labels.
    model: its network.
    steps_per_epoch: how many batches the training images make.
    environment: of the code that runs, whatever is edited meanwhile.
  """

  data: Dataset
  model: Model
  steps_per_epoch: int
  environment: dict[str, Any]


def set_up(
  job: Job, files: Sequence[str] = RUN_FILES, sources: Sequence[Path] = ()
) -> Setup:
  """Checks all that can be checked before a job, then makes its folder.

  Args:
    job: what is to be run.
    files: all that such a job leaves in its folder.
    sources: folders of finished runs that it takes something from, besides its base.

  Raises:
    DataError: if the data cannot be had.
    ConfigError: if the configuration does not fit them, or the devices.
    CheckpointError: if the folder holds a run that this one would overwrite, or the
      base model is not the job's.
  """
  data = load_data(job)
  model = build_model(job.config, data)
  check_density(job.config, model)
  for source in (*sources, *([job.base] if job.base else [])):
    read_finished(source)
    if job.folder.resolve() in (source.resolve(), *source.resolve().parents):
      raise CheckpointError(
        f"{source} lies in {job.folder}, where this job's own files go: choose another"
        " folder with --out."
      )
  if job.base:
    check_base(job.base, job.description)
  if is_first_process():
    replaces = prepare_folder(job.folder, job.resume, job.description, files)
    if replaces and not job.quiet:
      print(f"Running anew what is finished in {job.folder}.", flush=True)
  wait_for_others("folder")
  steps_per_epoch = len(data.train_labels) // job.config.batch_size
  return Setup(data, model, steps_per_epoch, surroundings())


def load_data(job: Job) -> Dataset:
  """The job's data, of which a batch can be taken and split over the devices."""
  config = job.config
  data = load(config.dataset, job.data_dir, config.held_out)
  if len(data.train_labels) < config.batch_size:
    raise DataError(
      f"A batch of {config.batch_size} is larger than the {len(data.train_labels)}"
      " training images: choose a smaller --batch-size."
    )
  if config.batch_size % jax.device_count():
    raise ConfigError(
      f"--batch-size {config.batch_size} cannot be split evenly over the"
      f" {jax.device_count()} devices."
    )
  return data


def build_model(config: Config, data: Dataset) -> Model:
  """The configuration's model for the data's images."""
  make = MODELS[config.model]
  shape = data.train_images.shape[1:]
  return from_nnx(lambda rngs: make(shape, data.num_classes, rngs))


def check_density(config: Config, model: Model) -> None:
  """Raises a ConfigError for a density of less than one weight."""
  params, _ = jax.eval_shape(model.init, jax.random.key(0))
  try:
    gsm_optax.keep_top_saliency(config.density).init(params)
  except ValueError as error:
    raise ConfigError(str(error)) from error


def kernels(params: Any) -> Any:
  """What decays: leaves with two or more dimensions."""
  return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def sgd(config: Config, schedule: optax.Schedule) -> optax.GradientTransformation:
  """SGD with momentum, as base models are trained."""
  return optax.chain(
    optax.add_decayed_weights(config.base_weight_decay, mask=kernels),
    optax.sgd(schedule, config.base_momentum, config.nesterov),
  )


def base_phase(config: Config, steps_per_epoch: int) -> Phase:
  """The training of a base model."""
  schedule = learning_rate_schedule(
    config.base_learning_rate, config.base_epochs, steps_per_epoch, config.drops
  )
  return Phase("base", config.base_epochs, sgd(config, schedule), schedule)


def gsm_schedule(config: Config, steps_per_epoch: int) -> optax.Schedule:
  """GSM's learning rate at each of its steps."""
  return learning_rate_schedule(
    config.learning_rate,
    config.gsm_epochs,
    steps_per_epoch,
    config.drops if config.schedule == "drops" else None,
    config.warmup_epochs,
  )


def gsm_phase(config: Config, steps_per_epoch: int) -> Phase:
  """GSM, as the configuration says."""
  schedule = gsm_schedule(config, steps_per_epoch)
  tx = gsm_optax.gsm(
    schedule,
    density_schedule(config, steps_per_epoch),
    config.momentum,
    config.weight_decay,
    nesterov=config.nesterov,
    smoothing=config.smoothing,
    passive_weight_decay=config.passive_weight_decay,
  )
  if config.fixed_after is not None:
    tx = optax.chain(
      fix_active_set(config.density, config.fixed_after * steps_per_epoch),
      optax.add_decayed_weights(config.weight_decay, mask=kernels),
      optax.trace(config.momentum, config.nesterov),
      optax.scale_by_learning_rate(schedule),
    )
  return Phase("gsm", config.gsm_epochs, tx, schedule, config.input_shift)


def masked_phase(
  config: Config, steps_per_epoch: int, name: str, mask: Any, epochs: int
) -> Phase:
  """As GSM trains, but by SGD with the base model's momentum, the mask's zeros held."""
  schedule = gsm_schedule(replace(config, gsm_epochs=epochs), steps_per_epoch)
  tx = optax.chain(sgd(config, schedule), gsm_optax.freeze_pruned(mask))
  return Phase(name, epochs, tx, schedule, config.input_shift)


def check_base(folder: Path, description: dict[str, Any], flag: str = "--base") -> None:
  """Raises a CheckpointError unless the run in `folder` has the wanted base model.

  Args:
    folder: a finished run.
    description: the configuration of a run that its base model is wanted for.
    flag: the one that named the folder.
  """
  finished = read_finished(folder)["config"]
  saved, wanted = (
    {name: numbers.get(name) for name in BASE_FIELDS}
    for numbers in (finished, description)
  )
  refuse_other_run(saved, wanted, folder, flag)
