"""Tables of single runs, and of what a passive weight does by arithmetic."""

import json
import math
import statistics
from pathlib import Path
from typing import Any

import gsm_optax
from experiments.markdown import table
from experiments.studies.results import RESULTS, Result, mean, number
from experiments.train.vanishing import VANISHED


def runs_by_preset(
  folder: Path = RESULTS, pattern: str = "*"
) -> dict[str, list[Result]]:
  """The committed runs of each preset, by seed."""
  runs: dict[str, list[Result]] = {}
  for path in sorted(folder.glob(f"{pattern}/results.json")):
    result = json.loads(path.read_text())
    runs.setdefault(result["preset"], []).append(result)
  return {
    preset: sorted(results, key=lambda result: result["seed"])
    for preset, results in runs.items()
  }


def results_table(runs: dict[str, list[Result]]) -> str:
  """A Markdown table with one row for each recipe."""
  rows: list[list[str]] = []
  for preset, results in runs.items():
    first = results[0]
    device = first["device"]
    minutes = statistics.mean(r["wall_seconds"]["total"] for r in results) / 60
    rows.append(
      [
        f"[`{preset}`](experiments/results/{preset}-{first['seed']}/results.json)",
        f"{first['compression_ratio']:.0f}×",
        f"{mean(results, 'base_accuracy'):.2f} %",
        f"**{mean(results, 'pruned_accuracy'):.2f} %**",
        ", ".join(str(result["seed"]) for result in results),
        f"{minutes:.1f}",
        f"{device['kind']}, {device['cpu_cores']} cores",
      ]
    )
  headings = ["preset", "compression", "base", "pruned", "seeds", "minutes each"]
  return table([*headings, "device"], rows)


def vanishing_table(learning_rate: float = 3e-2, weight_decay: float = 5e-4) -> str:
  """A Markdown table of how many steps a passive weight takes to shrink a thousandfold.

  Arithmetic, and no measurement; the defaults are the paper's for MNIST.
  """
  rows: list[list[str]] = []
  for momentum in (0.9, 0.95, 0.98, 0.99):
    rate = learning_rate * weight_decay / (1 - momentum)
    formula = -math.log(VANISHED) / rate
    # The momentum begins at zero, so it takes somewhat longer.
    numbers = range(2 * math.ceil(formula))
    left = gsm_optax.share_left(learning_rate, numbers, momentum, weight_decay)
    steps = int((left > VANISHED).sum())
    rows.append([f"{momentum:g}", f"{formula:,.0f}", f"{steps:,}"])
  by_formula = f"steps, α = {learning_rate:g}, η = {weight_decay:g}"
  return table(["momentum", by_formula, "iterated"], rows)


def smoothing_table(runs: dict[str, list[Result]]) -> str:
  """A Markdown table of the runs with smoothing, and the same without."""
  rows: list[list[str]] = []

  def smoothing_of(result: Result) -> Any:
    return number(result, "gsm.optimizer.smoothing")

  for preset, smoothed in runs.items():
    seeds = {result["seed"] for result in smoothed}
    mnist = runs_by_preset(RESULTS / "mnist", "lenet300-60x-*").get(preset, [])
    plain = [run for run in mnist if run["seed"] in seeds]
    for result in [*plain, *sorted(smoothed, key=smoothing_of)]:
      smoothing = smoothing_of(result)
      rows.append(
        [
          f"`{preset}`",
          "none" if smoothing is None else str(smoothing),
          str(result["seed"]),
          f"{result['base_accuracy']:.2f} %",
          f"{result['gsm_accuracy']:.2f} %",
          f"**{result['pruned_accuracy']:.2f} %**",
          f"{result['compression_ratio']:.0f}×",
        ]
      )
  headings = ["preset", "smoothing", "seed", "base", "after GSM", "pruned"]
  return table([*headings, "compression"], rows)
