"""A language model of Python's sources: pruned by GSM and by its opponents.

All from the first step on, 2,000 steps of the same windows, a cosine after a warm-up.
Dense is the same training without pruning; one shot has one cosine of half as many
steps before the cut, and one after it. The trials are on held-out files, seed 0.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments.configs import recipes
from experiments.markdown import MISSING, table
from experiments.studies.results import Results, of_all_seeds, read
from experiments.studies.study import Entry, Study
from experiments.train.optimizers import SGD, AdamW, Muon, Optimizer
from experiments.train.pruners import GSM, Gradual, Sparsify
from experiments.train.schedules import Cosine

PRESET = "lm-python"
COMPRESSIONS = (2, 5, 10, 20)

INNER: dict[str, Optimizer] = {
  "sgd": SGD(0.95),
  "adamw": AdamW(),
  "muon": Muon(),
}
"""What trains: also under gradual magnitude pruning, and without pruning."""

PEAKS = {"sgd": 0.3, "adamw": 3e-3, "muon": 0.02}
"""Their learning rates."""

FALL = 0.4
"""Share of the epochs over which the density falls under GSM and `sparsify`."""


def dense(inner: str, peak: float) -> dict[str, Any]:
  """Without pruning."""
  return {"density": 1.0, "gsm.optimizer": INNER[inner], "gsm.schedule.peak": peak}


def gradual(inner: str, peak: float, fall: float = 0.6) -> dict[str, Any]:
  """Gradual magnitude pruning, whose density falls over a share of the epochs."""
  epochs = recipes()[PRESET].gsm.epochs
  optimizer = Gradual(INNER[inner], fall * epochs)
  return {"gsm.optimizer": optimizer, "gsm.schedule.peak": peak}


def gsm(**numbers: Any) -> dict[str, Any]:
  """GSM, changed in some numbers."""
  optimizer = recipes()[PRESET].gsm.optimizer
  assert isinstance(optimizer, GSM)
  return {"gsm.optimizer": replace(optimizer, **numbers)}


DECAYS = {"adamw": 10.0, "muon": 1.5}
"""Of passive weights under `sparsify`: times the learning rate 0.03 of it a step."""


def sparsify(inner: str, **numbers: Any) -> dict[str, Any]:
  """`sparsify` around one of the optimizers."""
  epochs = recipes()[PRESET].gsm.epochs
  optimizer = Sparsify(
    *(INNER[inner], DECAYS[inner]),
    start_density=1.0,
    density_epochs=FALL * epochs,
    prune_from=0.7,
  )
  optimizer = replace(optimizer, **numbers)
  return {"gsm.optimizer": optimizer, "gsm.schedule.peak": PEAKS[inner]}


def one_shot(inner: str) -> dict[str, Any]:
  """Half of the steps dense, the cut, and the other half with what is left."""
  epochs = recipes()[PRESET].gsm.epochs // 2
  phase = replace(
    recipes()[PRESET].gsm,
    epochs=epochs,
    optimizer=INNER[inner],
    schedule=Cosine(PEAKS[inner], warmup_epochs=0.5),
  )
  return {"base": phase, "gsm": phase}


MODES = {
  "gradient": {},
  "masked": {"mask_gradient": True},
  "update": {"select_by": "update"},
}
"""By what `sparsify` selects, and what the optimizer within sees."""

TRIED: dict[str, dict[str, Any]] = {
  **{f"try-dense-adamw-{x:g}": dense("adamw", x) for x in (3e-3, 6e-3)},
  **{f"try-dense-sgd-{x:g}": dense("sgd", x) for x in (0.1, 0.3, 0.6)},
  **{f"try-dense-muon-{x:g}": dense("muon", x) for x in (0.01, 0.02, 0.05)},
  "try-gsm": gsm(),
  "try-gsm-0.1": {**gsm(), "gsm.schedule.peak": 0.1},
  "try-gsm-end": gsm(prune_from=None),
  "try-gsm-from-0.5": gsm(prune_from=0.5, passive_weight_decay=2e-2),
  **{f"try-gradual-adamw-{x:g}": gradual("adamw", x) for x in (1.5e-3, 3e-3, 6e-3)},
  **{f"try-gradual-sgd-{x:g}": gradual("sgd", x) for x in (0.1, 0.3, 0.6)},
  **{f"try-gradual-muon-{x:g}": gradual("muon", x) for x in (0.01, 0.02, 0.05)},
}
"""On 1,024 held-out windows, at 10×."""

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
  "gsm": ("GSM (SGD)", gsm()),
  "sparsify-adamw": ("`sparsify`, AdamW", sparsify("adamw")),
  "sparsify-muon": ("`sparsify`, Muon", sparsify("muon")),
  **{f"gradual-{x}": (f"gradual, {x}", gradual(x, PEAKS[x])) for x in INNER},
}
"""In words, and in numbers."""


def entries() -> list[Entry]:
  """All runs: trials, the ways of `sparsify`, dense, and all methods by seed."""
  held_out = {"data.held_out": 1024, "density": 0.1}
  result = [
    Entry(f"{name}-0", PRESET, {**held_out, **numbers})
    for name, numbers in TRIED.items()
  ]
  for seed in range(2):
    for ratio in (10, 5):
      for inner in DECAYS:
        for mode, numbers in MODES.items():
          numbers = {
            **held_out,
            **sparsify(inner, **numbers),
            "density": 1 / ratio,
            "seed": seed,
          }
          name = f"try-{inner}-{mode}-{ratio}x-{seed}"
          result.append(Entry(name, PRESET, numbers))
  for seed in range(3):
    for inner in INNER:
      numbers = {"seed": seed, **dense(inner, PEAKS[inner])}
      result.append(Entry(f"dense-{inner}-{seed}", PRESET, numbers))
    for ratio in (10, 5, 20, 2):
      common = {"seed": seed, "density": 1 / ratio}
      for name, (_, numbers) in METHODS.items():
        name = f"{name}-{ratio}x-{seed}"
        result.append(Entry(name, PRESET, {**numbers, **common}))
      name = f"one-shot-{ratio}x-{seed}"
      numbers = {**one_shot("adamw"), **common}
      result.append(Entry(name, PRESET, numbers, job="magnitude"))
  return result


def loss(run: Mapping[str, Any]) -> float:
  """Of the test files, pruned, in nats per byte."""
  if "global" in run:
    return run["global"]["retrained_test_loss"]
  return run["pruned_test_loss"]


def mean_and_error(runs: list[dict[str, Any]]) -> tuple[float, float]:
  """The mean loss over the seeds, and its standard error."""
  losses = [loss(run) for run in runs]
  mean = sum(losses) / len(losses)
  if len(losses) < 2:
    return mean, math.nan
  variance = sum((x - mean) ** 2 for x in losses) / (len(losses) - 1)
  return mean, math.sqrt(variance / len(losses))


def tables(folder: Path) -> dict[str, str]:
  """All tables by their names in the pages."""
  results = read(folder)
  return {
    "language": methods_table(results),
    "language-modes": modes_table(results),
    "language-trials": trials_table(results),
  }


def _cell(runs: list[dict[str, Any]]) -> str:
  if not runs:
    return MISSING
  mean, error = mean_and_error(runs)
  return f"{mean:.3f}" + (f" ± {error:.3f}" if len(runs) > 1 else "")


def methods_table(results: Results) -> str:
  """Losses against compression, with standard errors over the seeds."""
  rows: list[list[str]] = []
  for inner in INNER:
    runs = of_all_seeds(results, f"dense-{inner}")
    rows.append([f"dense, {inner}", _cell(runs), *[""] * len(COMPRESSIONS)])
  labels = {name: label for name, (label, _) in METHODS.items()}
  for name, label in (labels | {"one-shot": "one shot, retrained, adamw"}).items():
    cells = [_cell(of_all_seeds(results, f"{name}-{ratio}x")) for ratio in COMPRESSIONS]
    rows.append([label, "", *cells])
  return table(["", "1×", *(f"{ratio}×" for ratio in COMPRESSIONS)], rows)


def modes_table(results: Results) -> str:
  """By what `sparsify` may select: losses on held-out files."""
  labels = {
    "gradient": "by the gradient; the optimizer sees all of it",
    "masked": "by the gradient; the optimizer sees that of active weights",
    "update": "by the optimizer's update",
  }
  columns = [(inner, ratio) for inner in DECAYS for ratio in (5, 10)]
  rows: list[list[str]] = []
  for mode, label in labels.items():
    cells = [
      _cell(of_all_seeds(results, f"try-{inner}-{mode}-{ratio}x"))
      for inner, ratio in columns
    ]
    rows.append([label, *cells])
  return table(["", *(f"{inner}, {ratio}×" for inner, ratio in columns)], rows)


def trials_table(results: Results) -> str:
  """What was tried at 10× on held-out files."""
  rows = [
    [f"`{name}`", f"{loss(run):.3f}" if run else MISSING]
    for name in TRIED
    for run in [results.get(f"{name}-0")]
  ]
  return table(["", "loss on held-out files"], rows)


def against_compression(folder: Path) -> Figure:
  """Loss against compression, with standard errors."""
  figure = Figure(figsize=(7, 4.8), layout="constrained")
  axes = figure.subplots()
  results = read(folder)
  colours = ("crimson", "darkorange", "gold", "navy", "steelblue", "skyblue")
  for (name, (label, _)), colour in zip(METHODS.items(), colours, strict=True):
    found = {
      ratio: mean_and_error(runs)
      for ratio in COMPRESSIONS
      if (runs := of_all_seeds(results, f"{name}-{ratio}x"))
    }
    means = [mean for mean, _ in found.values()]
    errors = [0.0 if math.isnan(error) else error for _, error in found.values()]
    label = label.replace("`", "")
    axes.errorbar(
      *(list(found), means, errors), marker="o", capsize=3, color=colour, label=label
    )
  axes.set_xscale("log")
  axes.set_xticks(COMPRESSIONS, [f"{ratio}×" for ratio in COMPRESSIONS])
  axes.minorticks_off()
  axes.set_xlabel("compression")
  axes.set_ylabel("test loss, nats per byte")
  axes.legend()
  return figure


STUDY = Study(entries(), tables, {"language": against_compression})
