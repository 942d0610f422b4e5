"""The main job: train a base model, train it on with GSM, prune, report.

    python -m experiments.prune [PRESET] [--flags]

See `experiments.configs` for the presets, what they cost and what they give.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from rich.table import Table

import gsm_optax
from experiments import figures
from experiments.checkpoints import CheckpointError, save_params
from experiments.configs import (
  PRESETS,
  Config,
  ConfigError,
  check,
  learning_rate_schedule,
)
from experiments.data import DataError, Dataset, load
from experiments.devices import (
  batch_mesh,
  is_first_process,
  join_cluster,
  replicate,
  wait_for_others,
)
from experiments.measures import shrinkage, vanishing_warning
from experiments.models import LeNet5, LeNet300, Model, from_nnx
from experiments.recording import Display, surroundings, write_json
from experiments.runs import DivergenceError, Phase, prepare_folder, run_phases
from experiments.training import make_accuracy

MODELS = {"lenet300": LeNet300, "lenet5": LeNet5}


@dataclass(frozen=True)
class Job:
  """A configuration, and where and how to run it."""

  preset: tyro.conf.Suppress[str]
  config: tyro.conf.OmitArgPrefixes[Config]
  data_dir: Path | None = None
  """Folder of the data set's standard files (default: the user's cache)."""
  out: Path | None = None
  """Folder for what the run leaves (default: runs/PRESET-SEED)."""
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


def parse(arguments: Sequence[str]) -> Job:
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
    Job,
    prog=f"python -m experiments.prune {preset}",
    description=(
      f"Train a base model, train it on with GSM, prune it, report. This is the preset"
      f" {preset}; put one of {', '.join(PRESETS)} before the flags."
    ),
    args=flags,
    default=Job(preset, PRESETS[preset]),
  )


def phases(config: Config, steps_per_epoch: int) -> tuple[Phase, Phase]:
  """The base training and GSM, as the configuration says."""
  base_schedule = learning_rate_schedule(
    config.base_learning_rate, config.base_epochs, steps_per_epoch, config.drops
  )
  gsm_schedule = learning_rate_schedule(
    config.learning_rate,
    config.gsm_epochs,
    steps_per_epoch,
    config.drops,
    config.warmup_epochs,
  )
  base = optax.chain(
    optax.add_decayed_weights(
      config.base_weight_decay, mask=partial(jax.tree.map, lambda leaf: leaf.ndim > 1)
    ),
    optax.sgd(base_schedule, config.base_momentum, config.nesterov),
  )
  gsm = gsm_optax.gsm(
    gsm_schedule,
    config.density,
    config.momentum,
    config.weight_decay,
    nesterov=config.nesterov,
    smoothing=config.smoothing,
  )
  return (
    Phase("base", config.base_epochs, base, base_schedule),
    Phase("gsm", config.gsm_epochs, gsm, gsm_schedule),
  )


def build_model(config: Config, data: Dataset) -> Model:
  """The configuration's model for the data's images."""
  make = MODELS[config.model]
  shape = data.train_images.shape[1:]
  return from_nnx(lambda rngs: make(shape, data.num_classes, rngs))


def run(job: Job) -> dict[str, Any]:
  """Runs a job to its end and returns what it writes to ``results.json``.

  Raises:
    DataError: if the data cannot be had.
    CheckpointError: if the folder holds a run that this one would overwrite, or one
      that it cannot continue.
  """
  config, folder = job.config, job.folder
  data = load(config.dataset, job.data_dir)
  steps_per_epoch = len(data.train_labels) // config.batch_size
  if not steps_per_epoch:
    raise DataError(
      f"A batch of {config.batch_size} is larger than the {len(data.train_labels)}"
      " training images: choose a smaller --batch-size."
    )
  model = build_model(config, data)
  plan = phases(config, steps_per_epoch)
  try:
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    plan[1].tx.init(params)
  except ValueError as error:  # a density of less than one weight
    raise ConfigError(str(error)) from error
  # As JSON has it, where a tuple is a list, to compare with a checkpoint's.
  description = json.loads(json.dumps(asdict(config)))
  if config.batch_size % jax.device_count():
    raise ConfigError(
      f"--batch-size {config.batch_size} cannot be split evenly over the"
      f" {jax.device_count()} devices."
    )
  if is_first_process():
    prepare_folder(folder, job.resume, description)
  wait_for_others("folder")

  environment = surroundings()  # of the code that runs, whatever is edited meanwhile

  with Display(job.quiet or not is_first_process()) as display:
    steps = jnp.arange(config.gsm_epochs * steps_per_epoch)
    rates = np.asarray(jax.vmap(plan[1].learning_rate)(steps))
    left = shrinkage(rates, config.momentum, config.weight_decay, config.nesterov)
    display.say(f"A weight passive throughout will shrink to {left:.1g} of its size.")
    if warning := vanishing_warning(left):
      display.say(f"Warning: {warning}")
    params, batch_stats, records, wall = run_phases(
      plan,
      model,
      data,
      folder,
      display,
      description=description,
      density=config.density,
      batch_size=config.batch_size,
      evaluate_every=config.evaluate_every,
      seed=config.seed,
    )

  pruned = gsm_optax.prune(params, config.density)
  report = gsm_optax.sparsity_report(pruned)
  accuracy = make_accuracy(model)
  test = replicate((data.test_images, data.test_labels), batch_mesh())
  base_records = [record for record in records if record["phase"] == "base"]
  results = {
    "preset": job.preset,
    "model": config.model,
    "dataset": config.dataset,
    "seed": config.seed,
    "base_accuracy": base_records[-1]["accuracy"],
    "gsm_accuracy": accuracy(params, batch_stats, test),
    "pruned_accuracy": accuracy(pruned, batch_stats, test),
    "density": report.density,
    "compression_ratio": report.compression_ratio,
    "num_prunable": report.size,
    "num_kept": report.kept,
    "passive_shrinkage": left,
    "layers": report.to_dict()["layers"],
    "wall_seconds": {"base": 0.0, "gsm": 0.0, **wall, "total": sum(wall.values())},
    **environment,
    "config": description,
  }
  save_params(folder / "params", params)
  save_params(folder / "pruned_params", pruned)
  if is_first_process():
    figures.report(records, results).savefig(folder / "report.png", dpi=120)
    write_json(folder / "results.json", results)
    _show(results, report, display, job)
  return results


def _show(
  results: dict[str, Any],
  report: gsm_optax.SparsityReport,
  display: Display,
  job: Job,
) -> None:
  if job.quiet:
    print(
      f"{job.preset}, seed {results['seed']}: base {results['base_accuracy']:.2f} %,"
      f" after GSM {results['gsm_accuracy']:.2f} %, pruned"
      f" {results['compression_ratio']:.1f}× {results['pruned_accuracy']:.2f} %"
    )
    return
  table = Table(title=f"{job.preset}, seed {results['seed']}, test accuracy")
  for heading in ("base", "after GSM", "pruned", "compression", "seconds"):
    table.add_column(heading, justify="right")
  table.add_row(
    f"{results['base_accuracy']:.2f} %",
    f"{results['gsm_accuracy']:.2f} %",
    f"{results['pruned_accuracy']:.2f} %",
    f"{results['compression_ratio']:.1f}×",
    f"{results['wall_seconds']['total']:.0f}",
  )
  display.console.print(table)
  display.say(str(report))
  display.say(f"The picture is {job.folder / 'report.png'}; all files: {job.folder}")


def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  job = parse(sys.argv[1:] if arguments is None else arguments)
  try:
    check(job.config)
    if job.distributed or job.coordinator_address:
      join_cluster(job.coordinator_address, job.num_processes, job.process_id)
    run(job)
  except (ConfigError, DataError, CheckpointError, DivergenceError) as error:
    sys.exit(f"error: {error}")
  except KeyboardInterrupt:
    sys.exit("interrupted: the same command with --resume continues the run.")


if __name__ == "__main__":
  main()
