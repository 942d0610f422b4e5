"""On eight devices, whatever the layout, all is as on one (see test_sharding)."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import gsm_optax
from gsm_optax._threshold._search import search
from gsm_optax._threshold._wide_int import WideInt

SHAPES = {
  "conv": (3, 3, 64, 128),
  "dense": (784, 304),
  "small": (8, 16),
  "bias": (64,),
}
DENSITY = 1 / 30


def tree(seed):
  rng = np.random.default_rng(seed)
  return {
    name: (rng.normal(size=shape) * 10.0**i).astype(np.float32)
    for i, (name, shape) in enumerate(SHAPES.items())
  }


PARAMS, GRADIENTS, EARLIER = tree(0), tree(1), tree(2)

LAYOUTS = {
  "data parallel": {name: P() for name in SHAPES},
  "fully sharded": {
    "conv": P(None, None, ("x", "y")),
    "dense": P(("x", "y")),
    "small": P(("x", "y")),
    "bias": P(("x", "y")),
  },
  "tensor parallel": {
    "conv": P(None, None, None, ("x", "y")),
    "dense": P(None, ("x", "y")),
    "small": P(None, ("x", "y")),
    "bias": P(),
  },
  "mixed": {
    "conv": P(None, None, "x", "y"),
    "dense": P("y", "x"),
    "small": P(),
    "bias": P("x"),
  },
}


def mesh_of(kind):
  return jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind,) * 2)


def place(values, mesh, layout):
  shardings = {name: NamedSharding(mesh, spec) for name, spec in layout.items()}
  return jax.device_put(values, shardings)


def transformation():
  return gsm_optax.keep_top_saliency(DENSITY)


def expected():
  """Updates and state on one device, after a first step with other gradients."""
  tx = transformation()
  _, state = tx.update(EARLIER, tx.init(PARAMS), PARAMS)
  return tx.update(GRADIENTS, state, PARAMS)


@pytest.fixture(scope="module")
def on_one_device():
  return expected()


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_layout_gives_the_bits_of_one_device(layout, kind, on_one_device):
  mesh, tx = mesh_of(kind), transformation()
  params, gradients, earlier = (
    place(values, mesh, layout) for values in (PARAMS, GRADIENTS, EARLIER)
  )
  with jax.set_mesh(mesh):
    update = jax.jit(tx.update)
    _, state = update(earlier, tx.init(params), params)
    updates, state = update(gradients, state, params)
  chex.assert_trees_all_equal((updates, state), on_one_device)
  for name in ("conv", "dense"):
    assert updates[name].sharding.is_equivalent_to(
      params[name].sharding, params[name].ndim
    )


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_explicit_axes_need_no_mesh_to_be_set(layout, on_one_device):
  mesh, tx = mesh_of(AxisType.Explicit), transformation()
  params, gradients, earlier = (
    place(values, mesh, layout) for values in (PARAMS, GRADIENTS, EARLIER)
  )
  _, state = jax.jit(tx.update)(earlier, tx.init(params), params)
  updates, state = jax.jit(tx.update)(gradients, state, params)
  chex.assert_trees_all_equal((updates, state), on_one_device)
  assert gsm_optax.global_threshold(params, 9) == gsm_optax.global_threshold(PARAMS, 9)


def compiled_update(layout, kind=AxisType.Auto):
  mesh, tx = mesh_of(kind), transformation()
  params, gradients = (place(values, mesh, layout) for values in (PARAMS, GRADIENTS))
  with jax.set_mesh(mesh):
    return jax.jit(tx.update).lower(gradients, tx.init(params), params).compile()


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("name", LAYOUTS)
def test_nothing_is_moved_but_a_few_counts_per_pass(name, kind):
  text = compiled_update(LAYOUTS[name], kind).as_text()
  operations = re.findall(r"= (.+?) ([a-z][a-z-]*)\(", text)
  names = {operation for _, operation in operations}
  assert not names & {"all-gather", "all-to-all", "collective-permute", "sort"}
  reductions = [kinds for kinds, operation in operations if operation == "all-reduce"]
  for kinds in reductions:
    assert set(re.findall(r"\[(.*?)\]", kinds)) <= {"", "9"}  # scalars, or counts
  # A pass adds up counts or finds the least, in one operation where all leaves are
  # split along the same mesh axes; two kernels that are split in different orders need
  # one each, and one for both.
  a_pass = {"data parallel": 0, "fully sharded": 1, "tensor parallel": 1, "mixed": 3}
  assert len(reductions) == 2 * a_pass[name]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_five_passes_are_enough_as_a_rule_from_a_noisy_start(layout):
  names = ("conv", "dense")
  values = {name: np.abs(PARAMS[name] * GRADIENTS[name]) for name in names}
  shardings = {name: LAYOUTS[layout][name] for name in names}
  placed = place(values, mesh_of(AxisType.Auto), shardings)
  scores = [(placed[name],) for name in names]
  find = jax.jit(
    lambda scores, rank, start: search(scores, jnp.asarray, WideInt.of(rank), start)
  )
  ordered = np.sort(np.concatenate([np.ravel(x) for x in values.values()]))
  noise = np.exp(np.random.default_rng(0).normal(0, 1 / 3, 20))
  passes = []
  for i, factor in enumerate(noise):
    rank = 10_000 + 41 * i
    found, number = find(scores, jnp.int32(rank), ordered[-rank] * factor)
    assert found == ordered[-rank]
    passes.append(int(number))
  assert np.median(passes) <= 5


def test_a_device_needs_no_more_memory_than_its_scores():
  compiled = compiled_update(LAYOUTS["fully sharded"])
  shard = sum(np.prod(shape) for name, shape in SHAPES.items() if name != "bias") / 8
  assert compiled.memory_analysis().temp_size_in_bytes <= 4 * shard + 100_000


def test_shardings_given_to_jit_alone_are_enough(on_one_device):
  mesh, tx = mesh_of(AxisType.Auto), transformation()
  shardings = {name: NamedSharding(mesh, s) for name, s in LAYOUTS["mixed"].items()}
  update = jax.jit(tx.update, in_shardings=(shardings, None, shardings))
  _, state = update(EARLIER, tx.init(PARAMS), PARAMS)
  chex.assert_trees_all_equal(update(GRADIENTS, state, PARAMS), on_one_device)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_in_shard_map_the_shards_are_one_model(layout, on_one_device):
  mesh, tx = mesh_of(AxisType.Auto), transformation()
  update = jax.jit(
    jax.shard_map(
      tx.update,
      mesh=mesh,
      in_specs=(layout, P(), layout),
      out_specs=(layout, P()),
    )
  )
  _, state = update(EARLIER, tx.init(PARAMS), PARAMS)
  chex.assert_trees_all_equal(update(GRADIENTS, state, PARAMS), on_one_device)


def test_in_pmap_each_replica_is_a_model():
  tx = transformation()
  replicate = lambda values: jax.tree.map(lambda leaf: np.stack([leaf] * 8), values)  # noqa: E731
  gradients = jax.tree.map(
    lambda *leaves: np.stack(leaves), *(tree(i) for i in range(8))
  )
  state = replicate(tx.init(PARAMS))
  updates, _ = jax.pmap(tx.update)(gradients, state, replicate(PARAMS))
  for i in range(8):
    alone, _ = tx.update(tree(i), tx.init(PARAMS), PARAMS)
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf, i=i: leaf[i], updates), alone)


def test_the_whole_optimizer_keeps_the_layout_and_the_bits():
  mesh = mesh_of(AxisType.Auto)
  tx = gsm_optax.gsm(0.01, DENSITY)

  def steps(params, gradients):
    def body(_, carry):
      params, state = carry
      updates, state = tx.update(gradients, state, params)
      return optax.apply_updates(params, updates), state

    return jax.lax.fori_loop(0, 5, body, (params, tx.init(params)))

  alone, _ = jax.jit(steps)(PARAMS, GRADIENTS)
  params, gradients = (
    place(values, mesh, LAYOUTS["mixed"]) for values in (PARAMS, GRADIENTS)
  )
  sharded, _ = jax.jit(steps)(params, gradients)
  chex.assert_trees_all_equal(sharded, alone)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_pruning_sharded_params_is_pruning_them_whole(kind):
  mesh = mesh_of(kind)
  rounded = jax.tree.map(np.round, PARAMS)  # many ties
  params = place(rounded, mesh, LAYOUTS["mixed"])
  with jax.set_mesh(mesh):
    pruned = jax.jit(lambda params: gsm_optax.prune(params, DENSITY))(params)
    with pytest.warns(UserWarning, match="has not vanished"):
      gsm_optax.prune(params, DENSITY)
    report = gsm_optax.sparsity_report(pruned)
  expected = gsm_optax.apply_mask(rounded, gsm_optax.magnitude_mask(rounded, DENSITY))
  chex.assert_trees_all_equal(pruned, expected)
  assert report == gsm_optax.sparsity_report(expected)


def test_several_runs_at_once_under_vmap():
  tx = transformation()
  runs = [(tree(i), tree(i + 100)) for i in range(3)]
  gradients, params = (
    jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    for trees in zip(*runs, strict=True)
  )
  state = tx.init(PARAMS)
  together, states = jax.vmap(tx.update, in_axes=(0, None, 0))(gradients, state, params)
  for i, (gradient, param) in enumerate(runs):
    alone, alone_state = tx.update(gradient, state, param)
    chex.assert_trees_all_equal(
      jax.tree.map(lambda leaf, i=i: leaf[i], together), alone
    )
    assert states.threshold[i] == alone_state.threshold
