"""What GSM is compared with, as changes of a recipe that trains by GSM.

All have the same learning rate / (1 − momentum) as GSM at 0.05 and 0.95.
"""

from typing import Any

from experiments.train.optimizers import SGD
from experiments.train.pruners import GradualMagnitude

DENSE: dict[str, Any] = {
  "density": 1.0,
  "gsm.optimizer": SGD(weight_decay=5e-4),
  "gsm.schedule.peak": 0.1,
}
"""The same training without pruning."""


def gradual(density_epochs: float) -> dict[str, Any]:
  """Gradual magnitude pruning, whose density falls over so many epochs."""
  optimizer = GradualMagnitude(density_epochs, weight_decay=5e-4)
  return {"gsm.optimizer": optimizer, "gsm.schedule.peak": 0.1}
