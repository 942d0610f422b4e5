"""What was tried with the language model, on held-out files; see `language`."""

from typing import Any

from experiments.studies.language_recipes import (
  EPOCHS,
  LATER,
  PRESET,
  UNITS,
  dense,
  gradual,
  gsm,
  sparsify,
  tried,
  tuned,
  tuned_gradual,
  tuned_sparsify,
  units,
)
from experiments.studies.study import Entry
from experiments.train.optimizers import Muon

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

TRIED_TUNED: dict[str, dict[str, Any]] = {
  "try-muon-5x-momentum-0.9": sparsify("muon", optimizer=Muon(momentum=0.9), **LATER),
  "try-muon-5x-momentum-0.8": sparsify("muon", optimizer=Muon(momentum=0.8), **LATER),
  **{
    f"try-muon-5x-linear-{x:g}": {"gsm": tuned_sparsify(x)} for x in (0.05, 0.07, 0.1)
  },
  **{f"try-gradual-5x-linear-{x:g}": {"gsm": tuned_gradual(x)} for x in (0.05, 0.07)},
  "try-gradual-5x-linear-0.05-dense-0.2": {"gsm": tuned_gradual(0.05, 0.2)},
  "try-dense-muon-momentum-0.9": {
    **dense("muon", 0.02),
    "gsm.optimizer": Muon(momentum=0.9),
  },
  **{
    f"try-dense-linear-{x:g}": {"gsm": tuned(x), "density": 1.0}
    for x in (0.03, 0.05, 0.07)
  },
}
"""The same, with another momentum, learning rate, and beginning of the fall."""

TRIED_LONGER: dict[str, dict[str, Any]] = {
  "try-adamw-8-epochs-fall-0.4": sparsify("adamw", select_by="update"),
  "try-adamw-8-epochs-fall-0.6": sparsify("adamw", select_by="update", **LATER),
}
"""In as many epochs as the others, where the trials in half of them could not tell."""

TRIED_UNITS: dict[str, dict[str, Any]] = {
  "try-units-0.05": units(0.05),
  "try-units-few": units(0.05, 0.25),
  "try-units-0.02": units(0.02),
  "try-units-fall-0.6": units(0.02, **LATER),
}
"""Also on held-out windows."""


def trials() -> list[Entry]:
  """All of them."""
  result = [
    Entry(f"{name}-0", PRESET, tried(numbers)) for name, numbers in TRIED.items()
  ]
  for name, numbers in TRIED_AT_5.items():
    numbers = {**numbers, "density": 1 / 5}
    result.append(Entry(f"try-muon-5x-{name}-0", PRESET, tried(numbers)))
  for name, numbers in TRIED_TUNED.items():
    numbers = {"density": 1 / 5, **numbers}
    result.append(Entry(f"{name}-0", PRESET, tried(numbers)))
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
  return result
