"""Magnitude pruning, which GSM is compared with.

    python -m experiments.magnitude [PRESET] [--density D] [--base FOLDER] [--flags]

Trains a base model, or takes that of a finished run, and keeps its greatest weights, in
two ways: of the whole model (*global*), or the same share of every layer (*uniform*).
Each is measured as it is (*one shot*), and retrained with its zeros held, for as many
epochs as the preset trains with GSM and at the same learning rates, by the SGD with
momentum that trained the base model.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import gsm_optax
from experiments import prune
from experiments.checkpoints import save_params
from experiments.devices import batch_mesh, is_first_process, replicate
from experiments.jobs import (
  Job,
  check_base,
  masked_phase,
  parse,
  run_command_line,
  set_up,
)
from experiments.recording import Display
from experiments.runs import Start, load_base, run_phases
from experiments.surroundings import write_json
from experiments.training import make_accuracy

FILES = (
  *("base", "global", "uniform", "job.json", "job.partial"),
  *("results.json", "results.partial"),
)
"""All that a job leaves in its folder."""


@dataclass(frozen=True)
class MagnitudeJob(Job):
  """A configuration, and where and how to run it."""

  @property
  def folder(self) -> Path:
    """Where the run's files go."""
    name = f"{self.preset}-magnitude-{1 / self.config.density:.0f}x-{self.config.seed}"
    return self.out or Path("runs") / name


def masks(params: Any, density: float) -> dict[str, Any]:
  """The weights that each way keeps; True for what is not prunable."""
  uniform = jax.tree.map(
    lambda leaf: (
      gsm_optax.magnitude_mask(leaf, density)
      if leaf.ndim > 1
      else jnp.ones_like(leaf, bool)
    ),
    params,
  )
  return {"global": gsm_optax.magnitude_mask(params, density), "uniform": uniform}


def run(job: MagnitudeJob) -> dict[str, Any]:
  """Runs a job to its end and returns what it writes to ``results.json``.

  Raises:
    DataError: if the data cannot be had.
    CheckpointError: if the folder holds a run that this one would overwrite, or one
      that it cannot continue.
  """
  config, folder, description = job.config, job.folder, job.description
  data, model, steps_per_epoch, environment = set_up(job, FILES)

  base = job.base or folder / "base"
  if not job.base:
    only_base = replace(config, gsm_epochs=0)
    training = Job(job.preset, only_base, job.data_dir, base, None, True, job.quiet)
    prune.run(training, shows=not job.quiet)
  check_base(base, description)
  params, batch_stats, *_ = load_base(base)
  test = replicate((data.test_images, data.test_labels), batch_mesh())
  accuracy = make_accuracy(model)
  base_accuracy = accuracy(params, batch_stats, test)
  ways: dict[str, dict[str, Any]] = {}
  wall: dict[str, float] = {}
  for name, mask in masks(params, config.density).items():
    pruned = gsm_optax.apply_mask(params, mask)
    report = gsm_optax.sparsity_report(pruned)
    with Display(job.quiet or not is_first_process()) as display:
      display.say(f"Retraining: {name}")
      outcome = run_phases(
        [masked_phase(config, steps_per_epoch, name, mask, config.gsm_epochs)],
        model,
        data,
        folder / name,
        display,
        description=description,
        density=config.density,
        batch_size=config.batch_size,
        evaluate_every=config.evaluate_every,
        seed=config.seed,
        start=Start(pruned, batch_stats),
      )
    save_params(folder / name / "params", outcome.params)
    wall[name] = sum(outcome.wall_seconds.values())
    ways[name] = {
      "one_shot_accuracy": accuracy(pruned, batch_stats, test),
      "retrained_accuracy": accuracy(outcome.params, outcome.batch_stats, test),
      "compression_ratio": report.compression_ratio,
      "num_kept": report.kept,
      "layers": report.to_dict()["layers"],
    }
  results = {
    "preset": job.preset,
    "model": config.model,
    "dataset": config.dataset,
    "seed": config.seed,
    "base_accuracy": base_accuracy,
    **ways,
    "wall_seconds": {**wall, "total": sum(wall.values())},
    **environment,
    "config": description,
  }
  if is_first_process():
    write_json(folder / "results.json", results)
    for name, way in ways.items():
      print(
        f"{job.preset}, seed {config.seed}, base {base_accuracy:.2f} %, magnitude"
        f" {way['compression_ratio']:.1f}× {name}: {way['one_shot_accuracy']:.2f} %,"
        f" retrained {way['retrained_accuracy']:.2f} %"
      )
  return results


def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  what = "Prune a base model by magnitude, at once and with retraining."
  arguments = sys.argv[1:] if arguments is None else arguments
  run_command_line(parse(MagnitudeJob, "magnitude", what, arguments), run)


if __name__ == "__main__":
  main()
