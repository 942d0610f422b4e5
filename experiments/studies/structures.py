"""Whole units, blocks and groups: what is found, and what it costs.

Each recipe beside its opponents, which have the same epochs and batches: *uniform*, a
network that is thinner everywhere and has as many multiply-adds, trained from scratch
without pruning; *gradual*, under which the units of least norm go step by step; *one
shot*, which removes the units of least norm of the base model, and trains what is left.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from experiments.markdown import MISSING, table
from experiments.studies.opponents import DENSE, gradual
from experiments.studies.results import (
  Result,
  Results,
  mean,
  of_all_seeds,
  read,
  standard_error,
)
from experiments.studies.study import Entry, Study
from experiments.train.optimizers import SGD
from experiments.train.structures import Channels, Weights

SEEDS = range(3)

THINNER = 11
"""Width of the uniform ResNet-20 with half of the multiply-adds of one of width 16."""

PLAIN: dict[str, Any] = {"structure": Weights()}


def dense(peak: float) -> dict[str, Any]:
  """The same training without pruning, from a learning rate."""
  optimizer = SGD(weight_decay=5e-4)
  return {
    **PLAIN,
    "density": 1.0,
    "gsm.optimizer": optimizer,
    "gsm.schedule.peak": peak,
  }


THIN = {"model.options": {"depth": 20, "width": THINNER}}


class Method(NamedTuple):
  """One way to train and prune.

  Attributes:
    label: in words.
    preset: its recipe.
    numbers: what is changed of that.
    job: what is done.
  """

  label: str
  preset: str
  numbers: dict[str, Any] = {}  # noqa: RUF012
  job: Literal["prune", "magnitude"] = "prune"


METHODS = {
  "digits-units": Method("a quarter of the units", "digits-units"),
  "digits-one-shot": Method("one shot, retrained", "digits-units", job="magnitude"),
  "lenet5-units": Method("filters and units", "lenet5-units"),
  "lenet5-gradual": Method(
    "gradual", "lenet5-units", {**gradual(10), "structure": Channels(), "density": 0.05}
  ),
  "lenet5-dense": Method("dense", "lenet5-units", dense(0.1)),
  "lenet300-2of4": Method("two of four", "lenet300-2of4"),
  "lenet300-dense": Method("dense", "lenet300-fast", dense(0.1)),
  "lenet300-blocks": Method("blocks of 4×1, 20×", "lenet300-blocks"),
  "lenet300-weights": Method("single weights, 20×", "lenet300-blocks", PLAIN),
  "resnet20-units": Method("half of the multiply-adds", "resnet20-units"),
  "resnet20-third": Method(
    "a third of the multiply-adds", "resnet20-units", {"density": 0.6}
  ),
  "resnet20-uniform": Method("uniform", "resnet20-small", {**DENSE, **THIN}),
}
"""By the names of their entries."""


TRIED = {
  "try-lenet5-units": Method("as chosen", "lenet5-units"),
  "try-lenet5-few": Method(
    "a density of 0.12, by multiply-adds", "lenet5-units", {"density": 0.12}
  ),
  "try-lenet5-at-once": Method(
    "saliencies not averaged", "lenet5-units", {"gsm.optimizer.smoothing": None}
  ),
  "try-lenet5-gradual-mean": Method(
    "gradual, by means",
    "lenet5-units",
    {**gradual(10), "structure": Channels(score="mean"), "density": 0.1},
  ),
  "try-lenet300-blocks": Method("as chosen", "lenet300-blocks"),
  "try-lenet300-blocks-at-once": Method(
    "saliencies not averaged", "lenet300-blocks", {"gsm.optimizer.smoothing": None}
  ),
  "try-resnet20-units": Method("as chosen", "resnet20-units"),
  "try-resnet20-units-9-epochs": Method(
    "the density falls over 9 epochs",
    "resnet20-units",
    {"gsm.optimizer.density_epochs": 9},
  ),
}
"""What was tried on 5,000 held-out images, seed 0."""


def entries() -> list[Entry]:
  """All runs, the trials first."""
  return [
    Entry(f"{name}-0", each.preset, {**each.numbers, "data.held_out": 5000})
    for name, each in TRIED.items()
  ] + [
    Entry(f"{name}-{seed}", each.preset, {"seed": seed, **each.numbers}, each.job)
    for seed in SEEDS
    for name, each in METHODS.items()
  ]


def tables(folder: Path) -> dict[str, str]:
  """Both tables by their names in the pages."""
  results = read(folder)
  return {
    "structures": methods_table(results),
    "structures-found": found_table(results),
    "structures-trials": trials_table(results),
  }


GROUPS = {
  "digits": "digits, 64-300-100-10",
  "lenet5": "MNIST, LeNet-5",
  "lenet300": "MNIST, LeNet-300-100",
  "resnet20": "CIFAR-10 at 16×16, ResNet-20",
}
"""What the first words of names stand for."""


def methods_table(results: Results) -> str:
  """Accuracies, and the multiply-adds of the network that is left."""
  rows: list[list[str]] = []
  for name, method in METHODS.items():
    runs = of_all_seeds(results, name)
    row = [GROUPS[name.partition("-")[0]], method.label]
    rows.append([*row, *(_cells(runs) if runs else [MISSING, "", "", ""])])
  headings = ["", "", "base, %", "accuracy, %", "multiply-adds", "seeds"]
  return table(headings, rows)


def _cells(runs: Sequence[Result]) -> list[str]:
  accuracy = "retrained_accuracy" if "global" in runs[0] else "pruned_accuracy"
  flat = [run.get("global", run) for run in runs]
  error = standard_error(flat, accuracy)
  base = mean(runs, "base_accuracy")
  left = [_multiply_adds(run) for run in flat]
  return [
    f"{base:.2f}" if base > 20 else "",  # an untrained network's
    f"**{mean(flat, accuracy):.2f}**" + (f" ± {error}" if error else ""),
    f"{statistics.mean(left):,.0f}" if all(left) else "",
    str(len(runs)),
  ]


def _multiply_adds(run: Result) -> int:
  """Of the network without what is zero."""
  totals = run.get("totals")
  if totals:
    return totals["multiply-adds"][1]
  found = run.get("shrunk")
  return found["multiply_adds"][1] if found else 0


def trials_table(results: Results) -> str:
  """What was tried: what is left, and how surely."""
  rows: list[list[str]] = []
  for name, method in TRIED.items():
    run = results.get(f"{name}-0")
    row = [f"`{method.preset}`", method.label]
    if run is None:
      rows.append([*row, MISSING, "", "", ""])
      continue
    norms = run["unit_norms"]
    units = _kept(run["units"])
    ratio = norms["greatest_removed"] / norms["median_kept"]
    accuracy, left = f"{run['pruned_accuracy']:.2f}", f"{_multiply_adds(run):,}"
    rows.append([*row, units, f"{ratio:.0e}", accuracy, left])
  headings = ["recipe", "", "units kept", "greatest removed norm / median kept"]
  return table([*headings, "accuracy, %", "multiply-adds"], rows)


def _kept(units: Sequence[dict[str, Any]]) -> str:
  """How many units of each group are left, groups of one size together."""
  by_size: dict[int, list[str]] = {}
  for group in units:
    by_size.setdefault(group["size"], []).append(str(group["kept"]))
  return "; ".join(f"{', '.join(kept)} of {size}" for size, kept in by_size.items())


def found_table(results: Results) -> str:
  """What the structured runs found, and how surely."""
  rows: list[list[str]] = []
  for name, method in METHODS.items():
    for run in of_all_seeds(results, name)[:1]:
      if "units" not in run or method.numbers:
        continue
      norms, found = run.get("unit_norms"), run["shrunk"]
      rows.append(
        [
          f"`{run['preset']}`",
          method.label,
          _kept(run["units"]),
          f"{norms['greatest_removed'] / norms['median_kept']:.0e}" if norms else "",
          f"{abs(run['gsm_accuracy'] - run['pruned_accuracy']):.2f}",
          *_times_less(found, {}),
        ]
      )
      if rounded := found.get("rounded"):
        label = f"the same, widths in multiples of {rounded['round_to']}"
        rows.append(["", label, "", "", "", *_times_less(found, rounded)])
  headings = ["recipe", "", "units kept", "greatest removed norm / median kept"]
  headings += ["lost by pruning, points", "numbers", "multiply-adds"]
  return table([*headings, "batch 1", "batch 32", "batch 1000"], rows or [[MISSING]])


def _times_less(found: dict[str, Any], rounded: dict[str, Any]) -> list[str]:
  """How many times fewer numbers and multiply-adds it is, and how many times faster."""
  cells: list[str] = []
  for key in ("weights", "multiply_adds"):
    before, after = found[key]
    cells.append(f"{before / rounded.get(key, after):.1f}×")
  for batch in ("1", "32", "1000"):
    if batch not in found["seconds"]:
      cells.append("")
      continue
    before, after = found["seconds"][batch]
    if rounded:
      after = rounded["seconds"][batch]
    cells.append(f"{before / after:.1f}×")
  return cells


STUDY = Study(entries(), tables)
