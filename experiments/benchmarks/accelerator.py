"""Checks and times gsm_optax on an accelerator, once and in a few minutes.

    python -m experiments.benchmarks.accelerator

Run it in the root of a checkout, on a machine with one GPU; of packages it takes JAX,
Flax, Optax and NumPy. There are three parts:

- exactness: that the GPU selects, to the last bit, what the CPU and NumPy select;
- update: an update by itself, from a million to a billion weights;
- step: a whole training step of ResNet-50 on random images.

The results are saved whenever a part or a row of one is done, and what does not fit
into ``--seconds`` is left out and said to be. The exit code is 1 if a comparison
differs or a part fails. Two and a half minutes on an H100; with ``--quick`` half a
minute on two CPU cores. The committed results are of this command, and of it with
``--parts update step --out experiments/results/gpu-graphs/gpu.json`` where XLA may put
loops into CUDA graphs: ``XLA_FLAGS=--xla_gpu_enable_command_buffer=+WHILE``.
"""

import math
import os
import sys
import time
import traceback
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.extend.backend import get_backend

from experiments.benchmarks.accelerator_table import gpu_table
from experiments.benchmarks.exactness import exactness
from experiments.benchmarks.trees import shapes_of
from experiments.benchmarks.update import sentence, updates
from experiments.benchmarks.whole_step import NETWORKS, Training, whole_step
from experiments.run.files import write_json
from experiments.run.surroundings import surroundings
from experiments.run.timing import Deadline, keep_freed_memory

PARTS = {"exactness": 0.2, "update": 0.5, "step": 1.0}
"""Each part, and the share that it may have of the time that is left when it begins."""

QUICK = {
  "sizes": ["lenet300"],
  "seeds": 1,
  "model": "resnet20",
  "image_size": 32,
  "batch_size": 4,
  "turn_seconds": 0.05,
}
"""What ``--quick`` has in place of the defaults."""


def parse(arguments: Sequence[str] | None) -> Namespace:
  """The flags, or a sentence on what is wrong with one."""
  parser = ArgumentParser(
    prog="python -m experiments.benchmarks.accelerator",
    description=__doc__,
    formatter_class=RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add("--quick", action="store_true", help="small sizes, to try it on a CPU")
  add("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which to run")
  add("--seconds", type=float, default=240.0, help="for all of it (240)")
  add(
    "--sizes",
    nargs="+",
    default=["resnet50", "resnet56", "1e9", "1e6", "1e8", "1e7"],
    help="of the updates, the most important first: models or numbers of weights",
  )
  add("--seeds", type=int, default=8, help="of the comparisons (8)")
  add("--density", type=float, default=0.1, help="share of the weights to keep (0.1)")
  add("--model", choices=NETWORKS, default="resnet50", help="to train (resnet50)")
  add("--batch-size", type=int, default=128, help="of its step (128)")
  add("--image-size", type=int, default=224, help="in pixels (224)")
  add("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
  add("--turn-seconds", type=float, default=0.3, help="to time each alternative (0.3)")
  add("--commit", help="of a checkout that is not a git repository")
  add("--out", type=Path, default=Path("experiments/results/gpu/gpu.json"))
  if parser.parse_known_args(arguments)[0].quick:
    parser.set_defaults(**QUICK)
  options = parser.parse_args(arguments)
  if message := nonsense(options):
    parser.error(message)
  return options


def nonsense(options: Namespace) -> str | None:
  """What cannot be measured, in a sentence."""
  if not 0 <= options.seconds < math.inf:
    return f"--seconds must be 0 or more and finite, not {options.seconds}."
  if not 0 < options.turn_seconds < math.inf:
    return f"--turn-seconds must be above 0 and finite, not {options.turn_seconds}."
  if not 0 < options.density <= 1:
    return f"--density must be above 0 and at most 1, not {options.density}."
  for name in ("seeds", "batch_size", "image_size"):
    if getattr(options, name) < 1:
      return f"--{name.replace('_', '-')} must be at least 1."
  for size in options.sizes:
    try:
      shapes_of(size)
    except (ValueError, OverflowError):
      return f"there is no size {size!r}: a model, or a number of weights such as 1e6."
  return None


def run(options: Namespace, say: Callable[[str], None]) -> dict[str, Any]:
  """All parts; the results are written as they come."""
  started = time.perf_counter()
  deadline = Deadline.after(options.seconds)
  config: Any = jax.config
  platforms = config.jax_platforms
  if platforms and "cpu" not in platforms.split(","):
    config.update("jax_platforms", f"{platforms},cpu")  # to compare with
  if jax.default_backend() == "cpu":
    keep_freed_memory()
  results: dict[str, Any] = {
    **surroundings(),
    "runtime": get_backend().platform_version,
    "xla_flags": os.environ.get("XLA_FLAGS", ""),
    "config": {k: v for k, v in vars(options).items() if k not in ("out", "commit")},
  }
  results["git_commit"] = options.commit or results["git_commit"]
  say(f"on {results['device']['kind']}, JAX {results['versions']['jax']}")
  options.out.parent.mkdir(parents=True, exist_ok=True)

  def save(name: str, part: dict[str, Any]) -> None:
    results[name] = part
    results["wall_seconds"] = time.perf_counter() - started
    write_json(options.out, results)

  def compare(until: Deadline) -> dict[str, Any]:
    return exactness(options.seeds, until, say)

  def update(until: Deadline) -> dict[str, Any]:
    return updates(
      options.sizes,
      options.density,
      options.turn_seconds,
      until,
      lambda rows: save("update", rows),
      say,
    )

  def step(until: Deadline) -> dict[str, Any]:
    dtype = "float32" if options.model == "lenet300" else options.dtype
    return whole_step(
      Training(options.model, options.image_size, options.batch_size, dtype),
      options.density,
      options.turn_seconds,
      until,
      lambda times: save("step", times),
      say,
    )

  for name, part in {"exactness": compare, "update": update, "step": step}.items():
    if name not in options.parts:
      continue
    if deadline.left() <= 0:
      save(name, {"skipped": "The time was up."})
      say(f"{name}: skipped, the time was up")
      continue
    try:
      save(name, part(deadline.part(PARTS[name])))
    except Exception as error:  # the other parts are worth having nevertheless
      traceback.print_exc()
      save(name, {"failed": sentence(error)})
  return results


def main(arguments: Sequence[str] | None = None) -> int:
  """The command line; returns the exit code."""
  options = parse(arguments)
  results = run(options, lambda text: print(text, flush=True))
  print(f"\n{gpu_table(results)}\n")
  parts = [results[name] for name in options.parts]
  print(f"{results['wall_seconds']:.0f} s, written to {options.out}")
  wrong = any(part.get("failed") or part.get("mismatches") for part in parts)
  return 1 if wrong else 0


if __name__ == "__main__":
  sys.exit(main())
