"""The paper's results on CIFAR-10, on a GPU, by `experiments.sitting`.

ResNet-56 and DenseNet-40, pruned from the first step on by the quick recipe, beside the
same training without pruning and under gradual magnitude pruning, in equal epochs.
"""

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

ROWS: tuple[tuple[str, str, str, str, dict[str, Any]], ...] = (
  ("resnet56-10x", "ResNet-56, 10×", "94.05 → 93.80", "resnet56-quick", {}),
  (
    *("resnet56-6.7x", "ResNet-56, 6.7×", "94.05 → 94.10", "resnet56-quick"),
    {"density": 0.15},
  ),
  ("densenet40-10x", "DenseNet-40, 10×", "93.86 → 93.90", "densenet40-quick", {}),
  (
    *("densenet40-8x", "DenseNet-40, 8×", "93.86 → 94.02", "densenet40-quick"),
    {"density": 0.125},
  ),
  ("resnet56-dense", "ResNet-56, dense", "94.05", "resnet56-quick", DENSE),
  (
    *("resnet56-gradual-10x", "ResNet-56, 10×, gradual magnitude", ""),
    *("resnet56-quick", gradual(97)),
  ),
  ("densenet40-dense", "DenseNet-40, dense", "93.86", "densenet40-quick", DENSE),
)
"""Entry, the same in words, the paper's base → pruned, and what is run."""


def entries() -> list[Entry]:
  """All runs, in the order of what is wanted first."""
  return [Entry(f"{name}-0", preset, numbers) for name, _, _, preset, numbers in ROWS]


def tables(folder: Path) -> dict[str, str]:
  """The table, beside the paper's numbers."""
  results = read(folder)
  rows: list[list[str]] = []
  for name, label, paper, _, _ in ROWS:
    runs = of_all_seeds(results, name)
    if not runs:
      rows.append([label, paper, MISSING, *[""] * 5])
      continue
    again = [run for run in runs if "reestimated_accuracy" in run]
    rows.append(
      [
        label,
        paper,
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
  return {"cifar10-paper": table([*headings, *others], rows)}


STUDY = Study(entries(), tables)
