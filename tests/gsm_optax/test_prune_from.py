"""The run ends pruned: exactly Q weights from a step on, and these go on learning."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gsm_optax

DENSITY, STEP = 0.3, 5
RULES = {
  "gsm": lambda **more: gsm_optax.gsm(0.05, DENSITY, 0.9, 1e-2, **more),
  "nesterov": lambda **more: gsm_optax.gsm(
    *(0.05, DENSITY, 0.9, 1e-2), nesterov=True, passive_weight_decay=0.1, **more
  ),
  "adamw": lambda **more: gsm_optax.sparsify(
    optax.adamw(0.02), DENSITY, passive_weight_decay=0.1, **more
  ),
  "masked": lambda **more: gsm_optax.sparsify(
    *(optax.adamw(0.02), DENSITY),
    passive_weight_decay=0.1,
    mask_gradient=True,
    smoothing=0.5,
    **more,
  ),
  "by update": lambda **more: gsm_optax.sparsify(
    optax.lion(0.02), DENSITY, passive_weight_decay=0.1, select_by="update", **more
  ),
}
each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def tree(seed, dtype=np.float32):
  rng = np.random.default_rng(seed)
  shapes = {"a": (6, 5), "bias": (5,), "c": (5, 4)}
  return {
    name: jnp.asarray(rng.normal(size=shape), dtype) for name, shape in shapes.items()
  }


Q = int(DENSITY * 50)


def nonzero(params):
  return {name: np.asarray(leaf != 0) for name, leaf in params.items()}


def number(params):
  return sum(int(mask.sum()) for name, mask in nonzero(params).items() if name in "ac")


def trajectory(tx, steps, params=None, state=None, first=0, dtype=np.float32):
  """The params and states after each step."""
  params = tree(0, dtype) if params is None else params
  state = tx.init(params) if state is None else state
  update = jax.jit(tx.update)
  for step in range(first, steps):
    updates, state = update(tree(100 + step, dtype), state, params)
    params = optax.apply_updates(params, updates)
    yield params, state


@each_rule
def test_exactly_q_are_left_and_they_learn(rule):
  before, after = None, None
  for step, (params, _) in enumerate(trajectory(rule(prune_from=STEP), 15)):
    if step < STEP:
      assert number(params) == 50
    elif step == STEP:
      # Those that were greatest before the step.
      mask = gsm_optax.magnitude_mask(before, DENSITY)
      chex.assert_trees_all_equal(nonzero(params), mask)
    else:
      assert number(params) == Q
      chex.assert_trees_all_equal(nonzero(params), nonzero(before))
      for name in "ac":
        moved = np.asarray(params[name] != before[name])
        np.testing.assert_array_equal(moved, nonzero(params)[name])
      assert (params["bias"] != before["bias"]).all()
    before, after = params, params
  assert number(after) == Q


@each_rule
def test_until_then_it_is_as_without(rule):
  with_it = list(trajectory(rule(prune_from=STEP), STEP))
  without = list(trajectory(rule(), STEP))
  for (params, _), (expected, _) in zip(with_it, without, strict=True):
    chex.assert_trees_all_close(params, expected, rtol=1e-6)


def test_what_is_left_is_trained_as_by_sgd():
  learning_rate, momentum, decay = 0.05, 0.9, 1e-2
  settings = {"passive_weight_decay": 0.5, "nesterov": True}
  tx = gsm_optax.gsm(learning_rate, DENSITY, momentum, decay, **settings, prune_from=0)
  mask = gsm_optax.magnitude_mask(tree(0), DENSITY)
  kernels = {"a": True, "bias": False, "c": True}
  alone = optax.chain(
    optax.masked(optax.add_decayed_weights(decay), kernels),
    optax.sgd(learning_rate, momentum, nesterov=True),
    gsm_optax.freeze_pruned(mask),
  )
  pruned = gsm_optax.apply_mask(tree(0), mask)
  for (params, _), (expected, _) in zip(
    trajectory(tx, 10), trajectory(alone, 10, pruned), strict=True
  ):
    chex.assert_trees_all_close(params, expected, rtol=1e-5)


@each_rule
@pytest.mark.parametrize("at", [STEP - 1, STEP, STEP + 1, STEP + 2])
def test_it_can_be_stopped_and_continued(rule, at):
  tx = rule(prune_from=STEP)
  whole = list(trajectory(tx, 12))
  params, state = jax.device_get(whole[at])
  *_, again = trajectory(rule(prune_from=STEP), 12, params, state, at + 1)
  chex.assert_trees_all_equal(again, whole[-1])


def test_a_step_that_is_left_out_is_made_up_for():
  tx = gsm_optax.gsm(0.05, DENSITY, 0.9, prune_from=STEP)
  # What was pruned is put back, as by a wrapper that throws an update away.
  *_, (params, state) = trajectory(tx, STEP + 3)
  *_, (again, _) = trajectory(tx, STEP + 4, tree(9), state, STEP + 3)
  assert number(params) == number(again) == Q


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("gradients", [jnp.float16, jnp.bfloat16, jnp.float32])
@each_rule
def test_in_half_precision_too(rule, dtype, gradients):
  tx = rule(prune_from=1)
  params, state = tree(0, dtype), None
  state = tx.init(params)
  for step in range(4):
    given = jax.tree.map(lambda leaf: leaf.astype(gradients), tree(step + 1))
    updates, state = jax.jit(tx.update)(given, state, params)
    params = optax.apply_updates(params, updates)
    if step > 0:
      # Equal magnitudes are many, and a sum may be exactly zero.
      assert Q - 2 <= number(params) <= Q
    chex.assert_trees_all_equal_dtypes(params, tree(0, dtype))


def test_subnormal_weights_go():
  tx = gsm_optax.gsm(0.05, 1 / 4, prune_from=0)
  params = jnp.array([[1.0, 1e-40], [-1e-42, 1e-30]])
  gradients = jnp.ones((2, 2))
  updates, _ = jax.jit(tx.update)(gradients, tx.init(params), params)
  params = np.asarray(optax.apply_updates(params, updates))
  assert (params.view(np.int32) << 1 != 0).tolist() == [[True, False], [False, False]]


def test_a_density_that_falls_later_prunes_further():
  density = optax.piecewise_constant_schedule(0.8, {6: 0.5, 9: 0.5})
  tx = gsm_optax.gsm(0.05, density, 0.9, prune_from=3)
  numbers = [number(params) for params, _ in trajectory(tx, 12)]
  assert numbers == [50] * 3 + [40] * 3 + [20] * 3 + [10] * 3


def test_at_a_density_of_one_weights_that_are_zero_learn():
  tx = gsm_optax.sparsify(optax.sgd(0.1), 1.0, prune_from=0)
  params = jnp.array([[0.0, 1.0], [2.0, 0.0]])
  updates, _ = tx.update(jnp.ones((2, 2)), tx.init(params), params)
  chex.assert_trees_all_close(updates, jnp.full((2, 2), -0.1))


def test_equal_magnitudes_are_cut_in_order():
  tx = gsm_optax.gsm(0.05, 0.5, prune_from=0)
  params = jnp.ones((2, 4))
  updates, _ = tx.update(jnp.zeros((2, 4)), tx.init(params), params)
  params = optax.apply_updates(params, updates)
  assert (params != 0).tolist() == [[True] * 4, [False] * 4]


@each_rule
def test_a_nan_is_seen_and_no_more_than_q_are_left(rule):
  tx = rule(prune_from=0)
  params = tree(0)
  gradients = tree(1)
  gradients["a"] = gradients["a"].at[0, 0].set(jnp.nan)
  params["a"] = params["a"].at[0, 0].set(10.0)
  updates, _ = tx.update(gradients, tx.init(params), params)
  assert jnp.isnan(updates["a"][0, 0])
  assert number(optax.apply_updates(params, updates)) == Q


def test_no_pass_over_the_saliencies_once_it_is_pruned():
  tx = gsm_optax.gsm(0.05, DENSITY, prune_from=1)
  passes = [int(state[0].passes) for _, state in trajectory(tx, 4)]
  assert passes[0] > 0
  assert passes[1:] == [0, 0, 0]


@each_rule
def test_outside_of_jit_it_is_the_same_and_no_branch_is_compiled(rule, monkeypatch):
  expected = list(trajectory(rule(prune_from=1), 3))
  # A branch would be compiled anew at each call.
  monkeypatch.setattr(jax.lax, "cond", None)
  tx, params = rule(prune_from=1), tree(0)
  state = tx.init(params)
  for step in range(3):
    updates, state = tx.update(tree(100 + step), state, params)
    params = optax.apply_updates(params, updates)
    chex.assert_trees_all_close(params, expected[step][0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("step", [-1, 1.5, float("nan"), "last", True, jnp.ones(2)])
def test_it_is_the_number_of_a_step(step):
  with pytest.raises(ValueError, match="`prune_from` must be the number of a step"):
    gsm_optax.gsm(0.1, prune_from=step)
  with pytest.raises(ValueError, match="`prune_from` must be the number of a step"):
    gsm_optax.gsm(0.1, prune_from=lambda count: count)


def test_it_may_be_known_at_run_time_only():
  def after(prune_from):
    tx = gsm_optax.gsm(0.05, DENSITY, 0.9, prune_from=prune_from)
    params, state = tree(0), tx.init(tree(0))
    for step in range(3):
      updates, state = tx.update(tree(step + 1), state, params)
      params = optax.apply_updates(params, updates)
    return params

  run = jax.jit(after)
  assert number(run(1)) == Q
  assert number(run(3)) == 50
