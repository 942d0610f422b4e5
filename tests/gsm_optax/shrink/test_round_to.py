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


def test_what_has_gone_does_not_come_back_with_what_needs_it():
  """Each layer's units need those before, of which thirteen have an effect."""
  params = {f"w{n}": np.roll(np.eye(32), -8, 1) for n in range(3)}
  params["out"] = numbers(32, 3)
  params["out"][13:] = 0

  def apply_fn(params, x):
    for n in range(3):
      x = jnp.tanh(x @ params[f"w{n}"])
    return x @ params["out"]

  x = numbers(4, 32)
  small = gsm_optax.shrink(apply_fn, params, x, round_to=8)
  assert [small.params[f"w{n}"].shape for n in range(3)] == [(16, 16)] * 3
  assert_equal(small.apply_fn(small.params, x), apply_fn(params, x))
  more = numbers(7, 32)
  assert_equal(small.apply_fn(small.params, more), apply_fn(params, more))


def test_what_comes_back_adds_nothing_whatever_constants_add_to_it():
  """Without the constant the second layer's first unit would be 0.5 in place of 0."""

  def apply_fn(params, x):
    first = jax.nn.relu(x @ params["a"] + params["bias"])
    second = jax.nn.relu(first @ params["b"] + 0.5)
    # The constant stays as long as the sum below is made of it, and so of the unit.
    return second @ params["c"] + jnp.tanh(first.sum(-1, keepdims=True) @ params["d"])

  params = {
    "a": numbers(3, 6, zero_columns=[0, 5]),
    "bias": np.array([2.0, 0.0, 0.0, 0.0, 0.0, -1.0]),
    "b": numbers(6, 5, zero_columns=[0, 4]),
    "c": numbers(5, 2),
    "d": np.zeros((1, 2)),
  }
  params["b"][0] = [-3.0, 0.1, 0.2, 0.3, -4.0]
  for round_to in (1, 2, 3, 5):
    x = numbers(4, 3)
    small = gsm_optax.shrink(apply_fn, params, x, round_to=round_to)
    assert_equal(small.apply_fn(small.params, x), apply_fn(params, x))
    more = numbers(9, 3)
    assert_equal(small.apply_fn(small.params, more), apply_fn(params, more))


def test_what_stays_in_any_case_is_counted():
  params = {"a": numbers(4, 12, zero_columns=range(5, 12)), "b": numbers(12, 3)}

  def apply_fn(params, x):
    hidden = jax.nn.relu(x @ params["a"])
    return hidden @ params["b"], hidden[:, :1]  # the first unit is an output

  small = gsm_optax.shrink(apply_fn, params, numbers(2, 4), round_to=8)
  assert small.params["a"].shape == (4, 8)


def test_units_of_your_choice_come_back_as_zeros(params):
  mask = {name: np.ones(leaf.shape, bool) for name, leaf in params.items()}
  mask["a"][:, 1:] = mask["bias"][1:] = mask["b"][1:] = False
  x = numbers(4, 3)
  small = gsm_optax.shrink(two_layers, params, x, keep=mask, round_to=4)
  assert small.params["b"].shape == (4, 12)
  assert not np.any(small.params["b"][1:])
  exactly = gsm_optax.shrink(two_layers, params, x, keep=mask)
  assert exactly.params["b"].shape == (1, 12)
  for inputs in (x, numbers(9, 3)):
    wanted = exactly.apply_fn(exactly.params, inputs)
    assert_equal(small.apply_fn(small.params, inputs), wanted)


def test_channels_come_back_with_their_pixels():
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
  assert small.params["dense"].shape == (32, 4)
  assert small.fits
  assert_equal(small.apply_fn(small.params, x), apply_fn(params, x))


def test_heads_are_rounded_by_a_function():
  size = 4

  def apply_fn(params, x):
    q, k, v = (
      (x @ params[name]).reshape(*x.shape[:2], -1, size) for name in ("q", "k", "v")
    )
    shares = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k), -1)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", shares, v)
    return mixed.reshape(*x.shape[:2], -1) @ params["out"]

  dead = np.arange(8 * size) >= 3 * size  # three of eight heads are left
  params = {name: numbers(5, 8 * size) for name in ("q", "k", "v")}
  params["out"] = numbers(8 * size, 6) * ~dead[:, None]
  x = numbers(2, 3, 5)

  def by_sizes(group):
    return 1 if group.size == 8 else size

  small = gsm_optax.shrink(apply_fn, params, x, round_to=by_sizes)
  assert small.params["out"].shape == (3 * size, 6)
  assert_equal(small.apply_fn(small.params, x), apply_fn(params, x))


@LIMITS
@given(plan=PLANS, round_to=st.sampled_from([2, 3]))
def test_random_networks(plan, round_to):
  apply_fn, params, few, many = network(plan)
  small = gsm_optax.shrink(apply_fn, params, few, round_to=round_to)
  note(str(small))
  for x in (few, many):
    assert_equal(small.apply_fn(small.params, x), apply_fn(params, x))
  widths = {leaf.path: leaf.after for leaf in small.leaves}
  for group in gsm_optax.channel_groups(apply_fn, params, few).groups:
    for (path, axis), units in group.members.items():
      if np.array_equal(np.sort(units), np.arange(group.size)):  # it has the axis alone
        width = widths[path][axis]
        assert width % round_to == 0 or width == group.size


@pytest.mark.parametrize("wrong", [0, -8, 8.0, True, "8", None, jnp.int32(8)])
def test_numbers_to_round_to(params, wrong):
  with pytest.raises(ValueError, match="`round_to` must be a whole number from 1 on"):
    gsm_optax.shrink(two_layers, params, numbers(4, 3), round_to=wrong)


@pytest.mark.parametrize("wrong", [0, None, 2.5])
def test_numbers_that_a_function_returns(params, wrong):
  whole = {name: np.ones_like(leaf) for name, leaf in params.items()}
  for each in (params, whole):  # in which nothing is dead
    with pytest.raises(ValueError, match="must return a whole number from 1 on"):
      gsm_optax.shrink(two_layers, each, numbers(4, 3), round_to=lambda _: wrong)
