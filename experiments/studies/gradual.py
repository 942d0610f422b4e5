"""LeNet-300-100 on MNIST: GSM beside gradual magnitude pruning, at equal epochs.

Both begin with the same base model of 40 epochs, train it on for 60 on the same batches
of shifted images along a cosine, and differ in the optimizer: GSM by the recipe
`lenet300-fast`, with and without pruning after 70 % of the steps, and SGD under which
the smallest weights go. The density of the latter falls over 60 % of the epochs, and
its learning rate is the best of three on held-out images, at each compression.
"""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments.markdown import MISSING, table
from experiments.studies.results import (
  Results,
  mean,
  of_all_seeds,
  read,
  standard_error,
)
from experiments.studies.study import Entry, Study
from experiments.train.pruners import GradualMagnitude

COMPRESSIONS = (20, 60, 100)
SEEDS = range(5)


def gradual(peak: float) -> dict[str, Any]:
  """Gradual magnitude pruning from a learning rate."""
  return {"gsm.optimizer": GradualMagnitude(36.0), "gsm.schedule.peak": peak}


TRIED = {
  **{f"try-gradual-{peak:g}": gradual(peak) for peak in (0.05, 0.1, 0.2)},
  "try-gsm": {},
  "try-gsm-prune": {"gsm.optimizer.prune_from": 0.7},
}
"""On 5,000 held-out images, seed 0."""

BEST = {20: 0.05, 60: 0.1, 100: 0.1}
"""The best of the three learning rates at each compression."""

METHODS = {
  "gsm": "GSM",
  "gsm-prune": "GSM, pruned after 70 % of the steps",
  "gradual": "gradual magnitude",
}


def entries() -> list[Entry]:
  """All runs, the trials first."""
  result: list[Entry] = []
  for ratio in COMPRESSIONS:
    for name, numbers in TRIED.items():
      numbers = {"density": 1 / ratio, "data.held_out": 5000, **numbers}
      result.append(Entry(f"{name}-{ratio}x-0", "lenet300-fast", numbers))
  for seed in SEEDS:
    for ratio in COMPRESSIONS:
      common = {"density": 1 / ratio, "seed": seed}
      changes = {
        "gsm": {},
        "gsm-prune": {"gsm.optimizer.prune_from": 0.7},
        "gradual": gradual(BEST[ratio]),
      }
      for name, numbers in changes.items():
        name = f"{name}-{ratio}x-{seed}"
        result.append(Entry(name, "lenet300-fast", {**common, **numbers}))
  return result


def tables(folder: Path) -> dict[str, str]:
  """Both tables by their names in the pages."""
  results = read(folder)
  return {"gradual": methods_table(results), "gradual-trials": trials_table(results)}


def methods_table(results: Results) -> str:
  """Test accuracies, with standard errors over the seeds."""
  rows: list[list[str]] = []
  for name, label in METHODS.items():
    row = [label]
    for ratio in COMPRESSIONS:
      runs = of_all_seeds(results, f"{name}-{ratio}x")
      row.append(_cell(runs))
    rows.append(row)
  return table(["", *(f"{ratio}×" for ratio in COMPRESSIONS)], rows)


def _cell(runs: list[dict[str, Any]]) -> str:
  if not runs:
    return MISSING
  error = standard_error(runs, "pruned_accuracy")
  seeds = f"{len(runs)} seeds" if len(runs) > 1 else "1 seed"
  error = f" ± {error}" if error else ""
  return f"{mean(runs, 'pruned_accuracy'):.2f}{error} ({seeds})"


def trials_table(results: Results) -> str:
  """What was tried on held-out images: accuracies, and losses in brackets."""
  labels = {
    "try-gradual-0.05": "gradual magnitude, learning rate 0.05",
    "try-gradual-0.1": "0.1",
    "try-gradual-0.2": "0.2",
    "try-gsm": "GSM",
    "try-gsm-prune": "GSM, pruned after 70 % of the steps",
  }
  rows: list[list[str]] = []
  for name, label in labels.items():
    runs = [results.get(f"{name}-{ratio}x-0") for ratio in COMPRESSIONS]
    cells = [
      f"{run['pruned_accuracy']:.2f} ({run['pruned_test_loss']:.4f})"
      if run
      else MISSING
      for run in runs
    ]
    rows.append([label, *cells])
  return table(["", *(f"{ratio}×" for ratio in COMPRESSIONS)], rows)


def against_compression(folder: Path) -> Figure:
  """Accuracy against compression, with standard errors."""
  figure = Figure(figsize=(6.5, 4.2), layout="constrained")
  axes = figure.subplots()
  results = read(folder)
  colours = ("crimson", "darkorange", "steelblue")
  for (name, label), colour in zip(METHODS.items(), colours, strict=True):
    found = {ratio: of_all_seeds(results, f"{name}-{ratio}x") for ratio in COMPRESSIONS}
    found = {ratio: runs for ratio, runs in found.items() if len(runs) > 1}
    means = [mean(runs, "pruned_accuracy") for runs in found.values()]
    errors = [float(standard_error(runs, "pruned_accuracy")) for runs in found.values()]
    axes.errorbar(
      *(list(found), means, errors), marker="o", capsize=3, color=colour, label=label
    )
  dense = of_all_seeds(read(folder.parent / "mnist"), "lenet300-dense")
  if dense:
    accuracy = mean(dense, "pruned_accuracy")
    label = "the same training without pruning"
    axes.axhline(accuracy, color="grey", linewidth=0.8, label=label)
  axes.set_xscale("log")
  axes.set_xticks(COMPRESSIONS, [f"{ratio}×" for ratio in COMPRESSIONS])
  axes.minorticks_off()
  axes.set_xlabel("compression")
  axes.set_ylabel("test accuracy, %")
  axes.set_title("LeNet-300-100 on MNIST, pruned while it trains (mean of 5 seeds)")
  axes.legend()
  return figure


STUDY = Study(entries(), tables, {"gradual": against_compression})
