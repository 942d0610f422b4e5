"""Whether an accelerator finds, to the last bit, what the CPU and NumPy find.

The same numbers are put on both. `global_threshold` and `prune` get subnormal ones too;
`keep_top_saliency` only those whose products are not, since a CPU flushes such a
product to zero before anything is selected, and a GPU does not.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import gsm_optax
from experiments.benchmarks.exactness_cases import (
  KINDS,
  TREES,
  Case,
  all_cases,
  differing,
  numpy_threshold,
  rank,
)
from experiments.run.timing import Deadline

DENSITIES = (1e-3, 0.1, 0.5, 1.0)
STARTS = {"cold": 0.0, "warm": 1.3, "far off": 1e4}
"""The threshold that the search begins with, as a multiple of what it will find."""

_LISTED = 100
"""Mismatches that are written down one by one."""


@dataclass(frozen=True)
class Compared:
  """The jitted functions, compiled once for each tree and device."""

  threshold: Callable[[Any, Any], Any]
  keep: Callable[[Any, Any, Any, Any], Any]
  prune: Callable[[Any, Any], Any]

  @classmethod
  def jitted(cls) -> "Compared":
    """Those of the library as it is now."""

    def keep(density: Any, gradients: Any, weights: Any, start: Any) -> Any:
      tx = gsm_optax.keep_top_saliency(density)
      state: Any = tx.init(weights)
      return tx.update(gradients, state._replace(threshold=start), weights)

    return cls(
      jax.jit(lambda scores, q: gsm_optax.global_threshold(scores, q)),
      jax.jit(keep),
      jax.jit(lambda density, weights: gsm_optax.prune(weights, density)),
    )


def compile_all(compared: Compared, devices: list[Any]) -> None:
  """Calls every function with every tree on every device, side by side."""

  def calls(tree: str, device: Any) -> list[Callable[[], Any]]:
    case = Case.make(tree, KINDS[0], 0)
    put = jax.device_put((case.scores, case.gradients, case.weights), device)
    scores, gradients, weights = put
    one = jax.device_put(np.float32(1), device)
    return [
      lambda: compared.keep(one, gradients, weights, one),
      lambda: compared.threshold(scores, jax.device_put(np.int32(1), device)),
      lambda: compared.prune(one, weights),
    ]

  with ThreadPoolExecutor(os.cpu_count()) as pool:
    waiting = [
      pool.submit(call)
      for tree in reversed(TREES)
      for device in devices
      for call in calls(tree, device)
    ]
    for future in waiting:
      jax.block_until_ready(future.result())


def results_of(
  compared: Compared,
  case: Case,
  density: float,
  q: int,
  starts: dict[str, np.float32],
  device: Any,
) -> dict[str, list[Any]]:
  """All that one device finds, by what it is called."""
  share, number = jax.device_put((np.float32(density), np.int32(q)), device)
  scores, gradients, weights, places = jax.device_put(
    (case.scores, case.gradients, case.weights, starts), device
  )
  found = {
    "global_threshold": [compared.threshold(scores, number)],
    "prune": compared.prune(share, weights),
  }
  for name, start in places.items():
    updates, state = compared.keep(share, gradients, weights, start)
    found[f"keep_top_saliency, {name}"] = [*updates, state.threshold]
  return found


def check(compared: Compared, case: Case, density: float, devices: Any) -> Any:
  """``(name, how many numbers differ)`` of each comparison of one case."""
  q, starts = rank(density, case.scores), dict[str, np.float32]()
  threshold = np.float32(0)
  if case.multiplies:
    saliencies = case.saliencies()
    threshold = numpy_threshold(saliencies, rank(density, saliencies))
    with np.errstate(over="ignore", invalid="ignore"):
      starts = {
        name: np.nan_to_num(threshold * np.float32(s)) for name, s in STARTS.items()
      }
  accelerator, cpu = (
    results_of(compared, case, density, q, starts, device) for device in devices
  )
  pairs = [
    (f"{name}, as the CPU", found, cpu[name]) for name, found in accelerator.items()
  ]
  found, expected = accelerator["global_threshold"], numpy_threshold(case.scores, q)
  pairs.append(("global_threshold, as NumPy", found, [expected]))
  if starts:
    found = accelerator["keep_top_saliency, cold"]
    pairs.append(("keep_top_saliency's threshold, as NumPy", found[-1:], [threshold]))
  return [(name, differing(found, expected)) for name, found, expected in pairs]


def exactness(
  seeds: int, deadline: Deadline, say: Callable[[str], None]
) -> dict[str, Any]:
  """Compares until the seeds or the time are used up.

  Returns:
    How many comparisons were made of each sort, and the case of each that differs.
  """
  devices = [jax.devices()[0], jax.devices("cpu")[0]]
  compared = Compared.jitted()
  started = time.perf_counter()
  compile_all(compared, devices)
  say(f"exactness: compiled in {time.perf_counter() - started:.1f} s")
  counts: dict[str, int] = {}
  mismatches: list[dict[str, Any]] = []
  skipped = None
  for number, (tree, kind, seed) in enumerate(all_cases(seeds)):
    if deadline.left() <= 0:
      whole = seeds * len(KINDS) * len(TREES)
      skipped = f"The time was up after {number} of {whole} trees of numbers."
      say(f"exactness: {skipped}")
      break
    case = Case.make(tree, kind, seed)
    for density in DENSITIES:
      for name, wrong in check(compared, case, density, devices):
        counts[name] = counts.get(name, 0) + 1
        if wrong:
          place = {"tree": tree, "kind": kind, "seed": seed, "density": density}
          mismatches.append({"comparison": name, **place, "numbers_differing": wrong})
  total = sum(counts.values())
  say(f"exactness: {total:,} comparisons, {len(mismatches):,} of them differ")
  for mismatch in mismatches[:10]:
    say(f"  {mismatch}")
  return {
    "comparisons": total,
    "by_name": counts,
    "mismatches": len(mismatches),
    "mismatching_cases": mismatches[:_LISTED],
    "skipped": skipped,
  }
