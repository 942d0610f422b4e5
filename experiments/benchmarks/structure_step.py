"""What a whole training step costs when units are chosen in place of single weights.

    python -m experiments.benchmarks.structure_step

The same step with SGD, with `gsm_optax.gsm` and single weights, and with each structure
that the network allows. Channels of LeNet-300-100 are its hidden units; blocks and two
of four are measured there alone, as a ResNet's three input channels are no multiple of
four.
Measured as in `experiments.benchmarks.step`. Five minutes on two CPU cores.
"""

import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optax
import tyro
from rich.console import Console

import gsm_optax
from experiments import models
from experiments.benchmarks.measured_step import check, measure, show, write
from experiments.benchmarks.step import CASES, jax_runs
from experiments.train.kernels import kernel_mask
from experiments.train.structures import Blocks, Channels, NOfM, Structure

STRUCTURES: dict[str, dict[str, Structure]] = {
  "lenet300": {
    "channels": Channels(),
    "blocks((4, 1))": Blocks(),
    "n_of_m(2, 4)": NOfM(),
  },
  "resnet20": {"channels": Channels()},
}
"""By the networks and their names in the table."""


@dataclass(frozen=True)
class Benchmark:
  """What to measure."""

  models: tuple[str, ...] = tuple(STRUCTURES)
  density: float = 0.25
  """Share of the weights or units that is active; two of four has its own."""
  steps: int = 10
  """Steps per timing."""
  repeats: int = 3
  """Times that all is set up anew; medians are over these."""
  seconds: float = 4.0
  """To spend on each optimizer each time."""
  out: Path = Path("experiments/results/structure-step")
  """Folder for step.json."""


def compared(case: str, density: float) -> dict[str, optax.GradientTransformation]:
  """SGD, GSM with single weights, and GSM with each structure."""
  network, options, shape, *_ = CASES[case]
  model = models.load(network, shape, 10, options)
  rate, momentum, decay = 1e-3, 0.98, 5e-4
  result: dict[str, optax.GradientTransformation] = {
    "SGD": optax.chain(
      optax.add_decayed_weights(decay, mask=kernel_mask), optax.sgd(rate, momentum)
    ),
    "single weights": gsm_optax.gsm(rate, density, momentum, decay),
  }
  for name, structure in STRUCTURES[case].items():
    built = structure.build(model, shape)
    assert built is not None
    result[name] = gsm_optax.gsm(
      rate, density, momentum, decay, structure=built.structure
    )
  return result


def main() -> None:
  """The command line."""
  benchmark = tyro.cli(
    Benchmark,
    prog="python -m experiments.benchmarks.structure_step",
    description=__doc__,
  )
  if unknown := set(benchmark.models) - STRUCTURES.keys():
    sys.exit(f"error: --models must be of {', '.join(STRUCTURES)}, not {unknown}.")
  steps, repeats, seconds = benchmark.steps, benchmark.repeats, benchmark.seconds
  check(benchmark.models, steps, repeats, seconds)
  if not 0 < benchmark.density <= 1:
    sys.exit(f"error: --density must be in (0, 1], not {benchmark.density}.")
  rows: list[dict[str, Any]] = []
  console = Console()
  for case in benchmark.models:
    maker = partial(jax_runs, case, steps, compared(case, benchmark.density))
    row = {"model": case, "batch_size": CASES[case][3], "density": benchmark.density}
    rows.append(row | show(case, measure([maker], steps, repeats, seconds), console))
  write(rows, asdict(benchmark), benchmark.out, console)


if __name__ == "__main__":
  main()
