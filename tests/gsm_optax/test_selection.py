"""`global_threshold` is the q-th greatest score, to the last bit."""

import math

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gsm_optax import global_threshold, keep_top_saliency, prune
from gsm_optax._threshold._search import search
from gsm_optax._threshold._wide_int import WideInt

few = settings(
  deadline=None,
  derandomize=True,
  max_examples=60,
  # `x64` is the same for every example.
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)

# Each is compiled once, so they are few: scalars, empty leaves, every type and mix.
TREES = (
  [((), np.float16)],
  [((), np.float32), ((0,), np.float32), ((3, 4), np.float32)],
  [((2, 8), ml_dtypes.bfloat16), ((0, 3), np.float16)],
  [((5,), np.float16), ((2, 3), ml_dtypes.bfloat16), ((1, 2, 1), np.float32)],
  [((4,), np.float64), ((), np.float64)],
  [((3,), np.float64), ((2, 2), np.float32), ((3,), np.float16)],
)
SPECIAL = [
  0.0,
  1.0,  # drawn often: ties
  np.inf,
  5e-324,  # the least subnormal of float64, float32, bfloat16 and float16
  2.0**-149,
  2.0**-133,
  2.0**-24,
  1e-310,  # other subnormals, and the least normal numbers
  1e-40,
  2.0**-126,
  2.0**-1022,
  3e38,  # close to the largest
  65504.0,
  1 + 2.0**-52,  # one unit in the last place from a tie
  1 + 2.0**-23,
  1 + 2.0**-7,
]
SCORE = st.sampled_from(SPECIAL) | st.floats(min_value=0, allow_nan=False)


@st.composite
def score_trees(draw, score=SCORE):
  def leaf(shape, dtype):
    size = int(np.prod(shape))
    values = draw(st.lists(score, min_size=size, max_size=size))
    with np.errstate(over="ignore"):
      return np.abs(np.array(values)).astype(dtype).reshape(shape)

  return [leaf(shape, dtype) for shape, dtype in draw(st.sampled_from(TREES))]


def partition(leaves, q):
  """NumPy's answer, in float64 if a leaf is, else in float32."""
  dtype = np.float64 if any(leaf.dtype == np.float64 for leaf in leaves) else np.float32
  scores = np.concatenate([leaf.astype(dtype).ravel() for leaf in leaves])
  numbers = scores[~np.isnan(scores)]
  return np.partition(numbers, -q)[-q] if q <= numbers.size else dtype(0)


def bits(scalar):
  return np.asarray(scalar).dtype, np.asarray(scalar).tobytes()


def rank(data, leaves):
  return data.draw(st.integers(1, sum(leaf.size for leaf in leaves)), label="q")


@pytest.mark.parametrize("run", [global_threshold, jax.jit(global_threshold)])
@pytest.mark.usefixtures("x64")
@given(leaves=score_trees(), data=st.data())
@few
def test_is_numpys_partition_bit_for_bit_in_eager_as_in_jit(run, leaves, data):
  q = rank(data, leaves)
  assert bits(run(leaves, q)) == bits(partition(leaves, q))


@pytest.mark.usefixtures("x64")
@given(leaves=score_trees(SCORE | st.just(np.nan)), data=st.data())
@few
def test_nan_takes_no_place(leaves, data):
  q = rank(data, leaves)
  assert bits(jax.jit(global_threshold)(leaves, q)) == bits(partition(leaves, q))


@pytest.mark.usefixtures("x64")
@given(leaves=score_trees(), data=st.data())
@settings(few, max_examples=20)
def test_the_order_of_leaves_changes_nothing(leaves, data):
  q = rank(data, leaves)
  permuted = data.draw(st.permutations(leaves))
  assert bits(global_threshold(permuted, q)) == bits(global_threshold(leaves, q))


def test_without_x64_the_answer_for_large_leaves_is_numpys_too():
  scores = np.random.default_rng(0).lognormal(sigma=10, size=(300, 1000))
  scores = scores.astype(np.float32)
  for q in (1, 2, 3_000, 299_999, 300_000):
    assert bits(global_threshold(scores, q)) == bits(partition([scores], q))


def test_negative_zero_counts_as_zero():
  scores = jnp.array([-0.0, 2.0, -0.0])
  assert [float(global_threshold(scores, q)) for q in (1, 2, 3)] == [2, 0, 0]


def test_is_zero_where_there_are_fewer_numbers_than_places():
  scores = jnp.array([np.nan, 3.0, np.nan])
  assert [float(global_threshold(scores, q)) for q in (1, 2, 3)] == [3, 0, 0]


@pytest.mark.parametrize("tree", [{}, None, [jnp.zeros(0), jnp.zeros((2, 0))]])
def test_a_tree_without_scores_is_an_error(tree):
  with pytest.raises(ValueError, match="no scores"):
    global_threshold(tree, 1)


def test_scores_that_are_not_floating_point_are_an_error():
  with pytest.raises(ValueError, match=r"must be floating-point.* int32"):
    global_threshold({"a": jnp.ones(2), "b": jnp.arange(3)}, 1)


@pytest.mark.parametrize("q", [-1, 0, 4, np.int64(4), np.array(4), jnp.int8(-1)])
def test_a_rank_outside_the_tree_is_an_error(q):
  with pytest.raises(ValueError, match=f"from 1 to 3, the number of scores, not {q}"):
    global_threshold(jnp.ones(3), q)


@pytest.mark.parametrize("q", [0.5, np.float32(2), jnp.ones(()), True, "2", None, [1]])
def test_a_rank_that_is_no_whole_number_is_an_error(q):
  with pytest.raises(ValueError, match="a whole one, not") as error:
    global_threshold(jnp.ones(3), q)
  assert repr(q) in str(error.value)


def test_a_traced_rank_outside_the_tree_is_clipped():
  scores = jnp.array([3.0, 1.0, 2.0])
  threshold = jax.jit(lambda q: global_threshold(scores, q))
  found = [float(threshold(q)) for q in (-(2**31), 0, 1, 2, 3, 4, 2**31 - 1)]
  assert found == [3, 3, 3, 2, 1, 1, 1]


# The number of passes


def search_passes(operands, q, start):
  found, passes = search(operands, lambda x: x, WideInt.of(q), jnp.float32(start))
  return float(found), int(passes)


def half_normal(shape, seed):
  return jnp.abs(jax.random.normal(jax.random.key(seed), shape))


WORST = {
  "one value": jnp.full((300, 400), 0.3),
  "neighbours": 1 + jnp.arange(120_000).reshape(300, 400) % 50 * 2.0**-23,
  "two heaps": jnp.where(half_normal((300, 400), 0) > 0.5, 1e-20, 1e10),
  "all patterns": jax.lax.bitcast_convert_type(
    jax.random.randint(jax.random.key(0), (300, 400), 0, 0x7F800000), jnp.float32
  ),
  "zeros": jnp.zeros((300, 400)),
}


@pytest.mark.parametrize("scores", WORST.values(), ids=WORST.keys())
@pytest.mark.parametrize("start", [0.0, 1.0, 1e-30, np.inf, np.nan, -1.0])
def test_no_input_takes_more_than_17_passes_and_no_start_changes_the_answer(
  scores, start
):
  descending = np.sort(np.ravel(scores))[::-1]
  for q in (1, 1000, 60_000, scores.size):
    found, passes = search_passes([(scores,)], q, start)
    assert found == descending[q - 1]
    assert passes <= 17


def test_four_or_five_passes_are_the_rule_with_the_last_threshold():
  shapes = [(784, 300), (300, 100), (100, 10)]
  scores = [(half_normal(shape, i),) for i, shape in enumerate(shapes)]
  found, cold = search_passes(scores, 4436, 0.0)
  warm = [
    search_passes(scores, 4436, found * share)[1] for share in np.linspace(0.9, 1.1, 20)
  ]
  rescaled = [
    search_passes(scores, 4436, found * scale)[1] for scale in (1e-3, 0.1, 10, 1e3)
  ]
  assert np.mean(warm) <= 5
  assert max(warm) <= 6
  assert max(cold, *rescaled) <= 8


def test_a_start_as_noisy_as_batches_make_it_costs_half_a_pass_at_most():
  shapes = [(784, 300), (300, 100), (100, 10)]
  scores = [
    (half_normal(shape, i) * half_normal(shape, i + 9),)
    for i, shape in enumerate(shapes)
  ]
  found, _ = search_passes(scores, 4436, 0.0)
  # From step to step the threshold of LeNet-300-100 changes by a third.
  noise = np.exp(np.random.default_rng(0).normal(0, 1 / 3, 60))
  passes = [search_passes(scores, 4436, found * factor)[1] for factor in noise]
  assert np.mean(passes) <= 5


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_the_least_of_all_takes_one_pass(start):
  scores = half_normal((300, 400), 0)
  found, passes = search_passes([(scores,)], scores.size, start)
  assert (found, passes) == (scores.min(), 1)


def test_scores_of_which_many_are_equal_take_no_more_passes():
  # Products of two numbers of eight bits each, as of bfloat16 gradients and weights.
  short = [half_normal((300, 400), seed).astype(jnp.bfloat16) for seed in (0, 1)]
  scores = short[0].astype(jnp.float32) * short[1].astype(jnp.float32)
  descending = np.sort(np.ravel(scores))[::-1]
  ranks = range(500, 100_000, 5_000)
  found = [search_passes([(scores,)], q, descending[q - 1] * 1.2) for q in ranks]
  assert [value for value, _ in found] == [descending[q - 1] for q in ranks]
  assert np.mean([passes for _, passes in found]) <= 5


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_a_threshold_of_zero_takes_one_pass(start):
  scores = half_normal((300, 400), 0) * (half_normal((300, 400), 1) > 1)
  assert search_passes([(scores,)], scores.size, start) == (0, 1)


@pytest.mark.parametrize(
  "shapes", [[(30_000, 50_000)] * 2, [(2**16, 2**16)], [(2**31 - 1,), (3, 3)]]
)
def test_more_weights_than_32_bits_can_number_are_lowered(shapes):
  # Not run: that would take 16 GB.
  leaves = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  for smoothing in (None, 0.5):
    tx = keep_top_saliency(0.1, prunable=True, smoothing=smoothing)
    update = jax.jit(lambda leaves, tx=tx: tx.update(leaves, tx.init(leaves), leaves))
    assert update.lower(leaves).out_info[1].threshold.shape == ()
  pruned = jax.jit(lambda leaves: prune(leaves, 0.1, prunable=True)).lower(leaves)
  assert [leaf.shape for leaf in pruned.out_info] == shapes
  size = sum(math.prod(shape) for shape in shapes)
  jax.jit(lambda leaves: global_threshold(leaves, size)).lower(leaves)
