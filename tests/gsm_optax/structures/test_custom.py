"""Structures that users write."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gsm_optax


def to_units(scores):
  return jax.tree.map(lambda leaf: leaf.sum(1), scores)


def to_weights(masks, scores):
  return jax.tree.map(
    lambda mask, leaf: jnp.broadcast_to(mask[:, None], leaf.shape), masks, scores
  )


ROWS = gsm_optax.Structure(to_units, to_weights)
PARAMS = {
  "a": jnp.array([[1.0, 1], [5, 0]]),
  "b": jnp.ones(2),
  "c": jnp.full((2, 3), 1.5),
}


def test_rows_of_matrices():
  mask = gsm_optax.magnitude_mask(PARAMS, 0.5, structure=ROWS)
  np.testing.assert_array_equal(mask["a"], [[False, False], [True, True]])
  np.testing.assert_array_equal(mask["c"], [[True] * 3, [False] * 3])
  assert mask["b"].all()
  report = gsm_optax.sparsity_report(gsm_optax.apply_mask(PARAMS, mask), structure=ROWS)
  assert [(each.name, each.kept) for each in report.units] == [("a", 1), ("c", 1)]
  assert report.totals == {}


@pytest.mark.parametrize(
  "tx",
  [
    gsm_optax.keep_top_saliency(0.25, structure=ROWS),
    gsm_optax.scale_by_gsm(0.25, weight_decay=0.0, structure=ROWS),
    optax.chain(
      gsm_optax.gsm(1.0, 0.25, weight_decay=0.0, structure=ROWS), optax.scale(-1)
    ),
    gsm_optax.sparsify(
      optax.scale(1.0), 0.25, passive_weight_decay=0.0, structure=ROWS
    ),
  ],
)
def test_every_transformation_takes_one(tx):
  updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
  np.testing.assert_array_equal(updates["a"], [[0, 0], [5, 0]])
  assert not jnp.any(updates["c"])


def test_under_masked_and_inject_hyperparams():
  tx = optax.inject_hyperparams(gsm_optax.gsm)(
    learning_rate=optax.constant_schedule(0.1), density=0.5, structure=ROWS
  )
  tx = optax.masked(tx, {"a": True, "b": True, "c": False})
  updates, _ = jax.jit(tx.update)(PARAMS, tx.init(PARAMS), PARAMS)
  np.testing.assert_array_equal(updates["c"], PARAMS["c"])
  assert updates["a"][1, 0] < -0.4


@pytest.mark.parametrize(
  ("structure", "message"),
  [
    ((4, 1), "must be made by"),
    (gsm_optax.blocks, "must be made by"),
    (
      gsm_optax.Structure(lambda scores: jax.tree.map(jnp.argmax, scores), to_weights),
      "must be floating-point arrays",
    ),
    (gsm_optax.Structure(lambda _: {}, to_weights), "has no units"),
    (gsm_optax.Structure(to_units, lambda _, scores: scores), "boolean array"),
    (gsm_optax.Structure(to_units, lambda masks, _: masks), "of each leaf's shape"),
    (
      gsm_optax.Structure(
        lambda scores: jax.tree.map(lambda leaf: leaf - 7, to_units(scores)), to_weights
      ),
      "a score below zero",
    ),
  ],
)
def test_mistakes_are_named(structure, message):
  with pytest.raises(ValueError, match=message):
    gsm_optax.magnitude_mask(PARAMS, 0.5, structure=structure)


def test_less_than_one_unit_is_refused():
  with pytest.raises(ValueError, match="of 4 units is less than one unit"):
    gsm_optax.gsm(0.1, 0.2, structure=ROWS).init(PARAMS)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ((3, to_weights), "`to_units` must be a function, not 3"),
    ((to_units, None), "`to_weights` must be a function"),
    ((to_units, to_weights, None, 0), "positive integer or None, not 0"),
    ((to_units, to_weights, None, 2.5), "not 2.5"),
    ((to_units, to_weights, None, True), "not True"),
  ],
)
def test_a_structure_of_other_things_is_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    gsm_optax.Structure(*arguments)


def test_a_density_of_units_is_called_so():
  with pytest.raises(ValueError, match="the share of the units to keep"):
    gsm_optax.gsm(0.1, 2.0, structure=ROWS)
