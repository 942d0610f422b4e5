"""What a whole training step costs with GSM, against SGD and against PyTorch.

    python -m experiments.benchmarks.step

The same step with several optimizers: SGD with momentum and decay, `gsm_optax.gsm`, and
GSM as everyone writes it, by `lax.top_k` over the concatenated saliencies. Between them
are two kinds of SGD that look at all gradients before they change a weight: one clips
them by their norm, and one just waits for them. What it loses no choice among all
weights can avoid: while gradients of some layers are computed, SGD updates others.

Where PyTorch is installed, also its SGD, and GSM by `torch.topk` before
`torch.optim.SGD`, for the LeNets. PyTorch takes its turns apart: its threads keep a
processor busy for a while after they are done, and whoever comes next would pay for it.
Where the arrays happen to lie in memory changes times by some percent, so all is
repeated with new ones, in another order. Eight minutes on two CPU cores. ResNet-56 is
measured apart:

    python -m experiments.benchmarks.step --models resnet56 --steps 2 --repeats 3
      --out experiments/results/step-deep
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from rich.console import Console

from experiments import models
from experiments.benchmarks.measured_step import check, measure, show, write
from experiments.benchmarks.optimizers import optimizers
from experiments.train.step import TrainState, make_train_step

CASES: dict[str, tuple[str, dict[str, Any], tuple[int, ...], int, float]] = {
  "lenet300": ("lenet300", {}, (28, 28, 1), 256, 1 / 60),
  "lenet5": ("lenet5", {}, (28, 28, 1), 64, 1 / 125),
  "resnet20": ("resnet_cifar", {"depth": 20}, (32, 32, 3), 64, 1 / 10),
  "resnet56": ("resnet_cifar", {"depth": 56}, (32, 32, 3), 64, 1 / 10),
}
"""Network, its options, image shape, batch size and density of each case."""


@dataclass(frozen=True)
class Benchmark:
  """What to measure."""

  models: tuple[Literal["lenet300", "lenet5", "resnet20", "resnet56"], ...] = (
    "lenet300",
    "lenet5",
    "resnet20",
  )
  steps: int = 10
  """Steps per timing, each on another batch; they go on where the last ones ended."""
  repeats: int = 5
  """Times that all is set up anew; medians are over these."""
  seconds: float = 4.0
  """To spend on each optimizer each time."""
  out: Path = Path("experiments/results/step")
  """Folder for step.json."""


def compared(density: float) -> dict[str, optax.GradientTransformation]:
  """What is compared here: the optimizers of which a CPU has a story to tell."""
  result = optimizers(density)
  for name in ("GSM by jnp.sort", "SGD behind a loop"):
    del result[name]
  return result


def jax_runs(
  case: str, steps: int, transformations: Mapping[str, optax.GradientTransformation]
) -> dict[str, Callable[[], Any]]:
  """A function for each optimizer that makes some steps and returns the last state."""
  network, options, shape, batch_size, _ = CASES[case]
  model = models.load(network, shape, 10, options)
  params, batch_stats = model.init(jax.random.key(0))
  rng = np.random.default_rng(0)
  batches = [
    (
      jnp.asarray(rng.normal(size=(batch_size, *shape)), jnp.float32),
      jnp.asarray(rng.integers(0, 10, batch_size)),
    )
    for _ in range(steps)
  ]

  def runner(tx: optax.GradientTransformation) -> Callable[[], Any]:
    step = jax.jit(make_train_step(model, tx), donate_argnums=0)
    # Copies, since each step donates its state.
    state = TrainState(
      jax.tree.map(jnp.copy, params),
      jax.tree.map(jnp.copy, batch_stats),
      tx.init(params),
    )

    def run() -> Any:
      nonlocal state
      loss = None
      for batch in batches:
        state, loss = step(state, batch)
      return loss

    return run

  return {name: runner(tx) for name, tx in transformations.items()}


def torch_runs(case: str, steps: int) -> dict[str, Callable[[], Any]]:
  """The same in PyTorch, for the LeNets."""
  if not case.startswith("lenet") or not importlib.util.find_spec("torch"):
    return {}
  torch: Any = importlib.import_module("torch")
  nn = torch.nn

  _, _, shape, batch_size, density = CASES[case]
  batches = [
    (torch.randn(batch_size, 1, *shape[:2]), torch.randint(0, 10, (batch_size,)))
    for _ in range(steps)
  ]

  def network() -> Any:
    if case == "lenet300":
      return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(784, 300), nn.ReLU()),
        *(nn.Linear(300, 100), nn.ReLU()),
        nn.Linear(100, 10),
      )
    return nn.Sequential(
      *(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.ReLU()),
      *(nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.ReLU()),
      *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU()),
      nn.Linear(500, 10),
    )

  def runner(prunes: bool) -> Callable[[], Any]:
    net = network()
    kernels = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim == 1]
    groups = [
      {"params": kernels, "weight_decay": 5e-4},
      {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, 1e-3, momentum=0.98)
    q = int(density * sum(p.numel() for p in kernels))
    loss_fn = nn.CrossEntropyLoss()

    def run() -> float:
      loss = torch.zeros(())
      for images, labels in batches:
        optimizer.zero_grad()
        loss = loss_fn(net(images), labels)
        loss.backward()
        if prunes:
          with torch.no_grad():
            scores = [(p.grad * p).abs() for p in kernels]
            flat = torch.cat([score.flatten() for score in scores])
            threshold = torch.topk(flat, q).values[-1]
            for p, score in zip(kernels, scores, strict=True):
              p.grad *= score >= threshold
        optimizer.step()
      return loss.item()

    return run

  return {"PyTorch SGD": runner(False), "PyTorch GSM by torch.topk": runner(True)}


def main() -> None:
  """The command line."""
  benchmark = tyro.cli(
    Benchmark, prog="python -m experiments.benchmarks.step", description=__doc__
  )
  steps, repeats, seconds = benchmark.steps, benchmark.repeats, benchmark.seconds
  check(benchmark.models, steps, repeats, seconds)
  console = Console()
  rows: list[dict[str, Any]] = []
  for case in benchmark.models:
    *_, batch_size, density = CASES[case]
    makers = (
      partial(jax_runs, case, steps, compared(density)),
      partial(torch_runs, case, steps),
    )
    title = f"{case}, batch {batch_size}, density {density:.3g}"
    row = {"model": case, "batch_size": batch_size, "density": density}
    measured = measure(makers, steps, repeats, seconds)
    rows.append(row | show(title, measured, console))
  write(rows, asdict(benchmark), benchmark.out, console)


if __name__ == "__main__":
  main()
