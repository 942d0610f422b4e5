"""All primitives that are known, with their rules."""

from gsm_optax._shrink._calls import RULES as CALLS
from gsm_optax._shrink._contractions import RULES as CONTRACTIONS
from gsm_optax._shrink._convolutions import RULES as CONVOLUTIONS
from gsm_optax._shrink._derivatives import RULES as DERIVATIVES
from gsm_optax._shrink._elementwise import RULES as ELEMENTWISE
from gsm_optax._shrink._indices import RULES as INDICES
from gsm_optax._shrink._pieces import RULES as PIECES
from gsm_optax._shrink._shapes import RULES as SHAPES
from gsm_optax._shrink._unknown import RULES as UNKNOWN
from gsm_optax._shrink._windows import RULES as WINDOWS

RULES = {
  **ELEMENTWISE,
  **SHAPES,
  **PIECES,
  **CONTRACTIONS,
  **CONVOLUTIONS,
  **WINDOWS,
  **INDICES,
  **CALLS,
  **DERIVATIVES,
  **UNKNOWN,
}
"""By the name of a primitive. The one of no name is for all others."""
