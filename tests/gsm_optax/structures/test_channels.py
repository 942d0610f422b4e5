"""Channels: in every framework, what is pruned can be taken out."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gsm_optax
from tests.gsm_optax.structures.networks import NETWORKS, UNITS, VECTOR, of_dict


def randomly(inputs):
  return jax.random.normal(jax.random.key(9), (3, *inputs.shape[1:]))


def trained(apply_fn, params, inputs, tx, steps=3):
  x = randomly(inputs)

  @jax.jit
  def step(params, state):
    gradients = jax.grad(lambda p: jnp.mean((apply_fn(p, x) - 1) ** 2))(params)
    updates, state = tx.update(gradients, state, params)
    return optax.apply_updates(params, updates), state

  state = tx.init(params)
  for _ in range(steps):
    params, state = step(params, state)
  return params


@pytest.mark.parametrize("name", NETWORKS)
def test_a_run_that_ends_pruned_can_be_shrunk_without_loss(name):
  apply_fn, params, inputs = NETWORKS[name]()
  structure = gsm_optax.channels(apply_fn, params, inputs)
  tx = gsm_optax.gsm(0.05, 0.5, structure=structure, prune_from=1)
  pruned = trained(apply_fn, params, inputs, tx)
  report = gsm_optax.sparsity_report(pruned, structure=structure)
  assert sum(each.size for each in report.units) == UNITS[name]
  assert sum(each.kept for each in report.units) == UNITS[name] // 2
  small = gsm_optax.shrink(apply_fn, pruned, inputs)
  x = randomly(inputs)
  np.testing.assert_allclose(
    small.apply_fn(small.params, x), apply_fn(pruned, x), atol=1e-5
  )
  # An axis keeps one position in any case, and zeros take others with them.
  whole = [each for each in report.units if not each.kept]
  assert small.weights[1] <= report.totals["weights"][1] or whole
  if not whole:
    assert small.multiply_adds[1] <= report.totals["multiply-adds"][1]


@pytest.mark.parametrize("cost", [None, "weights", "multiply-adds"])
@pytest.mark.parametrize("score", ["sum", "mean"])
def test_scores_by_hand(score, cost):
  apply_fn, params, inputs = of_dict()
  structure = gsm_optax.channels(apply_fn, params, inputs, score=score, cost=cost)
  a, b, c = (np.abs(np.asarray(params[name], np.float64)) for name in "abc")
  first, second = a.sum(0) + b.sum(1), b.sum(0) + c.sum(1)
  sizes = np.array([6 + 4] * 8 + [8 + 3] * 4)
  scores = np.concatenate([first, second])
  scores /= sizes if score == "mean" else 1
  scores /= sizes if cost else 1  # a weight takes a multiplication here
  kept = np.zeros(12, bool)
  kept[np.argsort(-scores)[:5]] = True
  mask = gsm_optax.magnitude_mask(params, 5 / 12, structure=structure)
  np.testing.assert_array_equal(mask["a"], np.tile(kept[:8], (6, 1)))
  np.testing.assert_array_equal(mask["b"], np.outer(kept[:8], kept[8:]))
  np.testing.assert_array_equal(mask["c"], np.tile(kept[8:, None], (1, 3)))


def test_passive_units_are_masked_and_decay_with_all_their_weights():
  apply_fn, params, inputs = NETWORKS["linen, residual"]()
  params = jax.tree.map(
    lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), params
  )
  structure = gsm_optax.channels(apply_fn, params, inputs, by_normalisation=True)
  tx = gsm_optax.sparsify(
    optax.sgd(0.0), 0.5, structure=structure, passive_weight_decay=0.5
  )
  gradients = jax.tree.map(jnp.ones_like, params)
  updates, _ = tx.update(gradients, tx.init(params), params)
  mask = jax.tree.map(lambda update, leaf: (update == 0) | (leaf == 0), updates, params)
  halved = jax.tree.map(lambda leaf, keep: jnp.where(keep, 0, -leaf / 2), params, mask)
  chex.assert_trees_all_close(updates, halved)
  scales = mask["BatchNorm_3"]["scale"]
  assert 0 < scales.sum() < 8
  active = mask["Conv_3"]["kernel"].any((0, 1, 2))
  np.testing.assert_array_equal(active, scales)
  # What is left out by hand is left alone.
  tx = gsm_optax.sparsify(
    optax.sgd(0.0),
    0.5,
    structure=structure,
    passive_weight_decay=0.5,
    prunable=gsm_optax.kernels,
  )
  updates, _ = tx.update(gradients, tx.init(params), params)
  paths = jax.tree_util.tree_leaves_with_path(updates)
  moved = [jax.tree_util.keystr(path) for path, leaf in paths if jnp.any(leaf)]
  assert moved
  assert all("kernel" in path for path in moved)


def test_normalised_units_are_scored_by_scale_and_offset():
  apply_fn, params, inputs = NETWORKS["linen, residual"]()
  params["BatchNorm_1"]["scale"] = jnp.array([1.0, 9.0, 9.0, 1.0])
  params["Conv_1"]["kernel"] *= jnp.array([100.0, 1.0, 1.0, 100.0])
  within = lambda group: ("Conv_1/kernel", 3) in group.members  # noqa: E731
  for by_normalisation, expected in ((True, [0, 1, 1, 0]), (False, [1, 0, 0, 1])):
    structure = gsm_optax.channels(
      *(apply_fn, params, inputs), groups=within, by_normalisation=by_normalisation
    )
    mask = gsm_optax.magnitude_mask(params, 0.5, structure=structure)
    np.testing.assert_array_equal(mask["BatchNorm_1"]["scale"], expected)


def attention(params, x):
  """Of four heads, whose features lie one after another on an axis."""
  query, key, value = (
    (x @ params[name]).reshape(*x.shape[:2], 4, 2) for name in ("q", "k", "v")
  )
  mixed = jax.nn.dot_product_attention(query, key, value)
  return mixed.reshape(*x.shape[:2], 8) @ params["out"]


def test_of_overlapping_groups_the_one_on_most_leaves_is_taken():
  rng = np.random.default_rng(0)
  params = {
    name: jnp.asarray(rng.normal(size=(8, 8)), jnp.float32)
    for name in ("q", "k", "v", "out")
  }
  inputs = jnp.zeros((1, 5, 8))
  heads = gsm_optax.channels(attention, params, inputs)
  assert str(heads) == "channels\n4 units: k[1], out[0], q[1], v[1]"
  # Heads and the features of queries and keys, on request.
  both = gsm_optax.channels(
    attention, params, inputs, groups=lambda group: ("q", 1) in group.members
  )
  assert len(str(both).splitlines()) == 3
  mask = gsm_optax.magnitude_mask(params, 0.5, structure=both)
  kept = np.asarray(mask["q"]).reshape(8, 4, 2)
  by_heads, by_features = kept.any((0, 2)), kept.any((0, 1))
  np.testing.assert_array_equal(kept[0], np.outer(by_heads, by_features))
  report = gsm_optax.sparsity_report(gsm_optax.apply_mask(params, mask), structure=both)
  assert sum(each.kept for each in report.units) == 3


def test_the_report_tells_units_weights_and_multiply_adds():
  apply_fn, params, inputs = of_dict()
  structure = gsm_optax.channels(apply_fn, params, inputs)
  mask = {"a": np.ones((6, 8)), "b": np.ones((8, 4)), "c": np.ones((4, 3))}
  mask["a"][:, 2:] = mask["b"][2:] = mask["b"][:, 1] = mask["c"][1] = 0
  pruned = jax.tree.map(lambda leaf, keep: leaf * keep, params, mask)
  report = gsm_optax.sparsity_report(pruned, structure=structure)
  left = 6 * 2 + 2 * 3 + 3 * 3
  assert report.totals == {"weights": (92, left), "multiply-adds": (92, left)}
  assert "all units            12     5   41.67%" in str(report)
  assert report.to_dict()["units"][0] == {"name": "a", "size": 8, "kept": 2}
  assert report.to_dict()["totals"]["weights"] == [92, left]


def test_parts_of_a_partition_have_the_units_of_their_leaves():
  apply_fn, params, inputs = of_dict()
  structure = gsm_optax.channels(apply_fn, params, inputs)
  tx = optax.partition(
    {
      "gsm": gsm_optax.gsm(0.1, 0.5, structure=structure, prune_from=0),
      "sgd": optax.sgd(0.1),
    },
    {"a": "gsm", "b": "sgd", "c": "gsm"},
  )
  updates, _ = tx.update(params, tx.init(params), params)
  assert (optax.apply_updates(params, updates)["a"] == 0).all(0).sum() > 0
  assert jnp.all(updates["b"] != 0)


def test_other_params_are_refused():
  apply_fn, params, inputs = of_dict()
  structure = gsm_optax.channels(apply_fn, params, inputs)
  with pytest.raises(ValueError, match=r"'a' had the shape \(6, 8\), not \(6, 9\)"):
    gsm_optax.magnitude_mask(
      {**params, "a": jnp.ones((6, 9))}, 0.5, structure=structure
    )
  with pytest.raises(ValueError, match="made for params of another tree"):
    gsm_optax.gsm(0.1, structure=structure).init({**params, "d": jnp.ones((2, 2))})


def test_a_function_without_units_is_refused():
  def apply_fn(params, x):
    return jax.nn.softmax(x @ params["a"]) @ params["c"]

  params = {"a": jnp.ones((6, 4)), "c": jnp.ones((4, 3))}
  with pytest.raises(ValueError, match="no units to choose from"):
    gsm_optax.channels(apply_fn, params, VECTOR)
  with pytest.raises(ValueError, match="'weights', 'multiply-adds' or None"):
    gsm_optax.channels(apply_fn, params, VECTOR, cost="time")  # type: ignore


def test_shapes_are_enough():
  apply_fn, params, inputs = of_dict()
  abstract = jax.eval_shape(lambda: (params, inputs))
  structures = [
    gsm_optax.channels(apply_fn, *abstract),
    gsm_optax.channels(apply_fn, params, inputs),
  ]
  masks = [gsm_optax.magnitude_mask(params, 0.5, structure=x) for x in structures]
  chex.assert_trees_all_equal(*masks)


def test_a_unit_whose_scale_is_zero_is_not_pruned_yet():
  apply_fn, params, inputs = NETWORKS["linen, residual"]()
  params["BatchNorm_1"]["scale"] *= 0
  structure = gsm_optax.channels(apply_fn, params, inputs, by_normalisation=True)
  tx = gsm_optax.gsm(0.0, 0.99, structure=structure, prune_from=0)
  updates, _ = tx.update(params, tx.init(params), params)
  left = optax.apply_updates(params, updates)["Conv_1"]["kernel"]
  assert (left != 0).any((0, 1, 2)).sum() >= 3


def test_a_weight_on_a_diagonal_counts_once():
  def apply_fn(params, x):
    h = jnp.tanh(x @ params["i"])
    h = jnp.tanh(h @ params["w"] + x @ params["i"])
    return h @ params["o"]

  rng = np.random.default_rng(0)
  shapes = {"i": (6, 4), "w": (4, 4), "o": (4, 3)}
  params = {
    name: jnp.asarray(rng.normal(size=shape), jnp.float32)
    for name, shape in shapes.items()
  }
  for score in ("sum", "mean"):
    structure = gsm_optax.channels(apply_fn, params, VECTOR, score=score)
    assert str(structure) == "channels\n4 units: i[1], o[0], w[0], w[1]"
    (units,) = structure.to_units(jax.tree.map(jnp.abs, params)).values()
    i, w, o = (np.abs(np.asarray(params[name])) for name in "iwo")
    total = i.sum(0) + o.sum(1) + w.sum(0) + w.sum(1) - np.diagonal(w)
    expected = total if score == "sum" else total / (6 + 3 + 4 + 4 - 1)
    np.testing.assert_allclose(units, expected, rtol=1e-5)


def test_parts_of_the_params_are_refused():
  apply_fn, params, inputs = of_dict()
  structure = gsm_optax.channels(apply_fn, params, inputs)
  for other in (params["a"], {"params": params}, list(params.values())):
    with pytest.raises(ValueError, match="made for params of another tree"):
      gsm_optax.magnitude_mask(other, 0.5, structure=structure)
  with pytest.raises(ValueError, match="must be made by"):
    gsm_optax.sparsity_report(params, structure=gsm_optax.blocks)  # type: ignore
  with pytest.raises(ValueError, match="name it"):
    gsm_optax.prune(params, structure)  # type: ignore
  with pytest.raises(ValueError, match="of 12 units is less than one unit"):
    gsm_optax.prune(params, 0.01, structure=structure)
  with pytest.raises(ValueError, match="must be a function"):
    gsm_optax.channels(apply_fn, params, inputs, groups=["a"])  # type: ignore


def test_variables_and_swapped_arguments_are_refused():
  params = {"a": jnp.ones((2, 3)), "b": jnp.ones((3, 2))}
  variables = {"params": params, "batch_stats": {"mean": jnp.ones(3)}}
  x = jnp.ones((1, 2))

  def apply_fn(params, x):
    return jax.nn.relu(x @ params["a"]) @ params["b"]

  def apply_variables(variables, x):
    return apply_fn(variables["params"], x)

  with pytest.raises(ValueError, match="Beside the params this holds 'batch_stats'"):
    gsm_optax.channels(apply_variables, variables, x)
  with pytest.raises(ValueError, match="not 'dict'"):
    gsm_optax.channels(params, apply_fn, x)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("pure", [False, True])
def test_flax_nnx_unwraps_its_params_for_the_optimizer(pure):
  nnx = pytest.importorskip("flax.nnx")
  rngs = nnx.Rngs(0)
  model = nnx.Sequential(
    nnx.Linear(5, 8, rngs=rngs), jax.nn.relu, nnx.Linear(8, 4, rngs=rngs)
  )
  graph, params = nnx.split(model)
  x = jnp.ones((1, 5))

  def unwrapped(state):
    return jax.tree.map(
      lambda each: each[...], state, is_leaf=lambda each: isinstance(each, nnx.Variable)
    )

  made_of = unwrapped(params) if pure else params
  units = gsm_optax.channels(lambda p, x: nnx.merge(graph, p)(x), made_of, x)
  tx = gsm_optax.gsm(0.1, 0.5, structure=units, prune_from=0)
  optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
  optimizer.update(model, jax.tree.map(jnp.ones_like, nnx.state(model)))
  for state in (nnx.state(model), unwrapped(nnx.state(model))):
    assert gsm_optax.sparsity_report(state, structure=units).units[0].kept == 4
