"""Whether weights that are passive throughout will vanish."""

VANISHED = 1e-3
"""Share of itself below which a passive weight may be called vanished."""


def vanishing_warning(left: float) -> str | None:
  """A warning in words, if a passive weight keeps the share `left` of its size."""
  if left <= VANISHED:
    return None
  return (
    "These weights will not vanish: over the whole run, schedule, decay and momentum"
    f" leave {left:.2g} of a passive weight, and pruning it will hurt. Train longer, or"
    " raise the learning rate, the momentum or the weight decay, until less than"
    f" {VANISHED:g} is left."
  )
