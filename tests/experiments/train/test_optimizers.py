"""Optimizers are what their numbers say."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gsm_optax
from experiments.train.optimizers import SGD, AdamW, Muon, Task
from experiments.train.pruners import (
  GSM,
  FixedGSM,
  Gradual,
  GradualMagnitude,
  Sparsify,
  SparsifyByPower,
  falling_density,
)

SCHEDULE = optax.piecewise_constant_schedule(0.5, {3: 0.1})
TASK = Task(SCHEDULE, density=0.1, steps_per_epoch=10, epochs=5)
PARAMS = {
  "kernel": jax.random.normal(jax.random.key(0), (20, 10)),
  "bias": jnp.ones(10),
}


def gradients(steps):
  for step in range(steps):
    key = jax.random.fold_in(jax.random.key(1), step)
    yield optax.tree.random_like(key, PARAMS, jax.random.normal)


def trained(tx, steps=5):
  """The params after some steps on gradients that are always the same ones."""
  params, state = PARAMS, tx.init(PARAMS)
  update = jax.jit(tx.update)
  for gradient in gradients(steps):
    updates, state = update(gradient, state, params)
    params = optax.apply_updates(params, updates)
  return params


def by_numpy(momentum, weight_decay, nesterov, steps=5):
  weights = {name: np.float64(leaf) for name, leaf in PARAMS.items()}
  velocity = {name: np.zeros_like(leaf) for name, leaf in weights.items()}
  for step, gradient in enumerate(gradients(steps)):
    for name, w in weights.items():
      g = np.float64(gradient[name])
      g = g + weight_decay * w if name == "kernel" else g
      velocity[name] = momentum * velocity[name] + g
      change = g + momentum * velocity[name] if nesterov else velocity[name]
      weights[name] = w - (0.5 if step < 3 else 0.05) * change
  return weights


def assert_close(actual, expected):
  jax.tree.map(
    partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), actual, expected
  )


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd_has_momentum_and_lets_kernels_decay(weight_decay, nesterov):
  params = trained(SGD(0.8, weight_decay, nesterov).build(TASK))
  assert_close(params, by_numpy(0.8, weight_decay, nesterov))


def test_sgd_without_decay_is_that_of_optax():
  params = trained(SGD(0.8).build(TASK))
  assert_close(params, trained(optax.sgd(SCHEDULE, 0.8, nesterov=True)))


def test_the_density_falls_by_the_same_share_at_each_step_and_then_stays():
  task = TASK._replace(density=0.01)
  assert falling_density(task, None, 0) == 0.01
  assert falling_density(task, None, 0, 0.5) == 0.005
  assert falling_density(task, 0.1, 0) == 0.01
  assert falling_density(task, None, 2) == 0.01
  schedule = falling_density(task, 0.1, 2)
  densities = [float(schedule(step)) for step in range(40)]
  np.testing.assert_allclose(densities[:21], 0.1 ** (1 + np.arange(21) / 20), rtol=1e-5)
  np.testing.assert_allclose(densities[20:], 0.01, rtol=1e-6)


def test_the_density_falls_to_the_share_that_is_active():
  schedule = falling_density(TASK, 1.0, 2, 0.5)
  densities = [float(schedule(step)) for step in (0, 10, 20, 30)]
  np.testing.assert_allclose(densities, [1, 0.05**0.5, 0.05, 0.05], rtol=1e-5)


def test_the_density_may_stay_for_a_while_before_it_falls():
  schedule = falling_density(TASK, 1.0, 2, dense_epochs=1)
  densities = [float(schedule(step)) for step in (0, 10, 20, 30, 40)]
  np.testing.assert_allclose(densities, [1, 1, 0.1**0.5, 0.1, 0.1], rtol=1e-5)


@pytest.mark.parametrize(
  "numbers",
  [
    {},
    {"momentum": 0.5, "weight_decay": 0.1, "nesterov": False},
    {"passive_weight_decay": 0.2},
    {"smoothing": 0.5},
  ],
)
def test_gsm_is_that_of_the_library(numbers):
  usual = {"momentum": 0.99, "weight_decay": 5e-4, "nesterov": True}
  expected = gsm_optax.gsm(SCHEDULE, 0.1, **{**usual, **numbers})
  jax.tree.map(
    np.testing.assert_array_equal,
    trained(GSM(**numbers).build(TASK)),
    trained(expected),
  )


def test_as_many_weights_have_a_gradient_as_are_to_be_active():
  # 200 weights: all at first, a tenth in the end, and half of that where batches share.
  for share, kept in ((1.0, 20), (0.5, 10)):
    tx = GSM(0.0, 0.0, start_density=1.0, density_epochs=0.2, active_share=share)
    tx = tx.build(TASK)
    state = tx.init(PARAMS)
    update, changed = jax.jit(tx.update), []
    for gradient in gradients(4):
      updates, state = update(gradient, state, PARAMS)
      changed.append(int((updates["kernel"] != 0).sum()))
    assert changed[0] == 200
    assert kept < changed[1] < 200
    assert changed[2:] == [kept, kept]


def test_without_second_chances_gsm_is_the_same_until_its_active_set_is_fixed():
  numbers = {"momentum": 0.9, "weight_decay": 0.01}
  task = TASK._replace(steps_per_epoch=3)
  fixed, free = FixedGSM(1, **numbers).build(task), GSM(**numbers).build(task)
  assert_close(trained(fixed, 3), trained(free, 3))
  later, otherwise = trained(fixed, 8), trained(free, 8)
  assert np.abs(later["kernel"] - otherwise["kernel"]).max() > 0.1


def test_gradual_magnitude_is_sgd_with_fewer_and_fewer_weights():
  task = TASK._replace(steps_per_epoch=10)
  optimizer = GradualMagnitude(0.4, 0.8, 0.1, nesterov=False, every=2)
  params, sgd = PARAMS, SGD(0.8, 0.1, nesterov=False).build(task)
  tx = optimizer.build(task)
  states, gone = (tx.init(params), sgd.init(params)), np.zeros((20, 10), bool)
  update, kept = jax.jit(tx.update), []
  for gradient in gradients(6):
    updates, own = update(gradient, states[0], params)
    expected, others = sgd.update(gradient, states[1], params)
    states = own, others
    np.testing.assert_allclose(updates["bias"], expected["bias"], rtol=1e-4, atol=1e-6)
    params = optax.apply_updates(params, updates)
    gone |= np.asarray(params["kernel"] == 0)
    np.testing.assert_allclose(
      updates["kernel"][~gone], expected["kernel"][~gone], rtol=1e-5, atol=1e-6
    )
    kept.append(int((params["kernel"] != 0).sum()))
  # 1 - 0.9 (1 - (1 - t/4)³): all, 0.2125 after two of four steps, then 0.1.
  assert kept == [200, 200, 42, 42, 20, 20]


INNER = [SGD(0.8, 0.1), AdamW(0.9, 0.95, 0.1), Muon(0.9, 0.1, 0.2)]
each_inner = pytest.mark.parametrize(
  "inner", INNER, ids=lambda inner: type(inner).__name__
)


def test_adamw_lets_kernels_decay_and_nothing_else():
  params = trained(AdamW(0.8, 0.95, 0.1).build(TASK))
  alone = optax.adamw(
    *(SCHEDULE, 0.8, 0.95), weight_decay=0.1, mask={"kernel": True, "bias": False}
  )
  assert_close(params, trained(alone))


def test_muon_is_for_kernels_and_adam_for_the_rest():
  params = trained(Muon(0.9, 0.1, 0.2).build(TASK))
  muon = trained(optax.contrib.muon(SCHEDULE, beta=0.9, weight_decay=0.1))
  adam = trained(optax.adam(lambda step: 0.2 * SCHEDULE(step)))
  assert_close(params, {"kernel": muon["kernel"], "bias": adam["bias"]})


@each_inner
def test_sparsify_shrinks_what_is_passive_with_the_learning_rate(inner):
  optimizer = Sparsify(inner, 0.3, select_by="update", prune_from=0.08)
  expected = gsm_optax.sparsify(
    *(inner.build(TASK), 0.1),
    passive_weight_decay=lambda step: 0.3 * SCHEDULE(step),
    select_by="update",
    prune_from=4,
  )
  params = trained(optimizer.build(TASK))
  assert_close(params, trained(expected))
  assert int((params["kernel"] != 0).sum()) == 20


@pytest.mark.parametrize(
  ("power", "saliency"),
  [
    (1.0, gsm_optax.first_order_taylor),
    (0.5, lambda g, w: jnp.sqrt(jnp.abs(g)) * jnp.abs(w)),
    (0.0, gsm_optax.magnitude),
  ],
)
def test_sparsify_by_a_power_of_the_gradient(power, saliency):
  tx = SparsifyByPower(SGD(), 0.3, power=power).build(TASK)
  expected = gsm_optax.sparsify(
    *(SGD().build(TASK), 0.1),
    passive_weight_decay=lambda step: 0.3 * SCHEDULE(step),
    saliency=saliency,
  )
  assert_close(trained(tx), trained(expected))


@pytest.mark.parametrize("prune_from", [None, 0.5])
def test_what_is_left_of_passive_weights_is_known_before(prune_from):
  steps = TASK.steps(prune_from)
  assert steps == (50 if prune_from is None else 25)
  rates = [float(SCHEDULE(step)) for step in range(steps)]
  left = Sparsify(SGD(), 0.3, prune_from=prune_from).share_left(TASK)
  assert left == pytest.approx(np.prod([1 - 0.3 * rate for rate in rates]), rel=1e-5)
  left = GSM(momentum=0.0, weight_decay=0.2, nesterov=False, prune_from=prune_from)
  assert left.share_left(TASK) == pytest.approx(
    np.prod([1 - 0.2 * rate for rate in rates]), rel=1e-5
  )
  assert SGD().share_left(TASK) is None
  assert Gradual(SGD(), 2).share_left(TASK) is None


@each_inner
@pytest.mark.parametrize("dense", [0, 2])
@pytest.mark.parametrize(("every", "last"), [(2, 4), (3, 4), (20, 3)])
def test_gradual_prunes_now_and_then_and_once_more_in_the_end(
  inner, dense, every, last
):
  tx = Gradual(inner, last / 10, every, dense / 10).build(TASK)
  state, params, kept = tx.init(PARAMS), PARAMS, []
  update = jax.jit(tx.update)
  for gradient in gradients(8):
    updates, state = update(gradient, state, params)
    params = optax.apply_updates(params, updates)
    kept.append(int((params["kernel"] != 0).sum()))

  def wanted(step):
    step = max(step - dense, 0)
    step = step // every * every if step < last else last
    return int(200 * (1 - 0.9 * (1 - (1 - step / last) ** 3)) + 1e-3)

  assert kept == [wanted(step) for step in range(8)]
  assert kept[-1] == 20
