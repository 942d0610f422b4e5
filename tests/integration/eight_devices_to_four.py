"""Saved on eight devices, restored on four (see test_orbax and test_tree_utils)."""

import chex
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from regression import (
  DENSITY,
  assert_falls,
  assert_pruned,
  gsm,
  initial_params,
  loss_fn,
  train,
)

import gsm_optax

# Split along the 16 hidden units.
LAYOUT = {
  "1_hidden": {"bias": P("x"), "kernel": P(None, "x")},
  "2_output": {"bias": P(), "kernel": P("x")},
}
TX = gsm()


def mesh_of(number):
  return jax.make_mesh(
    (number,),
    ("x",),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=jax.devices()[:number],
  )


def shardings_on(mesh):
  """Of the params and of the optimizer's state, whose momentum is as the params."""
  shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), LAYOUT)
  state = jax.eval_shape(TX.init, initial_params())
  return shardings, optax.tree.map_params(
    TX,
    lambda _, sharding: sharding,
    state,
    shardings,
    transform_non_params=lambda _: NamedSharding(mesh, P()),
  )


@pytest.fixture
def eight():
  return mesh_of(8)


@pytest.fixture
def four():
  return mesh_of(4)


def started_on(mesh):
  params_shardings, state_shardings = shardings_on(mesh)
  params = jax.device_put(initial_params(), params_shardings)
  return params, jax.device_put(TX.init(params), state_shardings)


def moved(params, state, mesh, path):
  """Saved as they lie, and restored onto the mesh."""
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(path / "checkpoint", (params, state))
  target = jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    (params, state),
    shardings_on(mesh),
  )
  with ocp.StandardCheckpointer() as checkpointer:
    return checkpointer.restore(path / "checkpoint", target)


def assert_lies_on(mesh, params, state):
  for leaf, sharding in zip(
    jax.tree.leaves((params, state)), jax.tree.leaves(shardings_on(mesh)), strict=True
  ):
    assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)


def test_the_devices_are_eight():
  assert jax.device_count() == 8


def test_map_params_gives_the_state_the_shardings_of_the_params(eight):
  params, state = started_on(eight)
  momentum = optax.tree.get(state, "trace")
  for leaf, like in zip(
    jax.tree.leaves(momentum), jax.tree.leaves(params), strict=True
  ):
    assert leaf.sharding == like.sharding
  assert momentum["1_hidden"]["kernel"].sharding.spec == P(None, "x")
  assert optax.tree.get(state, "threshold").sharding.is_fully_replicated
  # As they are after a step.
  _, params, state = train(TX, params, 1, state)
  assert_lies_on(eight, params, state)


def test_a_training_goes_on_to_rounding(eight, four, tmp_path):
  # The network sums over the hidden units, and those first that lie on one device:
  # another number of devices, another order of additions.
  params, state = started_on(eight)
  losses, params, state = train(TX, params, 20, state)
  restored = moved(params, state, four, tmp_path)
  chex.assert_trees_all_equal(restored, (params, state))
  assert_lies_on(four, *restored)

  later_losses, params, state = train(TX, params, 20, state)
  four_losses, four_params, four_state = train(TX, restored[0], 20, restored[1])
  np.testing.assert_allclose(four_losses, later_losses, rtol=1e-4)
  chex.assert_trees_all_close(four_params, params, atol=1e-5)
  assert_lies_on(four, four_params, four_state)
  assert_falls([losses[0], four_losses[-1]])
  assert_pruned(gsm_optax.prune(four_params, DENSITY), four_params)


def test_given_the_gradients_it_goes_on_with_the_same_bits(eight, four, tmp_path):
  # The choice and the update add nothing up in floating point.
  recorded, alone = [], initial_params()
  alone_state = TX.init(alone)
  for _ in range(20):
    gradients = jax.grad(loss_fn)(alone)
    recorded.append(jax.device_get(gradients))
    updates, alone_state = jax.jit(TX.update)(gradients, alone_state, alone)
    alone = optax.apply_updates(alone, updates)

  @jax.jit
  def step(params, state, gradients):
    updates, state = TX.update(gradients, state, params)
    return optax.apply_updates(params, updates), state

  def run(params, state, all_gradients):
    shardings = jax.tree.map(lambda leaf: leaf.sharding, params)
    for gradients in all_gradients:
      params, state = step(params, state, jax.device_put(gradients, shardings))
    return params, state

  halfway = run(*started_on(eight), recorded[:10])
  on_eight = run(*halfway, recorded[10:])
  on_four = run(*moved(*halfway, four, tmp_path), recorded[10:])
  assert_lies_on(four, *on_four)
  chex.assert_trees_all_equal(on_four, on_eight)
  chex.assert_trees_all_equal(
    gsm_optax.prune(on_four[0], DENSITY), gsm_optax.prune(on_eight[0], DENSITY)
  )
  assert_pruned(gsm_optax.prune(on_four[0], DENSITY), on_four[0])
