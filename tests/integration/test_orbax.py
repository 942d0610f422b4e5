"""A training saved with Orbax goes on as if it had never stopped."""

from pathlib import Path

import chex
import jax
import optax
import orbax.checkpoint as ocp
import pytest
from regression import DENSITY, assert_falls, assert_pruned, gsm, initial_params, train

import gsm_optax
from tests.forced_devices import assert_passes_on_eight_devices

TRANSFORMATIONS = {
  "gsm": gsm(),
  "schedules": gsm(density=optax.linear_schedule(0.5, DENSITY, 30)),
  "before adamw": optax.chain(
    gsm_optax.keep_top_saliency(DENSITY), optax.adamw(1e-2, weight_decay=1e-2)
  ),
  "injected": optax.inject_hyperparams(gsm_optax.gsm)(0.05, DENSITY, 0.9, 1e-2),
}


@pytest.mark.parametrize("tx", TRANSFORMATIONS.values(), ids=TRANSFORMATIONS.keys())
def test_a_restored_run_ends_with_the_bits_of_an_uninterrupted_one(tx, tmp_path):
  losses, params, state = train(tx, initial_params(), 20)
  saved = {"params": params, "state": state}
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(tmp_path / "checkpoint", saved)
  later_losses, params, state = train(tx, params, 20, state)

  # Nothing but shapes is known of what is restored.
  target = jax.eval_shape(
    lambda params: {"params": params, "state": tx.init(params)}, initial_params()
  )
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  target = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), target
  )
  with ocp.StandardCheckpointer() as checkpointer:
    restored = checkpointer.restore(tmp_path / "checkpoint", target)
  chex.assert_trees_all_equal(restored, saved)
  assert optax.tree.get(restored, "threshold") > 0

  restored_losses, restored_params, restored_state = train(
    tx, restored["params"], 20, restored["state"]
  )
  assert restored_losses == later_losses
  chex.assert_trees_all_equal((restored_params, restored_state), (params, state))
  assert_falls([losses[0], later_losses[-1]])
  pruned = gsm_optax.prune(restored_params, DENSITY)
  assert_pruned(pruned, restored_params)
  chex.assert_trees_all_equal(pruned, gsm_optax.prune(params, DENSITY))


def test_saved_on_eight_devices_it_goes_on_with_four():
  """Starts the tests of `eight_devices_to_four.py` where there are eight devices."""
  assert_passes_on_eight_devices(Path(__file__).with_name("eight_devices_to_four.py"))
