"""Timing several alternatives side by side."""

import ctypes
import math
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import jax

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's mallopt


def keep_freed_memory() -> None:
  """Lets the process keep what it frees for later arrays, where glibc decides that.

  Large arrays would else be given back to the system, and those of the next call come
  from it page by page, each filled with zeros first. That takes as long as a pass over
  them, and from run to run it varies far more.
  """
  if platform.libc_ver()[0] == "glibc":
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, -1)


_DEEPEST = 64
"""Calls of a run that are launched before the first is waited for, at most."""


def side_by_side(
  runs: Mapping[str, Callable[[], Any]],
  seconds: float = 3.0,
  most: int = 200,
  turn: float = 0.0,
) -> dict[str, float]:
  """The median seconds of each run, all of them taking turns.

  On a machine whose speed drifts, alternatives timed one after the other differ by the
  drift. Taking turns, each meets the same conditions. A slow alternative gets fewer
  turns: about `seconds` in all for each, at least three and at most `most` turns.

  Args:
    runs: functions that return what to wait for.
    seconds: to spend on each.
    most: turns of each.
    turn: seconds that a turn lasts at least. A quicker run is called several times
      before any of it is waited for, as a training loop does, so that an accelerator
      computes while its next operations are being launched.
  """
  calls: dict[str, int] = {}
  turns: dict[str, int] = {}
  for name, run in runs.items():
    jax.block_until_ready(run())  # compile, and touch the memory
    once = _seconds(run, 1)
    calls[name] = min(_DEEPEST, max(1, math.ceil(turn / max(once, 1e-9))))
    turns[name] = min(most, max(3, round(seconds / max(once * calls[name], 1e-9))))
  samples: dict[str, list[float]] = {name: [] for name in runs}
  rounds = max(turns.values())
  for number in range(rounds):
    for name, run in runs.items():
      # The turns of the slower ones are spread evenly over all rounds.
      if number * turns[name] // rounds != (number + 1) * turns[name] // rounds:
        samples[name].append(_seconds(run, calls[name]))
  return {name: statistics.median(times) for name, times in samples.items()}


class NoTimeError(Exception):
  """A run that takes too long to be timed; the message says how long."""


def in_time(
  run: Callable[[], Any], seconds: float, deadline: "Deadline", turn: float = 0.0
) -> float:
  """The median seconds of a run by itself, as `side_by_side` has them.

  Raises:
    NoTimeError: if that would end after the deadline, as far as one call tells.
  """
  if deadline.left() <= 0:
    raise NoTimeError("The time was up.")
  jax.block_until_ready(run())
  once = _seconds(run, 1)
  if 5 * once > deadline.left():  # two to begin with and three turns
    raise NoTimeError(f"One run takes {once:.2g} s, and there was no time for five.")
  return side_by_side({"": run}, seconds, turn=turn)[""]


def _seconds(run: Callable[[], Any], calls: int) -> float:
  """Seconds of each of some calls in a row."""
  started = time.perf_counter()
  result = None
  for _ in range(calls):
    result = run()  # what is dropped makes room for what comes next
  jax.block_until_ready(result)
  return (time.perf_counter() - started) / calls


@dataclass(frozen=True)
class Deadline:
  """A time by which something has to be done."""

  at: float

  @classmethod
  def after(cls, seconds: float) -> Self:
    """So many seconds from now."""
    return cls(time.perf_counter() + seconds)

  def left(self) -> float:
    """Seconds until then."""
    return self.at - time.perf_counter()

  def part(self, share: float) -> "Deadline":
    """An earlier one, after this share of what is left."""
    return Deadline.after(share * max(0.0, self.left()))
