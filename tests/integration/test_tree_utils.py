"""Optax's tools for trees find what they look for in the state."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from regression import (
  DENSITY,
  LEARNING_RATE,
  assert_falls,
  assert_pruned,
  gsm,
  initial_params,
  loss_fn,
  train,
)

import gsm_optax


def test_get_reads_the_threshold_and_the_momentum():
  params, tx = initial_params(), gsm(momentum=0.0, weight_decay=0.0)
  losses, params, state = train(tx, params)
  assert_falls(losses)
  assert_pruned(gsm_optax.prune(params, DENSITY), params)

  gradients = jax.grad(loss_fn)(params)
  updates, state = tx.update(gradients, state, params)
  scores = [
    np.abs(gradient * weight).ravel()
    for gradient, weight in zip(
      jax.tree.leaves(gradients), jax.tree.leaves(params), strict=True
    )
    if weight.ndim == 2
  ]
  scores = np.sort(np.concatenate(scores))[::-1]
  threshold = optax.tree.get(state, "threshold")
  assert threshold == scores[int(DENSITY * scores.size) - 1]
  # Without momentum and decay the trace is the last gradient that passed.
  momentum = optax.tree.get(state, "trace")
  chex.assert_trees_all_close(
    jax.tree.map(lambda leaf: -LEARNING_RATE * leaf, momentum), updates, rtol=1e-6
  )
  chex.assert_trees_all_equal_shapes_and_dtypes(momentum, params)


@pytest.mark.parametrize(
  "wrap",
  [
    lambda tx: optax.chain(optax.clip_by_global_norm(1.0), tx),
    lambda tx: optax.apply_if_finite(tx, 2),
    lambda tx: optax.MultiSteps(tx, every_k_schedule=1),
    lambda tx: optax.masked(tx, {"1_hidden": True, "2_output": True}),
    lambda tx: optax.partition({"gsm": tx}, {"1_hidden": "gsm", "2_output": "gsm"}),
  ],
  ids=["chain", "apply_if_finite", "MultiSteps", "masked", "partition"],
)
def test_get_looks_through_wrappers(wrap):
  params, tx = initial_params(), wrap(gsm())
  losses, params, state = train(tx, params)
  assert_falls(losses)
  assert optax.tree.get(state, "threshold") > 0
  assert jax.tree.structure(optax.tree.get(state, "trace")) == jax.tree.structure(
    params
  )


def test_set_changes_the_starting_point_of_the_search_and_nothing_else():
  params, tx = initial_params(), gsm()
  _, params, state = train(tx, params, 10)
  elsewhere = optax.tree.set(state, threshold=jnp.float32(1e3))
  assert optax.tree.get(elsewhere, "threshold") == 1e3
  chex.assert_trees_all_equal(
    train(tx, params, 10, elsewhere), train(tx, params, 10, state)
  )


def test_map_params_gives_the_state_the_shardings_of_the_params():
  # With more than one device: `eight_devices_to_four.py`.
  mesh = jax.make_mesh(
    (1,),
    ("x",),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=jax.devices()[:1],
  )
  params, tx = initial_params(), gsm()
  shardings = jax.tree.map(
    lambda leaf: NamedSharding(mesh, P(*[None] * (leaf.ndim - 1), "x")), params
  )
  params = jax.device_put(params, shardings)
  state = tx.init(params)
  state_shardings = optax.tree.map_params(
    tx,
    lambda _, sharding: sharding,
    state,
    shardings,
    transform_non_params=lambda _: NamedSharding(mesh, P()),
  )
  state = jax.device_put(state, state_shardings)
  assert optax.tree.get(state_shardings, "trace") == shardings
  assert (
    jax.tree.map(lambda leaf: leaf.sharding, optax.tree.get(state, "trace"))
    == shardings
  )
  assert optax.tree.get(state, "threshold").sharding.spec == P()

  losses, trained, _ = train(tx, params, state=state)
  assert_falls(losses)
  assert_pruned(gsm_optax.prune(trained, DENSITY), trained)
  unsharded = train(tx, initial_params())[1]
  chex.assert_trees_all_close(trained, unsharded, rtol=1e-6)
