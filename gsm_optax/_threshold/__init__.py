"""The exact q-th greatest of all scores of a model, without sort or gather.

Start with the README beside this file.
"""

from gsm_optax._threshold._find import find_threshold, global_threshold, reaches
from gsm_optax._threshold._largest import (
  count_nonzero,
  cut_off,
  is_nonzero,
  largest,
  largest_nonzero,
)
from gsm_optax._threshold._quota import check_density
from gsm_optax._threshold._scores import Leaf, signed_pattern, varying_axes

__all__ = [
  "Leaf",
  "check_density",
  "count_nonzero",
  "cut_off",
  "find_threshold",
  "global_threshold",
  "is_nonzero",
  "largest",
  "largest_nonzero",
  "reaches",
  "signed_pattern",
  "varying_axes",
]
