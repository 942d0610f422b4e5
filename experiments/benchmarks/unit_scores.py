"""Compares scores of channels with what the loss really changes by without them.

    python -m experiments.benchmarks.unit_scores [--data-dir FOLDER --epochs 4]

A ResNet-20 is trained on scikit-learn's digits, or on 10,000 images of CIFAR-10. Then
each of its channels is set to zero, with all that belongs to it, and the loss of all
training images is computed again. Beside that are the scores of the channels, means
over batches of the same images, as an optimizer would have them. What counts is the
order: Spearman's rank correlation. The results are `experiments/results/unit-scores`.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

import gsm_optax
from experiments import datasets, models
from experiments.run.files import write_json
from experiments.run.surroundings import surroundings
from experiments.train.optimizers import SGD, Task
from experiments.train.schedules import Cosine
from experiments.train.step import TrainState, cross_entropy, make_train_step

DEPTH, WIDTH, BATCH = 20, 8, 64

MOST = 10_000
"""Images, at most."""

Scores = npt.NDArray[np.float64]


def measure(data: Any, seed: int, epochs: int) -> dict[str, Scores]:
  """Each way's scores of all channels, and what the loss changes by."""
  images = data.prepare(jnp.asarray(data.train_images[:MOST]))
  labels = jnp.asarray(data.train_labels[:MOST])
  options = {"depth": DEPTH, "width": WIDTH}
  model = models.load("resnet_cifar", data.image_shape, data.num_classes, options)
  params, stats = model.init(jax.random.key(seed))
  steps = len(labels) // BATCH
  schedule = Cosine(0.1, warmup_epochs=1).build(epochs, steps)
  tx = SGD(weight_decay=5e-4).build(Task(schedule, 1.0, steps, epochs))
  state = TrainState(params, stats, tx.init(params))
  step = jax.jit(make_train_step(model, tx))
  rng = np.random.default_rng(seed)
  batches = [
    (images[part], labels[part])
    for _ in range(epochs)
    for part in rng.permutation(len(labels))[: steps * BATCH].reshape(steps, BATCH)
  ]
  for batch in batches:
    state, _ = step(state, batch)
  return _scores(model, state, batches[-steps:], (images, labels))


def _scores(model: Any, state: TrainState, batches: Any, whole: Any) -> Any:
  params, stats, _ = state

  def apply_fn(params: Any, images: jax.Array) -> jax.Array:
    return model.infer(params, stats, images)

  @jax.jit
  def loss(params: Any) -> jax.Array:
    logits = apply_fn(params, whole[0])
    return optax.softmax_cross_entropy_with_integer_labels(logits, whole[1]).mean()

  groups = gsm_optax.channel_groups(apply_fn, params, whole[0][:1]).groups
  groups = [group for group in groups if len(group.members) > 1]
  gradient = jax.jit(jax.grad(lambda *a: cross_entropy(model, *a)[0]))
  found: dict[str, list[Scores]] = {}
  for batch in batches:
    products = _by_path(
      jax.tree.map(lambda g, w: g * w, gradient(params, stats, batch), params)
    )
    for name, scores in _of_batch(products, groups).items():
      found.setdefault(name, []).append(scores)
  result = {name: np.mean(scores, 0) for name, scores in found.items()}
  before = float(loss(params))
  sizes = [group.size for group in groups]
  result["group"] = np.repeat(np.arange(len(groups)), sizes)
  result["loss"] = np.array(
    [
      abs(float(loss(_without(params, group, unit))) - before)
      for group in groups
      for unit in range(group.size)
    ]
  )
  return result


def _by_path(tree: Any) -> dict[str, Scores]:
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf, float)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def _of_batch(products: dict[str, Scores], groups: Any) -> dict[str, Scores]:
  """Scores of all channels by one batch's gradient times weight."""

  def total(group: Any, counts: Any, signed: bool = False) -> Scores:
    result = np.zeros(group.size)
    for (path, axis), numbers in group.members.items():
      if counts(path, axis):
        values = products[path] if signed else np.abs(products[path])
        each = values.sum(tuple(i for i in range(values.ndim) if i != axis))
        has_unit = numbers >= 0
        result += np.bincount(numbers[has_unit], each[has_unit], group.size)
    return np.abs(result)

  ways: dict[str, Any] = {
    "kernel": lambda path, axis: "kernel" in path and axis == 3,
    "kernel, signed": lambda path, axis: "kernel" in path and axis == 3,
    "all weights": lambda *_: True,
    "scale and offset": lambda path, _: "norm" in path,
  }
  return {
    name: np.concatenate(
      [total(group, counts, name.endswith("signed")) for group in groups]
    )
    for name, counts in ways.items()
  }


def _without(params: Any, group: Any, unit: int) -> Any:
  """The params with zeros for a unit."""

  def zeroed(path: Any, leaf: Any) -> Any:
    leaf = np.array(leaf)
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    for axis in range(leaf.ndim):
      if (name, axis) in group.members:
        np.moveaxis(leaf, axis, 0)[group.members[name, axis] == unit] = 0
    return leaf

  return jax.tree_util.tree_map_with_path(zeroed, params)


def within_groups(a: Scores, b: Scores, groups: Scores) -> float:
  """The mean of the rank correlations of the channels of each group."""
  return float(
    np.mean(
      [rank_correlation(a[groups == i], b[groups == i]) for i in np.unique(groups)]
    )
  )


def rank_correlation(a: Scores, b: Scores) -> float:
  """Spearman's, of scores that do not tie."""
  ranks = np.array([np.argsort(np.argsort(x)) for x in (a, b)], float)
  return float(np.corrcoef(ranks)[0, 1])


def main(arguments: Sequence[str] | None = None) -> None:
  """The command line."""
  parser = ArgumentParser(prog="python -m experiments.benchmarks.unit_scores")
  parser.add_argument("--seeds", type=int, default=5, help="networks (5)")
  parser.add_argument("--data-dir", type=Path, help="CIFAR-10's, in place of digits")
  parser.add_argument("--epochs", type=int, default=10, help="of training (10)")
  default = Path("experiments/results/unit-scores")
  parser.add_argument("--out", type=Path, default=default, help="a folder")
  options = parser.parse_args(arguments)
  if options.data_dir:
    dataset = "cifar10"
    data = datasets.load(dataset, options.data_dir, size=16)
  else:
    dataset = "digits"
    data = datasets.load(dataset, None)
  config = {"data": dataset, "seeds": options.seeds, "epochs": options.epochs}
  correlations: dict[str, list[float]] = {}
  within: dict[str, list[float]] = {}
  greatest: list[float] = []
  channels = 0
  for seed in range(options.seeds):
    scores = measure(data, seed, options.epochs)
    for name in scores.keys() - {"loss", "group"}:
      pair = scores[name], scores["loss"]
      correlations.setdefault(name, []).append(rank_correlation(*pair))
      within.setdefault(name, []).append(within_groups(*pair, scores["group"]))
    channels = int(scores["loss"].size)
    greatest.append(float(np.max(scores["kernel, signed"] / scores["kernel"])))
  options.out.mkdir(parents=True, exist_ok=True)
  write_json(
    options.out / f"{dataset}.json",
    {
      **surroundings(),
      "config": config,
      "channels": channels,
      "rank_correlations": dict(sorted(correlations.items())),
      "within_groups": dict(sorted(within.items())),
      "signed_share": greatest,
    },
  )
  for name, values in sorted(correlations.items()):
    print(f"{name}: {np.mean(values):.2f}, within groups {np.mean(within[name]):.2f}")


if __name__ == "__main__":
  main()
