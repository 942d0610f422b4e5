"""The main job: train a base model, train it on with GSM, prune, report.

    python -m experiments.prune [PRESET] [--flags]

See `experiments.configs` for the presets, what they cost and what they give.
"""

import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

import gsm_optax
from experiments.checkpoints import save_params
from experiments.devices import batch_mesh, is_first_process, replicate
from experiments.jobs import (
  Job,
  base_phase,
  gsm_phase,
  parse,
  run_command_line,
  set_up,
)
from experiments.measures import shrinkage, vanishing_warning
from experiments.recording import Display
from experiments.report_figure import report_figure
from experiments.runs import load_base, run_phases
from experiments.surroundings import write_json
from experiments.training import make_accuracy


def run(job: Job, shows: bool = True) -> dict[str, Any]:
  """Runs a job to its end and returns what it writes to ``results.json``.

  Args:
    job: what to run.
    shows: whether to print the result, as a part of another job need not.

  Raises:
    DataError: if the data cannot be had.
    CheckpointError: if the folder holds a run that this one would overwrite, or one
      that it cannot continue.
  """
  config, folder, description = job.config, job.folder, job.description
  data, model, steps_per_epoch, environment = set_up(job)
  plan = (base_phase(config, steps_per_epoch), gsm_phase(config, steps_per_epoch))
  start = load_base(job.base) if job.base else None

  with Display(job.quiet or not is_first_process()) as display:
    steps = jnp.arange(config.gsm_epochs * steps_per_epoch)
    rates = np.asarray(jax.vmap(plan[1].learning_rate)(steps))
    decay = config.weight_decay
    if config.passive_weight_decay is not None:
      decay = config.passive_weight_decay
    left = shrinkage(rates, config.momentum, decay, config.nesterov)
    if config.gsm_epochs:
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
      start=start,
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
    "images_per_second": {
      phase.name: round(phase.epochs * len(data.train_labels) / wall[phase.name])
      for phase in plan
      if wall.get(phase.name)
    },
    **environment,
    "config": description,
  }
  save_params(folder / "params", params)
  save_params(folder / "pruned_params", pruned)
  if is_first_process():
    report_figure(records, results).savefig(folder / "report.png", dpi=120)
    write_json(folder / "results.json", results)
    if shows:
      _show(results, report, display, job)
  return results


def _show(
  results: dict[str, Any],
  report: gsm_optax.SparsityReport,
  display: Display,
  job: Job,
) -> None:
  accuracies = {"base": "base_accuracy", "after GSM": "gsm_accuracy"}
  if not job.config.gsm_epochs:
    del accuracies["after GSM"]
  shown = {name: f"{results[key]:.2f} %" for name, key in accuracies.items()}
  pruned = f"{results['pruned_accuracy']:.2f} %"
  compression = f"{results['compression_ratio']:.1f}×"
  if job.quiet:
    before = ", ".join(f"{name} {accuracy}" for name, accuracy in shown.items())
    print(
      f"{job.preset}, seed {results['seed']}: {before}, pruned {compression} {pruned}"
    )
    return
  table = Table(title=f"{job.preset}, seed {results['seed']}, test accuracy")
  for heading in (*shown, "pruned", "compression", "seconds"):
    table.add_column(heading, justify="right")
  seconds = f"{results['wall_seconds']['total']:.0f}"
  table.add_row(*shown.values(), pruned, compression, seconds)
  display.console.print(table)
  display.say(str(report))
  display.say(f"The picture is {job.folder / 'report.png'}; all files: {job.folder}")


def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  what = "Train a base model, train it on with GSM, prune it, report."
  arguments = sys.argv[1:] if arguments is None else arguments
  run_command_line(parse(Job, "prune", what, arguments), run)


if __name__ == "__main__":
  main()
