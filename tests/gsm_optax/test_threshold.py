"""The search is a bisection that takes fewer passes: it finds the same threshold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsm_optax._threshold import _passes, reaches
from gsm_optax._threshold._bisection import bisect
from gsm_optax._threshold._candidates import Bracket, next_candidates
from gsm_optax._threshold._passes import reduce_apart, reduce_together, take_pass
from gsm_optax._threshold._patterns import bit_pattern
from gsm_optax._threshold._scores import SMALL, TOGETHER, Scores, as_it_lies, in_rows
from gsm_optax._threshold._search import init, is_done, search, step
from gsm_optax._threshold._wide_int import WideInt

few = settings(deadline=None, derandomize=True, max_examples=60)

SHAPES = [(3, 5), (40,), (2, 3, 7)]
SIZE = sum(int(np.prod(shape)) for shape in SHAPES)
VALUES = st.sampled_from([0.0, 2.0**-149, 1e-40, 1.0, 1.0 + 2.0**-23, 3e38, np.inf])
SCORES = st.lists(
  VALUES | st.floats(0, float(np.finfo(np.float32).max), width=32),
  min_size=SIZE,
  max_size=SIZE,
)


@jax.jit
def by_bisection(leaves, rank):
  return bisect([bit_pattern(leaf) for leaf in leaves], rank)


def cut(flat):
  ends = np.cumsum([int(np.prod(shape)) for shape in SHAPES])[:-1]
  parts = np.split(np.asarray(flat, np.float32), ends)
  return [jnp.asarray(x.reshape(s)) for x, s in zip(parts, SHAPES, strict=True)]


@given(flat=SCORES, rank=st.integers(1, SIZE), start=VALUES | st.just(np.nan))
@few
def test_the_search_finds_what_bisection_finds_wherever_it_starts(flat, rank, start):
  leaves, rank = cut(flat), WideInt.of(rank)
  expected = jax.lax.bitcast_convert_type(by_bisection(leaves, rank), jnp.float32)
  found, _ = search([(x,) for x in leaves], jnp.asarray, rank, jnp.float32(start))
  assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()


@given(flat=SCORES, rank=st.integers(1, SIZE))
@settings(few, max_examples=10)
def test_every_pass_keeps_the_threshold_in_a_bracket_that_shrinks(flat, rank):
  leaves = cut(flat)
  scores = Scores.of([(x,) for x in leaves], jnp.asarray)
  bits = np.sort(np.concatenate([np.ravel(x) for x in leaves]).view(np.int32))[::-1]
  state = init(SIZE, WideInt.of(rank), jnp.float32(1))
  while not is_done(state):
    before, state = state.bracket, step(scores, state)
    low, high = int(state.bracket.low), int(state.bracket.high)
    assert low <= bits[rank - 1] < high
    assert high - low < int(before.high) - int(before.low) or is_done(state)
    assert int(state.bracket.reached_high) == np.sum(bits >= high) < rank
    if low > 0:
      assert int(state.bracket.reached_low) == np.sum(bits >= low) >= rank
    candidates = np.asarray(state.candidates)
    assert np.all(np.diff(candidates) >= 0)
    if not is_done(state):
      assert low < candidates[0]
      assert candidates[-1] < high
  assert int(state.answer) == bits[rank - 1]


@pytest.mark.parametrize("count", [1, 2, TOGETHER, TOGETHER + 1])
def test_small_leaves_are_joined_and_large_ones_are_not(count):
  small = [(jnp.full((2, 3), 1.0 + i),) for i in range(count)]
  large = (jnp.ones((SMALL, 1)),)
  scores = Scores.of([*small, large], jnp.asarray)
  assert len(scores.joined) == (0 if count == 1 else -(-count // TOGETHER))
  assert len(scores.whole) == (2 if count == 1 else 1)
  assert scores.size == 6 * count + SMALL


@pytest.mark.parametrize("reduce", [reduce_together, reduce_apart])
@pytest.mark.parametrize("arrange", [in_rows, as_it_lies])
@pytest.mark.parametrize(
  "shape",
  [(), (7,), (1031,), (3, 5), (4099, 3), (2048, 10), (3, 3, 8, 16), (1, 1, 1500, 2)],
)
def test_every_machine_counts_the_same(shape, arrange, reduce, monkeypatch):
  monkeypatch.setattr(_passes, "in_rows", arrange)
  monkeypatch.setattr(_passes, "reduce_together", reduce)
  values = np.random.default_rng(0).lognormal(size=shape).astype(np.float32)
  candidates = np.sort(np.quantile(values, np.linspace(0, 1, 9))).astype(np.float32)
  patterns = jnp.asarray(candidates.view(np.int32))
  scores = Scores.of([(jnp.asarray(values),)], jnp.asarray)
  reached, least = take_pass(scores, patterns, patterns[4], jnp.asarray(False))
  expected = [np.sum(values >= candidate) for candidate in candidates]
  assert [int(reached[i]) for i in range(9)] == expected
  at_least = values[values >= candidates[4]]
  assert int(least) == at_least.min().view(np.int32)


def test_candidates_divide_a_bracket_evenly_where_interpolation_has_missed():
  bracket = Bracket(jnp.int32(1000), jnp.int32(2000), WideInt.of(50), WideInt.of(10))
  missed = jnp.asarray(True)
  first, *even = next_candidates(bracket, WideInt.of(20), 100, missed).tolist()
  assert first == 1001
  assert even == [1000 + 111 * i for i in range(1, 9)]


@pytest.mark.parametrize("nan", [np.nan, -np.nan])
def test_what_is_not_a_number_reaches_every_threshold(nan):
  scores = jnp.array([nan, 0.0, 2.0**-149, 1.0, np.inf])
  for threshold, expected in (
    (0.0, [True, True, True, True, True]),
    (2.0**-149, [True, False, True, True, True]),
    (2.0, [True, False, False, False, True]),
    (np.inf, [True, False, False, False, True]),
  ):
    assert reaches(scores, jnp.float32(threshold)).tolist() == expected
