"""The paper's results on CIFAR-10, on a GPU, by `experiments.sitting`.

ResNet-56 and DenseNet-40, pruned from the first step on by the quick recipe, beside the
same training without pruning and under gradual magnitude pruning. What is called
longer has twice the epochs, and is compared with what is called so too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.markdown import MISSING, table
from experiments.studies.opponents import DENSE, gradual
from experiments.studies.results import (
  mean,
  number,
  of_all_seeds,
  read,
  standard_error,
)
from experiments.studies.study import Entry, Study


@dataclass(frozen=True)
class Row:
  """A run, and the paper's numbers beside it.

  Attributes:
    name: of the entries.
    label: the same in words.
    paper: its accuracies, base → pruned.
    preset: the recipe.
    numbers: what is changed of it.
  """

  name: str
  label: str
  paper: str
  preset: str
  numbers: Mapping[str, Any]


RESNET, LONG, DENSENET = "resnet56-quick", "resnet56-long", "densenet40-quick"

ROWS = (
  Row("resnet56-10x", "ResNet-56, 10×", "94.05 → 93.80", RESNET, {}),
  Row("resnet56-10x-long", "ResNet-56, 10×, longer", "94.05 → 93.80", LONG, {}),
  Row("resnet56-dense", "ResNet-56, dense, longer", "94.05", LONG, DENSE),
  Row(
    "resnet56-6.7x", "ResNet-56, 6.7×, longer", "94.05 → 94.10", LONG, {"density": 0.15}
  ),
  Row(
    "resnet56-gradual-10x",
    "ResNet-56, 10×, gradual magnitude, longer",
    "",
    LONG,
    gradual(195),
  ),
  Row(
    "resnet56-units",
    "ResNet-56, channels, half of the multiply-adds, longer",
    "",
    "resnet56-units",
    {},
  ),
  Row("densenet40-10x", "DenseNet-40, 10×", "93.86 → 93.90", DENSENET, {}),
  Row(
    "densenet40-8x", "DenseNet-40, 8×", "93.86 → 94.02", DENSENET, {"density": 0.125}
  ),
  Row("densenet40-dense", "DenseNet-40, dense", "93.86", DENSENET, DENSE),
)
"""In the order of what is wanted first."""


def entries() -> list[Entry]:
  """All runs."""
  return [Entry(f"{row.name}-0", row.preset, row.numbers) for row in ROWS]


def tables(folder: Path) -> dict[str, str]:
  """The table, beside the paper's numbers."""
  results = read(folder)
  lines: list[list[str]] = []
  for row in ROWS:
    runs = of_all_seeds(results, row.name)
    if not runs:
      lines.append([row.label, row.paper, MISSING, *[""] * 5])
      continue
    again = [run for run in runs if "reestimated_accuracy" in run]
    lines.append(
      [
        row.label,
        row.paper,
        f"**{mean(runs, 'pruned_accuracy'):.2f}**",
        f"{mean(again, 'reestimated_accuracy'):.2f}" if again else "",
        standard_error(runs, "pruned_accuracy"),
        str(len(runs)),
        str(number(runs[0], "gsm.epochs")),
        runs[0]["device"]["kind"],
      ]
    )
  headings = ["", "paper: base → pruned, %", "pruned, %"]
  others = ["statistics estimated anew, %", "standard error", "seeds", "epochs", "on"]
  return {"cifar10-paper": table([*headings, *others], lines)}


STUDY = Study(entries(), tables)
