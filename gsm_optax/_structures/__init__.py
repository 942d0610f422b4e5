"""Structures: what is kept together, and what competes with what."""

from gsm_optax._structures._blocks import blocks
from gsm_optax._structures._channels import channels
from gsm_optax._structures._choice import (
  Leaves,
  count_units,
  largest_of,
  left_of,
  nonzero_of,
  nonzero_units,
  top_of,
)
from gsm_optax._structures._n_of_m import n_of_m
from gsm_optax._structures._structure import (
  Structure,
  check_choice,
  check_structure,
  with_structure,
)

__all__ = [
  "Leaves",
  "Structure",
  "blocks",
  "channels",
  "check_choice",
  "check_structure",
  "count_units",
  "largest_of",
  "left_of",
  "n_of_m",
  "nonzero_of",
  "nonzero_units",
  "top_of",
  "with_structure",
]
