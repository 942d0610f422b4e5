"""Timing several alternatives side by side."""

import ctypes
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

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


def side_by_side(
  runs: Mapping[str, Callable[[], Any]], seconds: float = 3.0, most: int = 200
) -> dict[str, float]:
  """The median seconds of each run, all of them taking turns.

  On a machine whose speed drifts, alternatives timed one after the other differ by the
  drift. Taking turns, each meets the same conditions. A slow alternative gets fewer
  turns: about `seconds` in all for each, at least three and at most `most` turns.

  Args:
    runs: functions that return what to wait for.
    seconds: to spend on each.
    most: turns of each.
  """
  turns: dict[str, int] = {}
  for name, run in runs.items():
    jax.block_until_ready(run())  # compile, and touch the memory
    started = time.perf_counter()
    jax.block_until_ready(run())
    once = time.perf_counter() - started
    turns[name] = min(most, max(3, round(seconds / max(once, 1e-9))))
  samples: dict[str, list[float]] = {name: [] for name in runs}
  rounds = max(turns.values())
  for number in range(rounds):
    for name, run in runs.items():
      # The turns of the slower ones are spread evenly over all rounds.
      if number * turns[name] // rounds != (number + 1) * turns[name] // rounds:
        started = time.perf_counter()
        jax.block_until_ready(run())
        samples[name].append(time.perf_counter() - started)
  return {name: statistics.median(times) for name, times in samples.items()}
