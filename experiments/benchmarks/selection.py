"""What selecting the top saliencies costs, in passes over the gradients and weights.

    python -m experiments.benchmarks.selection

Compares `keep_top_saliency` with the ways in which everyone else finds the threshold,
on the CPU or on whatever JAX runs on. A "pass" is the jitted
``where(|g * w| >= t, g, 0)`` over the same tree with a known threshold, timed in the
same run: what no method can do without. Memory that is freed is kept for the next call,
so that no method's time is that of the system handing out pages. Ten minutes on two CPU
cores.
"""

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from rich.console import Console
from rich.table import Table

import gsm_optax
from experiments.benchmarks.selection_figure import selection_figure
from experiments.benchmarks.trees import (
  Leaves,
  jax_alternatives,
  keep,
  make_tree,
  shapes_of,
)
from experiments.run.files import write_json
from experiments.run.surroundings import surroundings
from experiments.run.timing import keep_freed_memory, side_by_side


@dataclass(frozen=True)
class Benchmark:
  """What to measure."""

  models: tuple[str, ...] = ("lenet300", "resnet50", "1e6", "1e7", "1e8", "2e8")
  """`lenet300`, `resnet50`, `resnet56`, or a number of weights in layers of 1024 × 1024
  (of 2048 × 2048 from 5e7 on, and of 8192 × 8192 from 5e8 on)."""
  densities: tuple[float, ...] = (0.1,)
  """Shares to keep."""
  dtypes: tuple[Literal["float32", "bfloat16", "float16"], ...] = ("float32",)
  """Types of gradients and weights."""
  zeros: float = 0.0
  """Share of the gradients that are exactly zero, and so tie."""
  devices: int = 1
  """Devices over which each leaf is sharded; on a CPU, so many are simulated."""
  alternatives: bool = True
  """Also time the other methods; those of 1e8 weights and more are left out."""
  seconds: float = 1.0
  """To spend on each method."""
  out: Path = Path("experiments/results/selection")
  """Folder for selection.json and selection.png."""


def host_alternatives(
  gradients: Leaves, weights: Leaves, q: int
) -> dict[str, Callable[[], Any]]:
  """NumPy, and PyTorch where it is installed; float32 on the CPU."""
  g = [np.array(leaf.astype(jnp.float32)) for leaf in gradients]
  w = [np.array(leaf.astype(jnp.float32)) for leaf in weights]

  def partition() -> list[np.ndarray]:
    all_scores = [np.abs(a * b) for a, b in zip(g, w, strict=True)]
    flat = np.concatenate([leaf.ravel() for leaf in all_scores])
    threshold = np.partition(flat, len(flat) - q)[len(flat) - q]
    return [a * (s >= threshold) for a, s in zip(g, all_scores, strict=True)]

  runs: dict[str, Callable[[], Any]] = {"np.partition": partition}
  if importlib.util.find_spec("torch"):
    torch: Any = importlib.import_module("torch")

    tg = [torch.from_numpy(leaf) for leaf in g]
    tw = [torch.from_numpy(leaf) for leaf in w]

    def torch_masked(select: Callable[[Any], Any]) -> Callable[[], Any]:
      def run() -> Any:
        all_scores = [torch.abs(a * b) for a, b in zip(tg, tw, strict=True)]
        threshold = select(torch.cat([leaf.flatten() for leaf in all_scores]))
        masked = [a * (s >= threshold) for a, s in zip(tg, all_scores, strict=True)]
        return len(masked)

      return run

    n = sum(leaf.size for leaf in g)
    runs["torch.topk"] = torch_masked(lambda flat: torch.topk(flat, q).values[-1])
    runs["torch.kthvalue"] = torch_masked(
      lambda flat: torch.kthvalue(flat, n - q + 1).values
    )
  return runs


def measure(
  benchmark: Benchmark, model: str, density: float, dtype: str
) -> dict[str, Any]:
  """Times every method on one tree."""
  shapes = shapes_of(model)
  gradients, weights = make_tree(shapes, dtype, benchmark.zeros, seed=1)
  earlier, _ = make_tree(shapes, dtype, benchmark.zeros, seed=2)
  n = sum(leaf.size for leaf in gradients)
  pruned = gsm_optax.apply_mask(weights, gsm_optax.magnitude_mask(weights, density))
  q = gsm_optax.sparsity_report(pruned).kept
  if benchmark.devices > 1:
    # `lax.top_k` takes no array that is split along explicit axes.
    kinds = (AxisType.Auto,)
    mesh = jax.make_mesh((benchmark.devices,), ("shard",), axis_types=kinds)
    place = NamedSharding(mesh, PartitionSpec("shard"))
    gradients, weights, earlier = jax.device_put((gradients, weights, earlier), place)

  tx = gsm_optax.keep_top_saliency(density)
  update = jax.jit(tx.update)
  one_pass = jax.jit(keep)
  cold = tx.init(weights)
  _, warm = update(earlier, cold, weights)  # as after another batch
  _, now = update(gradients, warm, weights)
  rescaled = warm._replace(threshold=warm.threshold * 100)
  runs: dict[str, Callable[[], Any]] = {
    "pass": lambda: one_pass(gradients, weights, now.threshold),
    "keep_top_saliency": lambda: update(gradients, warm, weights),
    "… cold start": lambda: update(gradients, cold, weights),
    "… after a change of scale by 100": lambda: update(gradients, rescaled, weights),
  }
  compiled = update.lower(gradients, warm, weights).compile()
  memory = compiled.memory_analysis()
  times = side_by_side(runs, benchmark.seconds)
  if benchmark.alternatives and n < 10**8:
    # Turns apart: what they leave in the caches, and the threads of PyTorch that wait
    # busily for more, would slow down whoever comes next, the pass for one.
    alternatives: dict[str, Callable[[], Any]] = {
      name: lambda run=run: run(gradients, weights)
      for name, run in jax_alternatives(q).items()
    }
    times |= side_by_side(alternatives, benchmark.seconds)
    if jax.default_backend() == "cpu" and benchmark.devices == 1:
      times |= side_by_side(host_alternatives(gradients, weights, q), benchmark.seconds)
  return {
    "model": model,
    "weights": n,
    "density": density,
    "dtype": dtype,
    "zeros": benchmark.zeros,
    "devices": benchmark.devices,
    "seconds": times,
    "passes": {name: time / times["pass"] for name, time in times.items()},
    "temporary_bytes_per_weight": None
    if memory is None
    else memory.temp_size_in_bytes * benchmark.devices / n,
  }


def show(rows: list[dict[str, Any]], console: Console) -> None:
  """A table of all measurements, slower ones as multiples of a pass."""
  for row in rows:
    table = Table(
      title=f"{row['model']}: {row['weights']:,} weights, {row['dtype']}, density"
      f" {row['density']:.3g}, {row['devices']} device(s)"
    )
    for heading in ("method", "ms", "passes", "ns / weight"):
      table.add_column(heading, justify="left" if heading == "method" else "right")
    for name, seconds in row["seconds"].items():
      table.add_row(
        name,
        f"{1e3 * seconds:.3f}",
        f"{row['passes'][name]:.2f}",
        f"{1e9 * seconds / row['weights']:.2f}",
      )
    console.print(table)


def check(benchmark: Benchmark) -> None:
  """Ends the program with a sentence about what cannot be measured."""
  if not (benchmark.models and benchmark.densities and benchmark.dtypes):
    sys.exit("error: --models, --densities and --dtypes must not be empty.")
  if not all(0 < density <= 1 for density in benchmark.densities):
    sys.exit("error: --densities must be above 0 and at most 1.")
  if not 0 <= benchmark.zeros <= 1:
    sys.exit("error: --zeros must be from 0 to 1.")
  if not 0 < benchmark.seconds < math.inf:
    sys.exit("error: --seconds must be above 0 and finite.")
  if benchmark.devices < 1:
    sys.exit("error: --devices must be at least 1.")
  for model in benchmark.models:
    try:
      leading = [shape[0] for shape in shapes_of(model)]
    except (ValueError, OverflowError):
      leading = []
    if not leading:
      sys.exit(
        f"error: no model {model!r}: lenet300, resnet50, resnet56, or a number of"
        " weights."
      )
    if any(length % benchmark.devices for length in leading):
      sys.exit(f"error: the layers of {model} cannot be split over --devices evenly.")


def main() -> None:
  """The command line."""
  benchmark = tyro.cli(
    Benchmark, prog="python -m experiments.benchmarks.selection", description=__doc__
  )
  check(benchmark)
  if benchmark.devices > 1:
    jax.config.update("jax_num_cpu_devices", benchmark.devices)
  keep_freed_memory()
  console = Console()
  rows: list[dict[str, Any]] = []
  for model in benchmark.models:
    for density in benchmark.densities:
      for dtype in benchmark.dtypes:
        rows.append(measure(benchmark, model, density, dtype))
        show(rows[-1:], console)
  config = asdict(benchmark) | {"out": str(benchmark.out)}
  benchmark.out.mkdir(parents=True, exist_ok=True)
  results = {"rows": rows, "config": config, **surroundings()}
  write_json(benchmark.out / "selection.json", results)
  selection_figure(results).savefig(benchmark.out / "selection.png", dpi=120)
  console.print(f"Written to {benchmark.out}")


if __name__ == "__main__":
  main()
