"""Widths in multiples of a number, which leave the function what it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

import gsm_optax
from tests.gsm_optax.shrink.hidden_layer import numbers
from tests.gsm_optax.shrink.random_networks import PLANS, network
from tests.gsm_optax.shrink.test_property import LIMITS, assert_equal

pytestmark = pytest.mark.usefixtures("x64")


def two_layers(params, x):
  x = jax.nn.relu(x @ params["a"] + params["bias"])
  return jax.nn.relu(x @ params["b"]) @ params["c"]


@pytest.fixture
def params():
  """Of ten and twelve hidden units five and seven are alive, one constant."""
  return {
    "a": numbers(3, 10, zero_columns=[0, 3, 4, 6, 9]),
    "bias": np.where(np.arange(10) == 3, 0.5, np.where(np.arange(10) == 6, -1, 0)),
    "b": numbers(10, 12, zero_columns=[1, 2, 5]),
    "c": numbers(12, 2, zero_rows=[0, 11]),
  }


@pytest.mark.parametrize(
  ("round_to", "widths"),
  [(1, (5, 7)), (2, (6, 8)), (4, (8, 8)), (5, (5, 10)), (7, (7, 7)), (64, (10, 12))],
)
def test_hidden_units(params, round_to, widths):
  x = numbers(4, 3)
  small = gsm_optax.shrink(two_layers, params, x, round_to=round_to)
  assert small.params["b"].shape == widths
  assert small.units[1] == 3 + sum(widths)
  assert_equal(small.apply_fn(small.params, x), two_layers(params, x))
  assert small.slice(params)["a"].shape == (3, widths[0])
  # Other shapes of the inputs are looked at anew, and leave the same.
  more = numbers(9, 3)
  assert_equal(small.apply_fn(small.params, more), two_layers(params, more))


def test_each_group_has_its_own_number(params):
  seen = []

  def round_to(group):
    seen.append(group.size)
    return np.int64(8) if ("a", 1) in group.members else 1

  small = gsm_optax.shrink(two_layers, params, numbers(4, 3), round_to=round_to)
  assert small.params["b"].shape == (8, 7)
  assert set(seen) == {3, 10, 12}


def test_what_a_unit_needs_stays_with_it():
  """The second layer's units need the first one's, which are rounded in turn."""
  params = {
    "a": numbers(3, 8),
    "b": numbers(8, 9, zero_rows=[0]),
    "c": numbers(9, 2, zero_rows=[0, 1, 2, 3]),
  }
  params["b"][1:4, 4:] = 0  # only the second layer's dead units take these
  bias = {"bias": np.zeros(8)}
  x = numbers(4, 3)
  exactly = gsm_optax.shrink(two_layers, params | bias, x)
  assert exactly.params["b"].shape == (4, 5)
  small = gsm_optax.shrink(
    two_layers, params | bias, x, round_to=lambda g: 2 if ("c", 0) in g.members else 3
  )
  rows, columns = small.params["b"].shape
  assert columns == 6
  assert rows == 8  # seven are needed; nine there are not
  assert_equal(small.apply_fn(small.params, x), two_layers(params | bias, x))


def test_units_of_your_choice_are_rounded_as_they_are(params):
  mask = {name: np.ones(leaf.shape, bool) for name, leaf in params.items()}
  mask["a"][:, 1:] = mask["bias"][1:] = mask["b"][1:] = False
  x = numbers(4, 3)
  small = gsm_optax.shrink(two_layers, params, x, keep=mask, round_to=4)
  assert small.params["b"].shape == (4, 12)
  wanted = dict(params, b=params["b"].copy())
  wanted["b"][4:] = 0
  assert_equal(small.apply_fn(small.params, x), two_layers(wanted, x))


def test_channels_and_the_pixels_that_are_flattened():
  params = {
    "conv": numbers(3, 3, 2, 9, zero_columns=[2, 5, 7, 8]),
    "dense": numbers(36, 4),
  }

  def apply_fn(params, x):
    x = jax.lax.conv_general_dilated(
      x, params["conv"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jax.nn.relu(x).reshape(len(x), -1) @ params["dense"]

  x = numbers(3, 2, 2, 2)
  small = gsm_optax.shrink(apply_fn, params, x, round_to=8)
  assert small.params["conv"].shape == (3, 3, 2, 8)
  # Five channels have 20 rows, and 4 of 12 come back.
  assert small.params["dense"].shape == (24, 4)
  assert_equal(small.apply_fn(small.params, x), apply_fn(params, x))


@LIMITS
@given(plan=PLANS, round_to=st.sampled_from([2, 3]))
def test_random_networks(plan, round_to):
  apply_fn, params, few, many = network(plan)
  small = gsm_optax.shrink(apply_fn, params, few, round_to=round_to)
  note(str(small))
  for x in (few, many):
    assert_equal(small.apply_fn(small.params, x), apply_fn(params, x))
  index = {n: np.arange(leaf.size).reshape(leaf.shape) for n, leaf in params.items()}
  slices = small.slice(index)
  for group in gsm_optax.channel_groups(apply_fn, params, few).groups:
    left = set[int]()
    for (path, axis), units in group.members.items():
      positions = np.unravel_index(slices[path].ravel(), index[path].shape)[axis]
      left.update(units[positions].tolist())
    number = len(left - {-1})
    assert number % round_to == 0 or number == group.size


@pytest.mark.parametrize("wrong", [0, -8, 8.0, True, "8", None, jnp.int32(8)])
def test_numbers_to_round_to(params, wrong):
  with pytest.raises(ValueError, match="`round_to` must be a whole number from 1 on"):
    gsm_optax.shrink(two_layers, params, numbers(4, 3), round_to=wrong)


@pytest.mark.parametrize("wrong", [0, None, 2.5])
def test_numbers_that_a_function_returns(params, wrong):
  with pytest.raises(ValueError, match="must return a whole number from 1 on"):
    gsm_optax.shrink(two_layers, params, numbers(4, 3), round_to=lambda _: wrong)
