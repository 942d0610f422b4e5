"""What XLA makes of GSM for an H100, a TPU v5e and a CPU, on a machine without them.

    python -m experiments.benchmarks.compiled --for h100 v5e cpu

Compiles an update of four programs for devices that need not be there, and counts:
kernels, memory, words, seconds to compile, and what eight devices say to one another.
It measures no time of an update, but what decides it where a kernel is bound by its
launch or by memory. The passes that a search takes are counted on true gradients, on
the CPU. Half an hour on two CPU cores.

Each target needs its compiler, in an environment of its own: without it, it is left
out, and the command says what to install. The rule by which kernels are counted is in
`experiments.benchmarks.hlo`.
"""

import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
import tyro
from jax.sharding import Mesh
from rich.console import Console

import gsm_optax
from experiments.benchmarks import hlo
from experiments.benchmarks.compiled_figure import compiled_figure
from experiments.benchmarks.compiled_table import console_tables, seconds_to_compile
from experiments.benchmarks.networks import passes_of
from experiments.benchmarks.shapes import NETWORKS, Shape, size
from experiments.benchmarks.targets import (
  TARGETS,
  compiler_versions,
  mesh_of,
  missing,
  place,
  prepare,
)
from experiments.run.files import write_json
from experiments.run.surroundings import surroundings
from experiments.train.kernels import kernel_mask

DENSITY = 0.1
RESULTS = Path("experiments/results/compiled")

Program = Literal["sgd", "clip", "keep_top_saliency", "gsm"]


@dataclass(frozen=True)
class Benchmark:
  """What to compile."""

  targets: Annotated[
    tuple[Literal["h100", "v5e", "cpu"], ...], tyro.conf.arg(name="for")
  ] = ("h100", "v5e", "cpu")
  """What for."""
  networks: tuple[str, ...] = (
    "resnet56",
    "resnet50",
    "transformer",
    "deep-transformer",
  )
  """Whose kernels are the params: these, or `resnet8`, to try it out."""
  programs: tuple[Program, ...] = ("sgd", "clip", "keep_top_saliency", "gsm")
  """SGD, SGD behind `optax.clip_by_global_norm`, the selection alone, and GSM."""
  eight_devices: bool = True
  """Also for params that are fully sharded over eight devices."""
  batches: int = 4
  """Whose passes are averaged; 0 counts none."""
  out: Path = RESULTS
  """Folder for compiled.json and compiled.png."""


def optimizer(program: Program) -> optax.GradientTransformationExtraArgs:
  """All with the hyperparameters of `gsm`."""
  rate, momentum, decay = 1e-3, 0.98, 5e-4
  if program == "gsm":
    return gsm_optax.gsm(rate, DENSITY, momentum, decay)
  if program == "keep_top_saliency":
    return gsm_optax.keep_top_saliency(DENSITY)

  sgd = (optax.add_decayed_weights(decay, mask=kernel_mask), optax.sgd(rate, momentum))
  clip = (optax.clip_by_global_norm(1.0),) if program == "clip" else ()
  return optax.chain(*clip, *sgd)


def lowered(program: Program, shapes: list[Shape], mesh: Mesh, platform: str) -> Any:
  """The update of a training step: gradients, state, params to new params and state.

  State and params are donated. The selection alone gives updates instead of params, and
  the gradients are donated for them.
  """
  tx = optimizer(program)
  alone = program == "keep_top_saliency"

  def update(gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
    updates, state = tx.update(gradients, state, params)
    return updates if alone else optax.apply_updates(params, updates), state

  def placed(leaf: Any) -> jax.ShapeDtypeStruct:
    sharding = place(leaf.shape, mesh)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

  params = [placed(jax.ShapeDtypeStruct(shape, jnp.float32)) for shape in shapes]
  state = jax.tree.map(placed, jax.eval_shape(tx.init, params))
  results = jax.tree.map(lambda leaf: leaf.sharding, (params, state))
  jitted = jax.jit(
    update, donate_argnums=(0, 1) if alone else (1, 2), out_shardings=results
  )
  return jitted.trace(params, state, params).lower(lowering_platforms=(platform,))


def compiled_for(
  program: Program, shapes: list[Shape], target: str, devices: int
) -> tuple[Any, dict[str, Any]]:
  """The compiled program, and the seconds that it took."""
  mesh, platform = mesh_of(target, devices), TARGETS[target].platform
  jax.clear_caches()  # else what was traced for another target would be there
  started = time.perf_counter()
  lowering = lowered(program, shapes, mesh, platform)
  between = time.perf_counter()
  compiled = lowering.compile()
  seconds = {
    "lower_seconds": between - started,
    "compile_seconds": time.perf_counter() - between,
  }
  return compiled, seconds


def compile_one(
  program: Program, shapes: list[Shape], target: str, passes: list[int]
) -> dict[str, Any]:
  """Compiles for one device, and reads what is known of the result."""
  compiled, result = compiled_for(program, shapes, target, 1)
  if target != "cpu":
    entry = hlo.read(compiled.as_text())
    a_pass = entry.search and entry.search.all_kernels
    update = None
    if passes or not a_pass:
      update = entry.update_kernels(statistics.mean(passes or [0]))
    result["kernels_of_a_pass"] = a_pass
    result["kernels_of_an_update"] = update
    result["entry"] = entry.to_json()
  memory, costs = compiled.memory_analysis(), compiled.cost_analysis()
  accessed = (costs or {}).get("bytes accessed")
  floats = 4 * size(shapes)
  result["temporary_per_weight"] = memory and memory.temp_size_in_bytes / floats
  result["words_per_weight"] = accessed and accessed / floats
  return result


def compile_for_eight(
  program: Program, shapes: list[Shape], target: str
) -> dict[str, Any]:
  """Compiles for eight devices, and counts what they exchange."""
  compiled, result = compiled_for(program, shapes, target, 8)
  entry = hlo.read(compiled.as_text())
  everything, a_pass = entry.all_collectives, entry.search
  result["all_reduces"] = entry.collectives[hlo.ALL_REDUCE]
  result["all_reduces_of_a_pass"] = a_pass and a_pass.all_collectives[hlo.ALL_REDUCE]
  result["moves"] = {name: everything[name] for name in hlo.MOVES if everything[name]}
  result["entry"] = entry.to_json()
  return result


def measure(
  benchmark: Benchmark, target: str, network: str, passes: list[int], console: Console
) -> dict[str, Any]:
  """All programs of one network for one target."""
  shapes = NETWORKS[network]
  programs: dict[str, Any] = {}
  for program in benchmark.programs:
    result = compile_one(program, shapes, target, passes)
    if benchmark.eight_devices:
      result["eight_devices"] = compile_for_eight(program, shapes, target)
    programs[program] = result
    kernels = result.get("kernels_of_an_update")
    console.print(
      f"{target}, {network}, {program}: compiled in {seconds_to_compile(result):.1f} s"
      + ("" if kernels is None else f", {kernels:,.0f} kernels")
    )
  return {
    "target": target,
    "network": network,
    "leaves": len(shapes),
    "weights": size(shapes),
    "passes": passes,
    "programs": programs,
  }


def check(benchmark: Benchmark) -> None:
  """Ends the program with a sentence about what cannot be compiled."""
  if not (benchmark.targets and benchmark.networks and benchmark.programs):
    sys.exit("error: --for, --networks and --programs must not be empty.")
  for network in benchmark.networks:
    if network not in NETWORKS:
      sys.exit(f"error: no network {network!r}: there are {', '.join(NETWORKS)}.")
  if benchmark.batches < 0:
    sys.exit("error: --batches must not be below 0.")


def main() -> None:
  """The command line."""
  benchmark = tyro.cli(
    Benchmark, prog="python -m experiments.benchmarks.compiled", description=__doc__
  )
  check(benchmark)
  console = Console(highlight=False, soft_wrap=True)
  sentences = {name: missing(name) for name in benchmark.targets}
  for sentence in filter(None, sentences.values()):
    console.print(sentence, markup=False)
  targets = [name for name, sentence in sentences.items() if not sentence]
  if not targets:
    sys.exit("error: there is no target left to compile for.")
  is_whole = benchmark == Benchmark() and len(targets) == len(TARGETS)
  if benchmark.out == RESULTS and not is_whole:
    sys.exit(f"error: a part of it would replace {RESULTS}: name a folder with --out.")
  prepare()
  rows: list[dict[str, Any]] = []
  passes: dict[str, list[int]] = {}
  for target in targets:
    compiled_for("sgd", [(8, 8)], target, 1)  # the first takes longer
    for network in benchmark.networks:
      if network not in passes:
        passes[network] = passes_of(network, DENSITY, benchmark.batches)
        console.print(f"{network}: passes on true gradients {passes[network]}")
      rows.append(measure(benchmark, target, network, passes[network], console))
  for table in console_tables(rows):
    console.print(table)
  config = asdict(benchmark) | {"out": str(benchmark.out)}
  benchmark.out.mkdir(parents=True, exist_ok=True)
  results = {"rows": rows, "config": config, **surroundings()}
  results["compilers"] = {name: compiler_versions(name) for name in targets}
  write_json(benchmark.out / "compiled.json", results)
  compiled_figure(results).savefig(benchmark.out / "compiled.png", dpi=120)
  console.print(f"Written to {benchmark.out}")


if __name__ == "__main__":
  main()
