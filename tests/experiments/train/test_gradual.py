"""Gradual magnitude pruning: the smallest go, step by step, and for good."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gsm_optax
from experiments.train.gradual import prune_gradually

SHAPES = {"a": (12, 10), "b": (7, 5, 3), "bias": (9,)}
SIZE = 12 * 10 + 7 * 5 * 3


def random_tree(seed):
  rng = np.random.default_rng(seed)
  return {
    name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()
  }


def steps_of(tx, number, jitted=True):
  """The params after each step on gradients that are always the same ones."""
  params = jax.tree.map(jnp.asarray, random_tree(0))
  state = tx.init(params)
  update = jax.jit(tx.update) if jitted else tx.update
  for step in range(number):
    updates, state = update(random_tree(step + 1), state, params)
    params = optax.apply_updates(params, updates)
    yield jax.device_get(params)


def by_numpy(density, every, steps, number):
  """The same by sorting."""
  params = random_tree(0)
  keep = {name: np.ones(shape, bool) for name, shape in SHAPES.items()}
  for step in range(number):
    if (step % every == 0 and step < steps) or step == steps:
      q = int(density(step) * SIZE + 1e-9)
      magnitudes = np.concatenate([abs(params[name]).ravel() for name in "ab"])
      least = np.sort(magnitudes)[-q]
      keep |= {name: abs(params[name]) >= least for name in "ab"}
    gradient = random_tree(step + 1)
    params = {
      name: np.where(keep[name], params[name] + gradient[name], 0) for name in SHAPES
    }
    yield params


def cubic(steps):
  return lambda step: 0.1 + 0.9 * (1 - min(step, steps) / steps) ** 3


@pytest.mark.parametrize(
  ("every", "steps", "jitted"),
  [(1, 4, True), (3, 8, True), (4, 8, True), (20, 6, True), (2, 2, False)],
)
def test_it_is_what_sorting_by_numpy_gives(every, steps, jitted):
  density = optax.polynomial_schedule(1.0, 0.1, 3, steps)
  found = steps_of(prune_gradually(density, every, steps), steps + 2, jitted)
  expected = by_numpy(cubic(steps), every, steps, steps + 2)
  for ours, theirs in zip(found, expected, strict=True):
    for name in SHAPES:
      np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-6)
      np.testing.assert_array_equal(ours[name] == 0, theirs[name] == 0)


@pytest.mark.parametrize("density", [0.1, 1 / 3, 0.29, 1 / 225])
def test_in_the_end_exactly_q_weights_are_left(density):
  schedule = optax.polynomial_schedule(1.0, density, 3, 7)
  *_, params = steps_of(prune_gradually(schedule, 2, 7), 8)
  kept = sum(np.count_nonzero(params[name]) for name in "ab")
  assert kept == gsm_optax.sparsity_report(gsm_optax.prune(params, density)).kept
  assert kept == int(density * SIZE + 1e-9)
  assert np.count_nonzero(params["bias"]) == 9


def test_what_is_gone_stays_zero():
  gone = {name: np.zeros(shape, bool) for name, shape in SHAPES.items()}
  numbers = []
  schedule = optax.polynomial_schedule(1.0, 0.05, 3, 9)
  for params in steps_of(prune_gradually(schedule, 3, 9), 14):
    for name, leaf in params.items():
      assert not leaf[gone[name]].any()
      gone[name] |= leaf == 0
    numbers.append(sum(mask.sum() for mask in gone.values()))
  assert not gone["bias"].any()
  # The choices of steps 0, 3, 6 and 9; the first one keeps all.
  assert [step for step in range(1, 14) if numbers[step] > numbers[step - 1]] == [
    3,
    6,
    9,
  ]
  assert numbers[0] == 0
  assert numbers[-1] == SIZE - int(0.05 * SIZE)
