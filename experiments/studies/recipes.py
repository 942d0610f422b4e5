"""Variants of the recipes that beat the paper's, measured on held-out images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.markdown import MISSING, table
from experiments.studies.results import (
  Result,
  mean,
  number_alive,
  of_all_seeds,
  read,
)
from experiments.studies.study import Entry, Study
from experiments.train.augmentation import Shift
from experiments.train.schedules import Drops


@dataclass(frozen=True)
class Variant:
  """What one variant of a recipe changes.

  Attributes:
    name: of its entries.
    label: the same in words.
    numbers: by dotted names.
  """

  name: str
  label: str
  numbers: Mapping[str, Any]


FAST = (
  Variant("recipe", "`lenet300-fast`", {}),
  Variant("no-shift", "images not shifted", {"gsm.augmentation": ()}),
  Variant(
    "shift-2",
    "images shifted by up to two pixels",
    {"gsm.augmentation": (Shift(2),)},
  ),
  Variant(
    "one-density",
    "the final density from the start",
    {"gsm.optimizer.start_density": None},
  ),
  Variant(
    "start-at-0.5",
    "a density of 0.5 at the start instead of 0.2",
    {"gsm.optimizer.start_density": 0.5},
  ),
  Variant(
    "one-decay", "one decay for all", {"gsm.optimizer.passive_weight_decay": None}
  ),
  Variant(
    "drops",
    "two tenfold drops instead of a cosine",
    {"gsm.schedule": Drops(0.1, warmup_epochs=2)},
  ),
  Variant("momentum-0.9", "momentum 0.9", {"gsm.optimizer.momentum": 0.9}),
  Variant("momentum-0.97", "momentum 0.97", {"gsm.optimizer.momentum": 0.97}),
  Variant(
    "momentum-0.99",
    "momentum 0.99, learning rate 0.03",
    {"gsm.optimizer.momentum": 0.99, "gsm.schedule.peak": 0.03},
  ),
  Variant(
    "batch-128",
    "batches of 128, learning rate 0.05",
    {"batch_size": 128, "gsm.schedule.peak": 0.05},
  ),
  Variant(
    "no-nesterov",
    "no Nesterov",
    {"gsm.optimizer.nesterov": False, "base.optimizer.nesterov": False},
  ),
  Variant(
    "smoothing-0.5", "saliencies averaged, 0.5", {"gsm.optimizer.smoothing": 0.5}
  ),
  Variant("120-epochs", "120 epochs", {"gsm.epochs": 120}),
)
"""Of `lenet300-fast`."""

FAR_LENET300 = (
  Variant(
    "150x-share-1",
    "LeNet-300-100, 150×, active share 1",
    {"gsm.optimizer.active_share": 1.0},
  ),
  Variant("150x-share-0.9", "0.9", {"gsm.optimizer.active_share": 0.9}),
  Variant("150x-share-0.8", "0.8", {"gsm.optimizer.active_share": 0.8}),
)
"""Of `lenet300-far`, at 150×."""

FAR_LENET5 = (
  Variant(
    "500x-share-1",
    "LeNet-5, 500×, active share 1",
    {"gsm.optimizer.active_share": 1.0},
  ),
  Variant("500x-share-0.87", "0.87", {}),
  Variant(
    "500x-no-shift",
    "1, images not shifted",
    {"gsm.optimizer.active_share": 1.0, "gsm.augmentation": ()},
  ),
  Variant(
    "500x-smoothing-0.5",
    "0.9, saliencies averaged, 0.5",
    {"gsm.optimizer.active_share": 0.9, "gsm.optimizer.smoothing": 0.5},
  ),
  Variant(
    "500x-passive-2e-3",
    "0.87, passive decay of 2e-3 instead of 6e-3",
    {"gsm.optimizer.passive_weight_decay": 2e-3},
  ),
  Variant(
    "500x-slow",
    "0.87, density falls over 42 epochs instead of 24",
    {"gsm.optimizer.density_epochs": 42},
  ),
  Variant(
    "500x-120-epochs",
    "0.9, 120 epochs, density falls over 48",
    {
      "gsm.optimizer.active_share": 0.9,
      "gsm.epochs": 120,
      "gsm.optimizer.density_epochs": 48,
    },
  ),
)
"""Of `lenet5-far`."""

SPARSELY = {"evaluate_every": 20}


def entries() -> list[Entry]:
  """All runs, in an order in which each follows what it starts from."""
  result: list[Entry] = []
  for seed in range(3):
    common = {"seed": seed, "data.held_out": 5000}
    base = f"base-{seed}"
    result.append(Entry(base, "lenet300-fast", {**common, "gsm.epochs": 0}))
    for variant in FAST:
      # What the base model depends on too needs one of its own.
      own = {"batch_size", "base.optimizer.nesterov"} & variant.numbers.keys()
      numbers = {**common, **variant.numbers, **SPARSELY}
      name = f"{variant.name}-{seed}"
      entry = Entry(name, "lenet300-fast", numbers, base=None if own else base)
      result.append(entry)
    for variant in FAR_LENET300:
      numbers = {**common, "density": 1 / 150, **variant.numbers, **SPARSELY}
      result.append(Entry(f"{variant.name}-{seed}", "lenet300-far", numbers, base=base))
  # From a base model of fewer epochs: a quarter of an hour each, on one core.
  common = {"data.held_out": 5000, "base.epochs": 12, **SPARSELY}
  result.append(Entry("base-lenet5-0", "lenet5-far", {**common, "gsm.epochs": 0}))
  for variant in FAR_LENET5:
    numbers = {**common, **variant.numbers}
    name = f"{variant.name}-0"
    result.append(Entry(name, "lenet5-far", numbers, base="base-lenet5-0"))
  return result


def tables(folder: Path) -> dict[str, str]:
  """Both tables by their names in the pages."""

  def alive(runs: Sequence[Result]) -> str:
    return f"{mean(runs, 'alive'):,.0f}"

  far = {
    "kept": lambda runs: f"{runs[0]['num_kept']:,}",
    "weights with \\|w\\| ≥ 1e-3": alive,
  }
  base = {"base, %": lambda runs: f"{mean(runs, 'base_accuracy'):.2f}"}
  return {
    "recipes": variants_table(folder, FAST, base),
    "far": variants_table(folder, (*FAR_LENET300, *FAR_LENET5), far),
  }


def variants_table(
  folder: Path,
  variants: Sequence[Variant],
  columns: Mapping[str, Callable[[Sequence[Result]], str]],
) -> str:
  """A row for each variant, with `columns` of its runs' results."""
  results = read(folder)
  for entry, result in results.items():
    result["alive"] = number_alive(folder / entry)
  columns = {
    **columns,
    "after GSM, %": lambda runs: f"{mean(runs, 'gsm_accuracy'):.2f}",
    "pruned, %": lambda runs: f"**{mean(runs, 'pruned_accuracy'):.2f}**",
    "seeds": lambda runs: str(len(runs)),
  }
  rows: list[list[str]] = []
  for variant in variants:
    runs = of_all_seeds(results, variant.name)
    missing = [MISSING, *[""] * (len(columns) - 1)]
    cells = [cell(runs) for cell in columns.values()] if runs else missing
    rows.append([f"`{variant.name}`", variant.label, *cells])
  return table(["run", "", *columns], rows)


STUDY = Study(entries(), tables)
