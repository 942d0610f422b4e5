"""The runs of the language model: all methods by seed; see `language`."""

from typing import Any

from experiments.studies.language_recipes import (
  INNER,
  LATER,
  PEAKS,
  PRESET,
  UNITS,
  dense,
  gradual,
  gsm,
  lasting,
  one_shot,
  sparsify,
  tuned,
  tuned_gradual,
  tuned_sparsify,
)
from experiments.studies.language_trials import trials
from experiments.studies.study import Entry

COMPRESSIONS = (2, 5, 10, 20)

LONG_EPOCHS = 24
"""What two CPU cores do in half an hour, with some time to spare."""

UNIFORM = {"depth": 4, "width": 128, "heads": 4, "hidden": 190}
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

BASE = {"base": tuned(0.05), "gsm": tuned(0.05)}
"""A dense network, around Muon with less momentum and a linear decay."""

TUNED: dict[str, tuple[str, dict[str, Any]]] = {
  "tuned-sparsify-5x": ("`sparsify`, 5×", {"gsm": tuned_sparsify(0.07)}),
  "tuned-gradual-5x": ("gradual, 5×", {"gsm": tuned_gradual(0.05)}),
}
"""The same recipe, pruned from the first step on."""

CONTINUED: dict[str, tuple[str, dict[str, Any]]] = {
  "after-sparsify-5x": ("`sparsify`, 5×", {"gsm": tuned_sparsify(0.05, dense=0.0)}),
  "after-gradual-5x": ("gradual, 5×", {"gsm": tuned_gradual(0.05)}),
  "after-dense": ("dense", {"gsm": tuned(0.05), "density": 1.0}),
}
"""The dense network, trained on in as many steps again."""


def entries() -> list[Entry]:
  """All runs: trials, dense, and all methods by seed."""
  result = trials()
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
    common, base = {"seed": seed, "density": 1 / 5}, f"base-{seed}"
    result.append(Entry(base, PRESET, {**common, **BASE, "gsm.epochs": 0}))
    for name, (_, numbers) in TUNED.items():
      result.append(Entry(f"{name}-{seed}", PRESET, {**common, **numbers}))
    for name, (_, numbers) in CONTINUED.items():
      numbers = {**common, **BASE, **numbers}
      result.append(Entry(f"{name}-{seed}", PRESET, numbers, base=base))
    for ratio in (10, 5, 20, 2) if seed == 0 else (10, 5):
      common = {"seed": seed, "density": 1 / ratio}
      for name, (_, numbers) in METHODS.items():
        name = f"{name}-{ratio}x-{seed}"
        result.append(Entry(name, PRESET, {**numbers, **common}))
      name = f"one-shot-{ratio}x-{seed}"
      numbers = {**one_shot("adamw"), **common}
      result.append(Entry(name, PRESET, numbers, job="magnitude"))
  return result
