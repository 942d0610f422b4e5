"""How many counting passes the search for the threshold takes in a real training.

    python -m experiments.benchmarks.passes --data-dir FOLDER

Trains LeNet-300-100 and LeNet-5 on MNIST, one epoch as a base and then with GSM as
their presets do, and counts at each of GSM's steps the passes that the search takes
from the last step's threshold, and how far that was away. A minute on two CPU cores.
With ``--devices 8``, batches are split over so many simulated ones.
"""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import optax
import tyro
from rich.console import Console
from rich.table import Table

from experiments import datasets, models
from experiments.configs import recipes
from experiments.configs.recipe import Phase
from experiments.run.files import write_json
from experiments.run.surroundings import surroundings
from experiments.train.devices import batch_mesh, replicate, split
from experiments.train.optimizers import Task
from experiments.train.step import TrainState, make_train_step


@dataclass(frozen=True)
class Benchmark:
  """What to measure."""

  models: tuple[Literal["lenet300", "lenet5"], ...] = ("lenet300", "lenet5")
  batch_sizes: tuple[int, ...] = (256, 64)
  """Of each model."""
  steps: int = 1000
  """Steps of GSM, after as many of warm-up."""
  devices: int = 1
  """Devices that share each batch."""
  data_dir: Path | None = None
  """Folder of MNIST's files."""
  seed: int = 0
  """Of the initial weights and the batches."""
  out: Path = Path("experiments/results/passes")
  """Folder for passes.json."""


def measure(benchmark: Benchmark, name: str, batch_size: int) -> dict[str, Any]:
  """One model's passes and thresholds."""
  recipe = recipes()[f"{name}-mnist"]
  data: Any = datasets.load("mnist", benchmark.data_dir)
  steps_per_epoch = data.train_size // batch_size
  model = models.load(name, data.image_shape, data.num_classes)

  def optimizer(phase: Phase) -> optax.GradientTransformation:
    schedule = phase.schedule.build(phase.epochs, steps_per_epoch)
    return phase.optimizer.build(
      Task(schedule, recipe.density, steps_per_epoch, phase.epochs)
    )

  base, gsm = optimizer(recipe.base), optimizer(recipe.gsm)
  rng = np.random.default_rng(benchmark.seed)
  mesh = batch_mesh()
  params, batch_stats = replicate(model.init(jax.random.key(benchmark.seed)), mesh)
  train = data.train_images, data.train_labels
  observed: list[tuple[float, int]] = []
  state = TrainState(params, batch_stats, None)
  for tx, steps in ((base, steps_per_epoch), (gsm, 2 * benchmark.steps)):
    state = state._replace(opt_state=replicate(tx.init(state.params), mesh))
    train_step = make_train_step(model, tx)
    step = jax.jit(
      lambda state, batch, train_step=train_step: train_step(state, split(batch, mesh)),
      donate_argnums=0,
    )
    for _ in range(steps):
      chosen = rng.choice(len(train[1]), batch_size, replace=False)
      state, loss = step(state, (train[0][chosen], train[1][chosen]))
      # Simulated devices that run ahead of each other may wait for one another forever.
      loss.block_until_ready()
      if tx is gsm:
        found = optax.tree.get(state.opt_state, "threshold")
        passes = optax.tree.get(state.opt_state, "passes")
        observed.append((float(found), int(passes)))
  thresholds, passes = np.array(observed[benchmark.steps :]).T
  change = np.diff(np.log(thresholds))
  return {
    "model": name,
    "batch_size": batch_size,
    "density": recipe.density,
    "mean_passes": passes.mean(),
    "passes": {int(n): int((passes == n).sum()) for n in np.unique(passes)},
    "standard_deviation_of_log_change": change.std(),
  }


def main() -> None:
  """The command line."""
  benchmark = tyro.cli(Benchmark, description=__doc__)
  if benchmark.devices < 1:
    sys.exit("error: --devices must be at least 1.")
  if any(size % benchmark.devices for size in benchmark.batch_sizes):
    sys.exit("error: batches cannot be split over --devices evenly.")
  if benchmark.devices > 1:
    jax.config.update("jax_num_cpu_devices", benchmark.devices)
  rows = [
    measure(benchmark, name, batch_size)
    for name, batch_size in zip(benchmark.models, benchmark.batch_sizes, strict=True)
  ]
  table = Table(
    "model", "batch", "passes", "threshold changes by a factor exp(±s), s ="
  )
  for row in rows:
    table.add_row(
      row["model"],
      str(row["batch_size"]),
      f"{row['mean_passes']:.2f}",
      f"{row['standard_deviation_of_log_change']:.2f}",
    )
  Console().print(table)
  config = {
    k: str(v) if isinstance(v, Path) else v for k, v in asdict(benchmark).items()
  }
  benchmark.out.mkdir(parents=True, exist_ok=True)
  del config["data_dir"]  # says nothing to others
  results = {"rows": rows, "config": config, **surroundings()}
  write_json(benchmark.out / "passes.json", results)


if __name__ == "__main__":
  main()
