"""What the runs of the language model change in its recipe; see `language`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from experiments.configs import recipes
from experiments.configs.recipe import Phase, changed, stretched
from experiments.train.optimizers import SGD, AdamW, Muon, Optimizer
from experiments.train.pruners import GSM, Gradual, Sparsify, SparsifyByPower
from experiments.train.schedules import Cosine, Linear

PRESET, UNITS = "lm-python", "lm-python-units"
EPOCHS = recipes()[PRESET].gsm.epochs

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
"""What was found better than that under Muon and SGD."""

TRIED_EPOCHS = 4
"""Of the trials."""


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


TUNED = Muon(momentum=0.9)
"""Less momentum, for runs whose learning rate decays linearly."""


def tuned(peak: float, optimizer: Optimizer = TUNED) -> Phase:
  """Training with it, or with a pruner around it, and a linear decay."""
  return Phase(EPOCHS, optimizer, Linear(peak, warmup_epochs=0.5))


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


def tuned_sparsify(peak: float, dense: float = 0.2) -> Phase:
  """`sparsify` around it, whose density stays at 1 for a share of the epochs."""
  optimizer = Sparsify(
    *(TUNED, SHRINKAGE / peak),
    start_density=1.0,
    density_epochs=0.5 * EPOCHS,
    prune_from=0.8,
    dense_epochs=dense * EPOCHS,
  )
  return tuned(peak, optimizer)


def tuned_gradual(peak: float, dense: float = 0.0) -> Phase:
  """Gradual magnitude pruning under it, likewise."""
  return tuned(peak, Gradual(TUNED, 0.6 * EPOCHS, dense_epochs=dense * EPOCHS))


def one_shot(inner: str) -> dict[str, Any]:
  """Half of the steps dense, the cut, and the other half with what is left."""
  phase = replace(
    recipes()[PRESET].gsm,
    epochs=EPOCHS // 2,
    optimizer=INNER[inner],
    schedule=Cosine(PEAKS[inner], warmup_epochs=0.5),
  )
  return {"base": phase, "gsm": phase}


def units(peak: float, density: float = 0.5, **numbers: Any) -> dict[str, Any]:
  """Heads and hidden units, by Muon at a learning rate."""
  numbers = {"density_epochs": FALL * EPOCHS, "prune_from": 0.7, **numbers}
  return {
    **{f"gsm.optimizer.{name}": number for name, number in numbers.items()},
    "density": density,
    "gsm.optimizer.passive_weight_decay": SHRINKAGE / peak,
    "gsm.schedule.peak": peak,
  }
