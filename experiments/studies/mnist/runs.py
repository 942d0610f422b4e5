"""The runs on MNIST, their labels, and the paper's numbers beside them."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.studies.study import Entry
from experiments.train.pruners import FixedGSM

PRUNED = (
  ("LeNet-300-100", "60×", "lenet300-60x", "98.19 → 98.18"),
  ("", "", "lenet300-fast", ""),
  ("LeNet-300-100", "100×", "lenet300-far", ""),
  ("LeNet-300-100", "150×", "lenet300-150x", ""),
  ("LeNet-300-100", "1×", "lenet300-dense", ""),
  ("LeNet-5", "125×", "lenet5-125x", "99.21 → 99.22"),
  ("", "", "lenet5-125x-fast", ""),
  ("LeNet-5", "300×", "lenet5-300x-fast", "99.21 → 99.06"),
  ("LeNet-5", "500×", "lenet5-far", ""),
)
"""Model, compression, entry, and the paper's accuracies before and after."""

TICKETS = (
  ("LeNet-300-100", "lenet300-fast", "60×", {"gsm": "98.22", "magnitude": "97.39"}),
  ("LeNet-5", "lenet5-125x-fast", "125×", {"gsm": "99.04", "magnitude": "97.60"}),
  ("LeNet-5", "lenet5-300x-fast", "300×", {"gsm": "98.88", "magnitude": "11.35"}),
)
"""Model, entry, compression, and the paper's accuracy by each method."""

COMPRESSIONS = (12, 30, 60, 100)
"""At which GSM and magnitude pruning are compared."""

LAYERS = (
  ("LeNet-300-100, 60×", "lenet300-60x-0", "magnitude-lenet300-60x-0"),
  ("LeNet-5, 125×", "lenet5-125x-fast-0", "magnitude-lenet5-125x-0"),
)
"""What is compared layer by layer: its name, by GSM, and by magnitude."""

MOMENTA = {
  "0.9": "lenet300-momentum-0.9-0",
  "0.95": "lenet300-momentum-0.95-0",
  "0.98": "lenet300-momentum-0.98-0",
  "0.99": "lenet300-60x-0",
}
"""The run with each momentum."""

EACH_EPOCH, FIXED = "lenet300-each-epoch-0", "lenet300-fixed-0"
"""GSM, and the same without second chances, evaluated after each epoch."""


def entries() -> list[Entry]:
  """All runs, in an order in which each follows what it starts from."""
  result: list[Entry] = []

  def add(
    name: str,
    preset: str,
    seed: int,
    numbers: Mapping[str, Any] | None = None,
    **others: Any,
  ) -> None:
    alone = name.startswith("base-") or name.endswith("-random")
    base = None if alone else f"base-{preset.split('-')[0]}-{seed}"
    numbers = {"seed": seed, **(numbers or {})}
    result.append(Entry(f"{name}-{seed}", preset, numbers, base=base, **others))

  def add_tickets(pruned: str, seed: int, methods: Sequence[str]) -> None:
    """Tickets of the size of a pruned network, and of its seed."""
    entry = next(entry for entry in result if entry.name == f"{pruned}-{seed}")
    for method in methods:
      found = {"gsm": entry.name, "magnitude": entry.base, "random": None}[method]
      # Half of GSM's epochs: on held-out images no worse than all 60.
      options = {"method": method, "ticket_epochs": 30}
      name = f"ticket-{pruned}-{method}"
      add(
        *(name, entry.preset, seed, entry.numbers),
        job="tickets",
        options=options,
        found=found,
      )

  only_base = {"gsm.epochs": 0}
  for seed in range(5):
    add("base-lenet300", "lenet300-mnist", seed, only_base)
  for seed in range(5):
    add("lenet300-60x", "lenet300-mnist", seed)
    add("lenet300-fast", "lenet300-fast", seed)
  # What the better training gives without pruning: all weights are active.
  dense = {"density": 1.0, "gsm.optimizer.start_density": None}
  for seed in range(3):
    add("lenet300-dense", "lenet300-fast", seed, dense)
    add("lenet300-far", "lenet300-far", seed)
    add("lenet300-150x", "lenet300-far", seed, {"density": 1 / 150})
    add_tickets("lenet300-fast", seed, ("gsm", "magnitude", "random"))
  for compression in COMPRESSIONS:
    at = {"density": 1 / compression}
    name = f"lenet300-{compression}x"
    add(f"magnitude-{name}", "lenet300-mnist", 0, at, job="magnitude")
    if compression != 60:
      add(name, "lenet300-mnist", 0, at)
  # What makes GSM work.
  for momentum in (0.9, 0.95, 0.98):
    numbers = {"gsm.optimizer.momentum": momentum}
    add(f"lenet300-momentum-{momentum}", "lenet300-mnist", 0, numbers)
  every = {"evaluate_every": 1}
  add("lenet300-each-epoch", "lenet300-mnist", 0, every)
  fixed = {"gsm.optimizer": FixedGSM(after_epochs=1), **every}
  add("lenet300-fixed", "lenet300-mnist", 0, fixed)
  # LeNet-5 takes longer.
  for seed in range(3):
    add("base-lenet5", "lenet5-mnist", seed, only_base)
    for compression in (125, 300):
      name = f"lenet5-{compression}x-fast"
      add(name, "lenet5-fast", seed, {"density": 1 / compression})
      add_tickets(name, seed, ("gsm", "magnitude"))
  add("magnitude-lenet5-125x", "lenet5-fast", 0, only_base, job="magnitude")
  for seed in range(3):
    add("lenet5-far", "lenet5-far", seed)
  add("lenet5-125x", "lenet5-mnist", 0, {"density": 1 / 125})
  return result
