"""The main job: train a base model, train it on under GSM, prune, report.

    python -m experiments.prune [RECIPE] [--flags]

See `experiments.configs` for the recipes, what they cost and what they give.
"""

import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from rich.table import Table

import gsm_optax
from experiments.jobs.command_line import Job, parse, run_command_line
from experiments.jobs.report_figure import report_figure
from experiments.jobs.setup import Setup, find_base, set_up, start_from
from experiments.jobs.shrunk import shrunk, shrunk_sentence, shrunk_table
from experiments.run.recording import Display
from experiments.run.stages import Outcome, Stage
from experiments.run.terminal import on_any_terminal
from experiments.train.devices import batch_mesh, is_first_process
from experiments.train.evaluate import make_evaluate
from experiments.train.statistics import make_reestimate
from experiments.train.vanishing import vanishing_warning

ROUND_TO = 8
"""Widths in multiples of it are tried too, where whole units are pruned."""

TOP5_FROM = 100
"""Classes from which on top-5 accuracy is reported too."""


def run(job: Job, shows: bool = True) -> dict[str, Any]:
  """Runs a job to its end and returns what it writes to ``results.json``.

  Args:
    job: what to run.
    shows: whether to print the result, as a part of another job need not.

  Raises:
    DataError: if the data cannot be had.
    RunError: if the folder holds a run that this one would overwrite, or one that it
      cannot continue.
  """
  recipe = job.recipe
  with (
    set_up(job) as setup,
    Display(job.quiet or not is_first_process()) as display,
  ):
    stages = (setup.stage("base", recipe.base), setup.stage("gsm", recipe.gsm))
    start = start_from(find_base(job.base, job.description)) if job.base else None
    left = share_left(setup)
    if recipe.gsm.epochs and left is not None:
      display.say(f"A weight passive throughout will shrink to {left:.1g} of its size.")
      if warning := vanishing_warning(left):
        display.say(f"Warning: {warning}")
    outcome = setup.train(setup.folder, stages, display, start)
    units = setup.units
    mask = gsm_optax.magnitude_mask(outcome.params, recipe.density, structure=units)
    pruned = gsm_optax.apply_mask(outcome.params, mask)
    report = gsm_optax.sparsity_report(pruned, structure=units)
    statistics = {"batch_stats": outcome.batch_stats}
    if recipe.reestimate:
      statistics["reestimated_batch_stats"] = reestimated(setup, outcome, pruned)
    results = {
      "preset": job.preset,
      "model": recipe.model.name,
      "dataset": recipe.data.name,
      "seed": recipe.seed,
      **accuracies(setup, outcome, pruned, statistics),
      "density": report.density,
      "compression_ratio": report.compression_ratio,
      "num_prunable": report.size,
      "image_shape": list(setup.data.image_shape),
      "num_kept": report.kept,
      "passive_shrinkage": left,
      "layers": report.to_dict()["layers"],
      "empty_layers": list(report.empty_layers),
      **of_units(setup, outcome.params, pruned, report),
      "shrunk": shrunk_network(setup, pruned, outcome.batch_stats, display),
      **speed(setup, stages, outcome),
      **setup.environment,
      "config": setup.folder.description,
    }
    setup.folder.save("params", outcome.params)
    setup.folder.save("pruned_params", pruned)
    for name, tree in statistics.items():
      if jax.tree.leaves(tree):
        setup.folder.save(name, tree)
    if is_first_process():
      figure = report_figure(outcome.records, results)
      setup.folder.save_figure("report.png", figure)
      setup.folder.write_json("results.json", results)
  if is_first_process() and shows:
    _show(results, report, display, job)
  return results


def of_units(
  setup: Setup, params: Any, pruned: Any, report: gsm_optax.SparsityReport
) -> dict[str, Any]:
  """How many units of a structure are left, and how small the others were before."""
  if setup.structure is None:
    return {}
  described = report.to_dict()
  result = {key: described.get(key, []) for key in ("units", "totals")}
  if setup.structure.structure.kept_of_last_axis is not None:
    return result  # no unit competes with all others
  norms = setup.structure.unit_norms(params)
  is_kept = setup.structure.unit_norms(pruned) > 0
  result["unit_norms"] = {
    "median_kept": float(np.median(norms[is_kept])),
    "least_kept": float(np.min(norms[is_kept])),
    "greatest_removed": float(np.max(norms[~is_kept], initial=0)),
  }
  return result


def shrunk_network(
  setup: Setup, pruned: Any, batch_stats: Any, display: Display
) -> dict[str, Any] | None:
  """The pruned network made smaller, and timed; None if that fails."""
  try:
    # Units make widths of any number, and hardware likes some better than others.
    round_to = 1 if setup.structure is None else ROUND_TO
    shape = setup.data.image_shape
    return shrunk(setup.model, shape, pruned, batch_stats, round_to)
  except Exception as error:  # of a user's network: what was trained is not lost
    display.say(f"Warning: the pruned network cannot be shrunk: {error}")
    return None


def share_left(setup: Setup) -> float | None:
  """What is left of a weight that is passive throughout; ``None`` if none can be."""
  recipe = setup.job.recipe
  if recipe.density == 1:
    return None
  return recipe.gsm.optimizer.share_left(setup.task(recipe.gsm))


def reestimated(setup: Setup, outcome: Outcome, pruned: Any) -> Any:
  """BatchNorm's statistics, estimated anew for the pruned network."""
  recipe = setup.job.recipe
  reestimate = make_reestimate(
    setup.model,
    setup.data,
    recipe.batch_size,
    recipe.gsm.augmentation,
    mesh=batch_mesh(),
  )
  return reestimate(pruned, outcome.batch_stats)


def accuracies(
  setup: Setup, outcome: Outcome, pruned: Any, statistics: dict[str, Any]
) -> dict[str, Any]:
  """Of the base model, after GSM, pruned, and with statistics estimated anew."""
  stats = statistics["batch_stats"]
  weights = {"gsm": (outcome.params, stats), "pruned": (pruned, stats)}
  if "reestimated_batch_stats" in statistics:
    weights["reestimated"] = (pruned, statistics["reestimated_batch_stats"])
  mesh = batch_mesh()
  evaluate = make_evaluate(setup.model, setup.data, mesh)
  found = dict(zip(weights, evaluate(list(weights.values())), strict=True))
  base = [record for record in outcome.records if record["phase"] == "base"]
  result: dict[str, Any] = {
    "base_accuracy": base[-1]["accuracy"],
    "base_test_loss": base[-1].get("test_loss"),
  }
  result |= {f"{name}_accuracy": each.top1 for name, each in found.items()}
  result |= {f"{name}_test_loss": each.loss for name, each in found.items()}
  if setup.data.num_classes >= TOP5_FROM:
    result |= {f"{name}_top5_accuracy": each.top5 for name, each in found.items()}
  return result


def speed(setup: Setup, stages: Sequence[Stage], outcome: Outcome) -> dict[str, Any]:
  """Seconds and images per second of each stage."""
  wall = outcome.wall_seconds
  return {
    "wall_seconds": {"base": 0.0, "gsm": 0.0, **wall, "total": sum(wall.values())},
    "images_per_second": {
      stage.name: round(stage.epochs * setup.data.train_size / wall[stage.name])
      for stage in stages
      if wall.get(stage.name)
    },
  }


def _show(
  results: dict[str, Any],
  report: gsm_optax.SparsityReport,
  display: Display,
  job: Job,
) -> None:
  keys = {"base": "base", "after GSM": "gsm"}
  if not job.recipe.gsm.epochs:
    del keys["after GSM"]
  elif not job.recipe.base.epochs:
    del keys["base"]  # there is none
  shown = {name: _accuracy(results, key) for name, key in keys.items()}
  pruned = _accuracy(results, "pruned")
  if "reestimated_accuracy" in results:
    pruned += f" ({results['reestimated_accuracy']:.2f} % with new statistics)"
  compression = f"{results['compression_ratio']:.1f}×"
  if job.quiet:
    before = ", ".join(f"{name} {accuracy}" for name, accuracy in shown.items())
    lost = len(report.empty_layers)
    found = results["shrunk"]
    print(
      f"{job.preset}, seed {results['seed']}: {before}, pruned {compression} {pruned}"
      + (f", nothing left of {lost} layers" if lost else "")
      + (f", {shrunk_sentence(found)}" if found else "")
    )
    return
  measured = "held-out" if job.recipe.data.held_out else "test"
  table = Table(title=f"{job.preset}, seed {results['seed']}, {measured} accuracy")
  for heading in (*shown, "pruned", "compression", "seconds"):
    table.add_column(heading, justify="right")
  seconds = f"{results['wall_seconds']['total']:.0f}"
  table.add_row(*shown.values(), pruned, compression, seconds)
  display.console.print(table)
  display.say(str(report))
  if results["shrunk"]:
    display.console.print(shrunk_table(results["shrunk"]))
  display.say(f"The picture is {job.folder / 'report.png'}; all files: {job.folder}")


def _accuracy(results: dict[str, Any], name: str) -> str:
  """In percent, and the loss of texts, by which these are compared."""
  accuracy = f"{results[f'{name}_accuracy']:.2f} %"
  if len(results["image_shape"]) > 1:
    return accuracy
  return f"{results[f'{name}_test_loss']:.3f} nats, {accuracy}"


@on_any_terminal
def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  what = "Train a base model, train it on under GSM, prune it, report."
  arguments = sys.argv[1:] if arguments is None else arguments
  run_command_line(parse(Job, "prune", what, arguments), run)
