"""CIFAR-10 at 16×16 on two CPU cores: GSM beside its opponents, in equal epochs.

ResNet-20 at 10×, 16 epochs each: GSM and gradual magnitude pruning from the first step
on, and one shot after half of the epochs with retraining in the other half. Dense is
the same training without pruning. All have the same batches and augmentation, the same
learning rate / (1 − momentum), and a cosine; one shot has one in each half.

Before the test images were used, ``try-…`` chose the recipes on held-out images, with a
network of half the width.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.configs import recipes
from experiments.markdown import MISSING, table
from experiments.studies.opponents import DENSE, gradual
from experiments.studies.results import (
  Results,
  mean,
  of_all_seeds,
  read,
  standard_error,
)
from experiments.studies.study import Entry, Study
from experiments.train.optimizers import SGD
from experiments.train.schedules import Cosine

EPOCHS = 16


def gsm(density_epochs: float, passive_weight_decay: float) -> dict[str, Any]:
  """GSM, whose density falls over so many epochs, with a decay of the passive."""
  return {
    "gsm.optimizer.density_epochs": density_epochs,
    "gsm.optimizer.passive_weight_decay": passive_weight_decay,
  }


METHODS: dict[str, tuple[str, dict[str, Any]]] = {
  "dense": ("dense", DENSE),
  "gsm": ("GSM", {}),
  "gradual": ("gradual magnitude", gradual(13)),
}
"""Each method in words, and what it changes of `resnet20-small`."""

ONE_SHOT = {
  **DENSE,
  "density": 0.1,
  # Trained as in the other half: the recipe itself has no base model.
  "base": replace(
    recipes()["resnet20-small"].gsm,
    epochs=EPOCHS // 2,
    optimizer=SGD(weight_decay=5e-4),
    schedule=Cosine(0.1, warmup_epochs=1),
  ),
  "gsm.epochs": EPOCHS // 2,
}
"""The same for one shot and retraining, which needs a base model."""

TRIALS: dict[str, tuple[str, dict[str, Any]]] = {
  "try-gsm": ("GSM, density falls over 6 epochs, passive decay 1.2e-2", gsm(6, 1.2e-2)),
  "try-gsm-8e-3": ("over 6 epochs, passive decay 8e-3", gsm(6, 8e-3)),
  "try-gsm-9-epochs": ("over 9 epochs, passive decay 2e-2", gsm(9, 2e-2)),
  "try-gradual-6": ("gradual magnitude, over 6 epochs", gradual(6)),
  "try-gradual-10": ("over 10 epochs", gradual(10)),
  "try-gradual-13": ("over 13 epochs", gradual(13)),
}
"""What was tried on held-out images, in words and in numbers."""

TRIED = {"data.held_out": 5000, "model.options": {"depth": 20, "width": 8}}


def entries() -> list[Entry]:
  """All runs, the trials first."""
  result = [
    Entry(f"{name}-0", "resnet20-small", {**TRIED, **numbers})
    for name, (_, numbers) in TRIALS.items()
  ]
  for seed in range(3):
    for name, (_, numbers) in METHODS.items():
      entry = Entry(f"{name}-{seed}", "resnet20-small", {"seed": seed, **numbers})
      result.append(entry)
    numbers = {"seed": seed, **ONE_SHOT}
    result.append(Entry(f"one-shot-{seed}", "resnet20-small", numbers, job="magnitude"))
  return result


def tables(folder: Path) -> dict[str, str]:
  """Both tables by their names in the pages."""
  results = read(folder)
  return {"cifar10": methods_table(results), "cifar10-trials": trials_table(results)}


def methods_table(results: Results) -> str:
  """Accuracy of each method, its standard error, and the distance to dense."""
  found = {label: of_all_seeds(results, name) for name, (label, _) in METHODS.items()}
  found["one shot, retrained"] = [
    {**run, **_as_pruned(run)} for run in of_all_seeds(results, "one-shot")
  ]
  dense = found["dense"]
  rows: list[list[str]] = []
  for label, runs in found.items():
    if not runs:
      rows.append([label, MISSING, *[""] * 4])
      continue
    distance = ""
    if dense and label != "dense":
      same = {run["seed"] for run in runs}
      beside = [run for run in dense if run["seed"] in same]
      if len(beside) == len(runs):
        difference = mean(runs, "pruned_accuracy") - mean(beside, "pruned_accuracy")
        distance = f"{difference:+.2f}"
    again = [run for run in runs if "reestimated_accuracy" in run]
    rows.append(
      [
        label,
        f"**{mean(runs, 'pruned_accuracy'):.2f}**",
        standard_error(runs, "pruned_accuracy"),
        f"{mean(again, 'reestimated_accuracy'):.2f}" if again else "",
        distance,
        str(len(runs)),
      ]
    )
  headings = ["", "accuracy, %", "standard error", "statistics estimated anew, %"]
  return table([*headings, "against dense", "seeds"], rows)


def _as_pruned(run: dict[str, Any]) -> dict[str, Any]:
  """The global way of a magnitude job, in the words of the others."""
  return {"pruned_accuracy": run["global"]["retrained_accuracy"]}


def trials_table(results: Results) -> str:
  """What was tried on held-out images."""
  rows: list[list[str]] = []
  for name, (label, _) in TRIALS.items():
    run = results.get(f"{name}-0")
    cells = [MISSING, ""]
    if run:
      cells = [f"{run[key]:.2f}" for key in ("gsm_accuracy", "pruned_accuracy")]
    rows.append([label, *cells])
  return table(["", "before pruning, %", "pruned, %"], rows)


STUDY = Study(entries(), tables)
