"""Why positions stay."""

from collections.abc import Sequence

import numpy as np

from gsm_optax._shrink._trace import Traced
from gsm_optax._shrink._units import Units
from gsm_optax._shrink._values import Value


def reasons(
  units: Units, traced: Traced, params: Sequence[Value]
) -> dict[tuple[str, int], str]:
  """Why positions of an axis of the params stay in any case, by path and axis."""
  result: dict[tuple[str, int], str] = {}
  for path, value in zip(traced.paths, params, strict=True):
    for number, axis in enumerate(value.axes):
      stays = units.stays(axis.labels)
      if stays.any() and len(axis) > 1:
        reason = units.reason(int(axis.labels[np.flatnonzero(stays)[0]]))
        result[path, number] = reason
  return result
