"""The runs of the language model: recipes, trials and seeds; see `language`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from experiments.configs import recipes
from experiments.configs.recipe import changed, stretched
from experiments.studies.study import Entry
from experiments.train.optimizers import SGD, AdamW, Muon, Optimizer
from experiments.train.pruners import GSM, Gradual, Sparsify, SparsifyByPower
from experiments.train.schedules import Cosine

PRESET, UNITS = "lm-python", "lm-python-units"
EPOCHS = recipes()[PRESET].gsm.epochs
COMPRESSIONS = (2, 5, 10, 20)

INNER: dict[str, Optimizer] = {
  "sgd": SGD(0.95),
  "adamw": AdamW(),
  "muon": Muon(),
}
"""What trains: also under gradual magnitude pruning, and without pruning."""

PEAKS = {"sgd": 0.3, "adamw": 6e-3, "muon": 0.05}
"""Learning rates of the trials."""

FALL = 0.4
"""Share of the epochs over which the density falls in the trials of GSM and
`sparsify`."""

LATER: dict[str, Any] = {"density_epochs": 0.6 * EPOCHS, "prune_from": 0.8}
"""What was found better than that."""

TRIED_EPOCHS = 4
"""Of the trials."""

LONG_EPOCHS = 24
"""What two CPU cores do in half an hour, with some time to spare."""


def lasting(
  epochs: int, numbers: Mapping[str, Any], preset: str = PRESET
) -> dict[str, Any]:
  """The same in another number of epochs."""
  recipe = stretched(changed(recipes()[preset], numbers), epochs)
  return {**numbers, "gsm": recipe.gsm}


def tried(numbers: Mapping[str, Any], preset: str = PRESET) -> dict[str, Any]:
  """The same on held-out files, in fewer epochs."""
  return {"data.held_out": 1024, **lasting(TRIED_EPOCHS, numbers, preset)}


def dense(inner: str, peak: float) -> dict[str, Any]:
  """Without pruning."""
  return {"density": 1.0, "gsm.optimizer": INNER[inner], "gsm.schedule.peak": peak}


def gradual(inner: str, peak: float, fall: float = 0.6) -> dict[str, Any]:
  """Gradual magnitude pruning, whose density falls over a share of the epochs."""
  optimizer = Gradual(INNER[inner], fall * EPOCHS)
  return {"gsm.optimizer": optimizer, "gsm.schedule.peak": peak}


def gsm(peak: float, **numbers: Any) -> dict[str, Any]:
  """GSM, changed in some numbers."""
  optimizer = GSM(
    momentum=0.95,
    weight_decay=0.0,
    passive_weight_decay=1e-2,
    start_density=1.0,
    density_epochs=FALL * EPOCHS,
    prune_from=0.7,
  )
  return {"gsm.optimizer": replace(optimizer, **numbers), "gsm.schedule.peak": peak}


SHRINKAGE = 0.03
"""What a passive weight loses in a step under `sparsify`, at the greatest rate."""


def sparsify(inner: str, peak: float | None = None, **numbers: Any) -> dict[str, Any]:
  """`sparsify` around one of the optimizers, with the same decay at any rate."""
  peak = PEAKS[inner] if peak is None else peak
  optimizer = (SparsifyByPower if "power" in numbers else Sparsify)(
    *(INNER[inner], SHRINKAGE / peak),
    start_density=1.0,
    density_epochs=FALL * EPOCHS,
    prune_from=0.7,
  )
  optimizer = replace(optimizer, **numbers)
  return {"gsm.optimizer": optimizer, "gsm.schedule.peak": peak}


def one_shot(inner: str) -> dict[str, Any]:
  """Half of the steps dense, the cut, and the other half with what is left."""
  phase = replace(
    recipes()[PRESET].gsm,
    epochs=EPOCHS // 2,
    optimizer=INNER[inner],
    schedule=Cosine(PEAKS[inner], warmup_epochs=0.5),
  )
  return {"base": phase, "gsm": phase}


MODES: dict[str, dict[str, Any]] = {
  "gradient": {},
  "masked": {"mask_gradient": True},
  "update": {"select_by": "update"},
}
"""By what `sparsify` selects, and what the optimizer within sees."""

TRIED: dict[str, dict[str, Any]] = {
  **{f"try-gradual-adamw-{x:g}": gradual("adamw", x) for x in (3e-3, 6e-3, 1.2e-2)},
  **{f"try-gradual-sgd-{x:g}": gradual("sgd", x) for x in (0.1, 0.3, 0.6)},
  **{f"try-gradual-muon-{x:g}": gradual("muon", x) for x in (0.02, 0.05, 0.1)},
  "try-gradual-adamw-0.024": gradual("adamw", 2.4e-2),
  "try-gradual-muon-fall-0.4": gradual("muon", 0.05, fall=0.4),
  "try-gradual-muon-fall-0.8": gradual("muon", 0.05, fall=0.8),
  "try-gsm": gsm(0.3),
  "try-gsm-0.1": gsm(0.1),
  "try-gsm-0.1-fall-0.6": gsm(0.1, **LATER),
  "try-gsm-end": gsm(0.3, prune_from=None),
  "try-gsm-smoothing": gsm(0.3, smoothing=0.9),
  **{f"try-adamw-{x:g}": sparsify("adamw", x) for x in (3e-3, 1.2e-2)},
  **{
    f"try-adamw-update-{x:g}": sparsify("adamw", x, select_by="update")
    for x in (1.2e-2, 2.4e-2)
  },
  "try-adamw-gradient-constant": sparsify("adamw", start_density=None),
  "try-adamw-update-constant": sparsify(
    "adamw", start_density=None, select_by="update"
  ),
  **{f"try-muon-{x:g}": sparsify("muon", x) for x in (0.02, 0.1)},
  "try-muon-smoothing": sparsify("muon", smoothing=0.9),
  "try-muon-power-0.5": sparsify("muon", power=0.5),
  "try-muon-power-0": sparsify("muon", power=0.0),
  "try-adamw-power-0.5": sparsify("adamw", power=0.5),
  "try-muon-from-0.55": sparsify("muon", prune_from=0.55),
  "try-muon-from-0.85": sparsify("muon", prune_from=0.85),
  "try-muon-fall-0.6": sparsify("muon", **LATER),
  "try-adamw-update-fall-0.6": sparsify("adamw", select_by="update", **LATER),
  "try-muon-shrinkage-0.015": sparsify("muon", passive_weight_decay=0.3),
  "try-muon-0.02-shrinkage-0.01": sparsify("muon", 0.02, passive_weight_decay=0.5),
  **{f"try-dense-adamw-{x:g}": dense("adamw", x) for x in (3e-3, 6e-3)},
  **{f"try-dense-sgd-{x:g}": dense("sgd", x) for x in (0.1, 0.3)},
  **{f"try-dense-muon-{x:g}": dense("muon", x) for x in (0.02, 0.05)},
}
"""On 1,024 held-out windows; at 10× if pruned. The third rate of `sparsify` is that of
the trials of its ways."""

TRIED_AT_5: dict[str, dict[str, Any]] = {
  "fall-0.6": sparsify("muon", **LATER),
  "fall-0.8": sparsify("muon", density_epochs=0.8 * EPOCHS, prune_from=0.9),
  "decay-0.03": sparsify("muon", optimizer=Muon(weight_decay=0.03)),
  "decay-0.3": sparsify("muon", optimizer=Muon(weight_decay=0.3)),
  "fall-0.6-0.035": sparsify("muon", 0.035, **LATER),
  "fall-0.6-0.07": sparsify("muon", 0.07, **LATER),
  "fall-0.6-adam": sparsify("muon", optimizer=Muon(adam_share=0.04), **LATER),
}
"""The same at 5×, `sparsify` around Muon alone: how near it comes to the dense one."""

TRIED_LONGER: dict[str, dict[str, Any]] = {
  "try-adamw-8-epochs-fall-0.4": sparsify("adamw", select_by="update"),
  "try-adamw-8-epochs-fall-0.6": sparsify("adamw", select_by="update", **LATER),
}
"""In as many epochs as the others, where the trials in half of them could not tell."""


def units(peak: float, density: float = 0.5, **numbers: Any) -> dict[str, Any]:
  """Heads and hidden units, by Muon at a learning rate."""
  numbers = {"density_epochs": FALL * EPOCHS, "prune_from": 0.7, **numbers}
  return {
    **{f"gsm.optimizer.{name}": number for name, number in numbers.items()},
    "density": density,
    "gsm.optimizer.passive_weight_decay": SHRINKAGE / peak,
    "gsm.schedule.peak": peak,
  }


TRIED_UNITS: dict[str, dict[str, Any]] = {
  "try-units-0.05": units(0.05),
  "try-units-few": units(0.05, 0.25),
  "try-units-0.02": units(0.02),
  "try-units-fall-0.6": units(0.02, **LATER),
}
"""Also on held-out windows."""

UNIFORM = {"depth": 4, "width": 128, "heads": 4, "hidden": 176}
"""A network with as many multiply-adds as half of the units have."""

DENSE = {"sgd": 0.1, "adamw": 6e-3, "muon": 0.02}
"""The best learning rates without pruning."""

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
  "gsm": ("GSM (SGD)", gsm(0.1, **LATER)),
  "sparsify-adamw": ("`sparsify`, AdamW", {}),
  "sparsify-muon": ("`sparsify`, Muon", sparsify("muon", **LATER)),
  "gradual-sgd": ("gradual, SGD", gradual("sgd", 0.3)),
  "gradual-adamw": ("gradual, AdamW", gradual("adamw", 1.2e-2)),
  "gradual-muon": ("gradual, Muon", gradual("muon", 0.05)),
}
"""In words, and in numbers: each at the best of its learning rates."""

LONG: dict[str, tuple[str, dict[str, Any]]] = {
  "long-dense-muon": ("dense", dense("muon", DENSE["muon"])),
  "long-sparsify-muon-5x": ("`sparsify`, 5×", sparsify("muon", **LATER)),
  "long-gradual-muon-5x": ("gradual, 5×", gradual("muon", PEAKS["muon"])),
}
"""Around Muon, three times as long: how near 5× comes to the dense one."""


def entries() -> list[Entry]:
  """All runs: trials, the ways of `sparsify`, dense, and all methods by seed."""
  result = [
    Entry(f"{name}-0", PRESET, tried(numbers)) for name, numbers in TRIED.items()
  ]
  for name, numbers in TRIED_AT_5.items():
    numbers = {**numbers, "density": 1 / 5}
    result.append(Entry(f"try-muon-5x-{name}-0", PRESET, tried(numbers)))
  for name, numbers in TRIED_LONGER.items():
    numbers = {"data.held_out": 1024, **numbers}
    result.append(Entry(f"{name}-0", PRESET, numbers))
  for name, numbers in TRIED_UNITS.items():
    result.append(Entry(f"{name}-0", UNITS, tried(numbers, UNITS)))
  for seed in range(2):
    for ratio in (10, 5):
      for inner in ("adamw", "muon"):
        for mode, numbers in MODES.items():
          name = f"try-{inner}-{mode}-{ratio}x-{seed}"
          numbers = {**sparsify(inner, **numbers), "density": 1 / ratio, "seed": seed}
          result.append(Entry(name, PRESET, tried(numbers)))
  for seed in range(3):
    for inner in INNER:
      numbers = {"seed": seed, **dense(inner, DENSE[inner])}
      result.append(Entry(f"dense-{inner}-{seed}", PRESET, numbers))
    result.append(Entry(f"units-{seed}", UNITS, {"seed": seed}))
    uniform = {**dense("muon", DENSE["muon"]), "model.options": UNIFORM}
    result.append(Entry(f"uniform-{seed}", PRESET, {"seed": seed, **uniform}))
    for name, (_, numbers) in LONG.items():
      numbers = {"density": 1 / 5, **numbers, "seed": seed}
      numbers = lasting(LONG_EPOCHS, numbers)
      result.append(Entry(f"{name}-{seed}", PRESET, numbers))
    for ratio in (10, 5, 20, 2) if seed == 0 else (10, 5):
      common = {"seed": seed, "density": 1 / ratio}
      for name, (_, numbers) in METHODS.items():
        name = f"{name}-{ratio}x-{seed}"
        result.append(Entry(name, PRESET, {**numbers, **common}))
      name = f"one-shot-{ratio}x-{seed}"
      numbers = {**one_shot("adamw"), **common}
      result.append(Entry(name, PRESET, numbers, job="magnitude"))
  return result
