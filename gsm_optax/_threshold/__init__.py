"""The exact q-th greatest of all scores of a model, without sort or gather.

Start with the README beside this file.
"""

from gsm_optax._threshold._find import find_threshold, global_threshold, reaches
from gsm_optax._threshold._largest import (
  count_nonzero,
  is_nonzero,
  largest,
  largest_nonzero,
  magnitude_gap,
)
from gsm_optax._threshold._quota import check_density

__all__ = [
  "check_density",
  "count_nonzero",
  "find_threshold",
  "global_threshold",
  "is_nonzero",
  "largest",
  "largest_nonzero",
  "magnitude_gap",
  "reaches",
]
