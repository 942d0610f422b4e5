"""In a training loop: what is compiled, moved and kept."""

import chex
import jax
import numpy as np
import optax
from small_params import PARAMS, random_tree

from gsm_optax import gsm


def test_a_run_is_traced_once():
  tx = gsm(
    optax.cosine_decay_schedule(0.1, 5),
    optax.linear_schedule(1.0, 0.1, 5),
    weight_decay=optax.constant_schedule(1e-4),
  )

  @jax.jit
  @chex.assert_max_traces(n=1)
  def step(params, state, gradients):
    updates, state = tx.update(gradients, state, params)
    return optax.apply_updates(params, updates), state

  params, state = PARAMS, tx.init(PARAMS)
  for seed in range(5):
    params, state = step(params, state, random_tree(seed))


def test_an_update_moves_nothing_to_or_from_the_host():
  tx = gsm(0.1, optax.linear_schedule(1.0, 0.1, 5))
  state, gradients = tx.init(PARAMS), random_tree(1)
  update = jax.jit(tx.update)
  with jax.transfer_guard("disallow"):
    update(gradients, state, PARAMS)
  assert "callback" not in str(jax.make_jaxpr(tx.update)(gradients, state, PARAMS))


def test_the_state_is_three_scalars_and_one_momentum():
  selection, *rest = gsm(0.1).init(PARAMS)
  leaves = jax.tree.leaves(selection)
  assert [leaf.shape for leaf in leaves] == [(), (), ()]
  assert [leaf.dtype for leaf in leaves] == [np.int32, np.float32, np.int32]
  chex.assert_trees_all_equal_shapes(jax.tree.leaves(rest), jax.tree.leaves(PARAMS))


def test_a_mesh_of_one_device_with_explicit_axes_changes_nothing():
  kind = jax.sharding.AxisType.Explicit
  mesh = jax.make_mesh((1,), ("x",), axis_types=(kind,))
  sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
  tx = gsm(0.1, 0.25)
  params, gradients = random_tree(0), random_tree(1)
  expected, _ = jax.jit(tx.update)(gradients, tx.init(params), params)
  params, gradients = jax.device_put((params, gradients), sharding)
  with jax.set_mesh(mesh):
    updates, _ = jax.jit(tx.update)(gradients, tx.init(params), params)
  chex.assert_trees_all_equal(updates, expected)
