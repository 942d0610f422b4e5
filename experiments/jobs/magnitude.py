"""Magnitude pruning, which GSM is compared with.

    python -m experiments.magnitude [RECIPE] [--density D] [--base FOLDER] [--flags]

Trains a base model, or takes that of a finished run, and keeps its greatest weights, in
two ways: of the whole model (*global*), or the same share of every layer (*uniform*).
Each is measured as it is (*one shot*), and retrained with its zeros held, for as many
epochs as the recipe trains under GSM and at the same learning rates, by the SGD with
momentum that trained the base model.

With ``--gradual`` the base model is trained on instead for as many epochs, by the same
optimizer, and meanwhile its smallest weights go little by little.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import gsm_optax
from experiments.configs.check import ConfigError
from experiments.jobs import prune
from experiments.jobs.command_line import Job, parse, run_command_line
from experiments.jobs.setup import Setup, find_base, set_up, start_from
from experiments.run.stages import Start
from experiments.run.terminal import on_any_terminal
from experiments.train.devices import batch_mesh, is_first_process
from experiments.train.evaluate import Accuracy, make_evaluate
from experiments.train.kernels import kernel_mask
from experiments.train.pruners import Gradual

FILES = ("base", "global", "uniform", "gradual", "job.json", "results.json", "lock")
"""All that a job leaves in its folder."""


@dataclass(frozen=True)
class MagnitudeJob(Job):
  """A recipe, and where and how to run it."""

  gradual: bool = False
  """Let weights go little by little, instead of at once in two ways."""
  fall: float = 0.6
  """With --gradual: the share of the epochs over which the density falls."""

  @property
  def description(self) -> dict[str, Any]:
    """What the run is."""
    gradual = {"gradual": True, "fall": self.fall} if self.gradual else {}
    return {**super().description, **gradual}

  @property
  def folder(self) -> Path:
    """Where the run's files go."""
    way = "gradual" if self.gradual else "magnitude"
    name = f"{self.preset}-{way}-{1 / self.recipe.density:.0f}x-{self.recipe.seed}"
    return self.out or Path("runs") / name


def masks(
  params: Any, density: float, units: gsm_optax.Structure | None = None
) -> dict[str, Any]:
  """The weights that each way keeps; True for what is not prunable.

  Of whole units there is no uniform way.
  """
  of_model = gsm_optax.magnitude_mask(params, density, structure=units)
  if units is not None:
    return {"global": of_model}
  uniform = jax.tree.map(
    lambda leaf, is_kernel: (
      gsm_optax.magnitude_mask(leaf, density, prunable=True)
      if is_kernel
      else jnp.ones_like(leaf, bool)
    ),
    params,
    kernel_mask(params),
  )
  return {"global": of_model, "uniform": uniform}


def base_folder(job: MagnitudeJob) -> Path:
  """The folder of the run with the base model, which is trained if none is named."""
  if job.base:
    return job.base
  recipe = replace(job.recipe, gsm=replace(job.recipe.gsm, epochs=0))
  folder = job.folder / "base"
  # The folder is the job's own: what was begun there is continued.
  training = Job(
    *(job.preset, recipe, job.data_dir, folder),
    resume=True,
    stop_after=job.stop_after,
    quiet=job.quiet,
  )
  prune.run(training, shows=not job.quiet)
  return folder


def run(job: MagnitudeJob) -> dict[str, Any]:
  """Runs a job to its end and returns what it writes to ``results.json``.

  Raises:
    DataError: if the data cannot be had.
    RunError: if the folder holds a run that this one would overwrite, or one that it
      cannot continue.
    ConfigError: if the density would not fall within the epochs.
  """
  if not 0 < job.fall <= 1:
    raise ConfigError(f"--fall must be above 0 and at most 1, not {job.fall}.")
  with set_up(job, FILES) as setup:
    start = start_from(find_base(base_folder(job), job.description))
    evaluate = make_evaluate(setup.model, setup.data, batch_mesh())
    (base,) = evaluate([start[:2]])
    ways, wall = dict[str, dict[str, Any]](), dict[str, float]()
    if job.gradual:
      ways["gradual"], wall["gradual"] = prune_gradually(setup, start, job.fall)
    else:
      for name, mask in masks(start.params, job.recipe.density, setup.units).items():
        ways[name], wall[name] = prune_and_retrain(setup, name, mask, start)
    results = {
      "preset": job.preset,
      "model": job.recipe.model.name,
      "dataset": job.recipe.data.name,
      "seed": job.recipe.seed,
      "base_accuracy": base.top1,
      **ways,
      "wall_seconds": {**wall, "total": sum(wall.values())},
      **setup.environment,
      "config": setup.folder.description,
    }
    if is_first_process():
      setup.folder.write_json("results.json", results)
  if is_first_process():
    for name, way in ways.items():
      one_shot = (
        f"{way['one_shot_accuracy']:.2f} %, " if "one_shot_accuracy" in way else ""
      )
      print(
        f"{job.preset}, seed {job.recipe.seed}, base {base.top1:.2f} %, magnitude"
        f" {way['compression_ratio']:.1f}× {name}: {one_shot}retrained"
        f" {way['retrained_accuracy']:.2f} %"
      )
  return results


def prune_and_retrain(
  setup: Setup, name: str, mask: Any, start: Start
) -> tuple[dict[str, Any], float]:
  """What one way to prune the base model gives, and the seconds of its retraining."""
  pruned = gsm_optax.apply_mask(start.params, mask)
  report = gsm_optax.sparsity_report(pruned, structure=setup.units)
  stage = setup.masked_stage(name, mask, setup.job.recipe.gsm.epochs)
  outcome = setup.train_part(stage, Start(pruned, start.batch_stats))
  evaluate = make_evaluate(setup.model, setup.data, batch_mesh())
  one_shot, retrained = evaluate(
    [(pruned, start.batch_stats), (outcome.params, outcome.batch_stats)]
  )
  way = {
    "one_shot_accuracy": one_shot.top1,
    "one_shot_test_loss": one_shot.loss,
    **_retrained(retrained, report),
  }
  return way, sum(outcome.wall_seconds.values())


def prune_gradually(
  setup: Setup, start: Start, fall: float
) -> tuple[dict[str, Any], float]:
  """What training the base model on gives, as its weights go, and the seconds of it."""
  recipe = setup.job.recipe
  gradual = Gradual(recipe.base.optimizer, fall * recipe.gsm.epochs)
  phase = replace(recipe.gsm, optimizer=gradual)
  outcome = setup.train_part(
    setup.stage("gradual", phase), Start(start.params, start.batch_stats)
  )
  report = gsm_optax.sparsity_report(outcome.params, structure=setup.units)
  evaluate = make_evaluate(setup.model, setup.data, batch_mesh())
  (retrained,) = evaluate([(outcome.params, outcome.batch_stats)])
  return _retrained(retrained, report), sum(outcome.wall_seconds.values())


def _retrained(accuracy: Accuracy, report: gsm_optax.SparsityReport) -> dict[str, Any]:
  """How well a pruned network does in the end, and what is left of it."""
  return {
    "retrained_accuracy": accuracy.top1,
    "retrained_test_loss": accuracy.loss,
    "compression_ratio": report.compression_ratio,
    "num_kept": report.kept,
    **{
      key: part
      for key, part in report.to_dict().items()
      if key in ("layers", "units", "totals")
    },
  }


@on_any_terminal
def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  what = "Prune a base model by magnitude, at once and with retraining."
  arguments = sys.argv[1:] if arguments is None else arguments
  run_command_line(parse(MagnitudeJob, "magnitude", what, arguments), run)
