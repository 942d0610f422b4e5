"""Every error comes as early as it can, names the value, and says what to do."""

from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsm_optax import (
  apply_mask,
  freeze_pruned,
  gsm,
  keep_top_saliency,
  magnitude_mask,
  prune,
  share_left,
  sparsity_report,
)

# `prune` warns of weights that have not vanished, and these have.
PARAMS = {"kernel": jnp.ones((4, 5)).at[:2].set(0), "bias": jnp.ones(5)}
TRANSFORMATIONS = [
  keep_top_saliency,
  lambda density, **settings: gsm(0.1, density, **settings),
]
PRUNERS = [
  lambda params, **settings: magnitude_mask(params, 0.5, **settings),
  lambda params, **settings: prune(params, 0.5, **settings),
  sparsity_report,
  *(
    lambda params, make=make, **settings: make(0.5, **settings).init(params)
    for make in TRANSFORMATIONS
  ),
]


@pytest.mark.parametrize("make", TRANSFORMATIONS)
def test_an_update_without_params(make):
  tx = make(0.5)
  with pytest.raises(ValueError, match="pass the params too"):
    tx.update(PARAMS, tx.init(PARAMS))


@pytest.mark.parametrize(
  "density",
  [0, -0.1, 1.0001, 2, np.nan, np.float32(1.5), np.array(2), jnp.zeros(())],
)
def test_a_density_that_is_no_share(density):
  wanted = rf"must be in \(0, 1\], but it is {density}.*0\.1 keeps a tenth"
  for make in TRANSFORMATIONS:
    with pytest.raises(ValueError, match=wanted):
      make(density)
  with pytest.raises(ValueError, match=wanted):
    prune(PARAMS, density)


def test_a_density_that_is_missing():
  for make in TRANSFORMATIONS:
    with pytest.raises(ValueError, match="`density` must be given"):
      make(None)
  with pytest.raises(ValueError, match="`density` must be given"):
    prune(PARAMS, None)


@pytest.mark.parametrize("density", [True, np.True_, "0.1", [0.1]])
def test_a_density_that_is_no_number(density):
  for make in TRANSFORMATIONS:
    with pytest.raises(ValueError, match=r"a number in \(0, 1\].*, not") as error:
      make(density)
    assert repr(density) in str(error.value)
  with pytest.raises(ValueError, match=r"a number in \(0, 1\]"):
    prune(PARAMS, density)


@pytest.mark.parametrize("smoothing", [-1, 1, np.nan, np.float32(2), jnp.ones(())])
def test_a_smoothing_that_is_no_decay_rate(smoothing):
  for make in TRANSFORMATIONS:
    with pytest.raises(ValueError, match=rf"in \[0, 1\), but it is {smoothing}"):
      make(0.5, smoothing=smoothing)


@pytest.mark.parametrize("smoothing", [True, "0.9", [0.9], np.ones(2)])
def test_a_smoothing_that_is_no_number(smoothing):
  for make in TRANSFORMATIONS:
    with pytest.raises(ValueError, match=r"a number in \[0, 1\), not") as error:
      make(0.5, smoothing=smoothing)
    assert repr(smoothing) in str(error.value)


def test_a_density_of_less_than_one_weight():
  wanted = r"0\.049 of 20 prunable weights is less than one.* at least 1/20 = 0\.05"
  for make in TRANSFORMATIONS:
    tx = make(0.049)
    with pytest.raises(ValueError, match=wanted):
      tx.init(PARAMS)
  with pytest.raises(ValueError, match=wanted):
    prune(PARAMS, 0.049)


@pytest.mark.parametrize("call", PRUNERS)
@pytest.mark.parametrize(
  ("params", "prunable"),
  [
    ({"scale": jnp.ones(3), "bias": jnp.ones(3)}, None),
    ({"kernel": jnp.ones((0, 3)), "bias": jnp.ones(3)}, None),
    ({"kernel": jnp.ones((2, 2)), "bias": jnp.ones(3)}, False),
  ],
)
def test_params_of_which_nothing_is_prunable(call, params, prunable):
  with pytest.raises(ValueError, match=r"None of the 2 leaves.*By default kernels are"):
    call(params, prunable=prunable)


def test_an_empty_tree_of_params():
  # `init` cannot tell it from the placeholder of `optax.tree.map_params`.
  tx = keep_top_saliency(0.5)
  with pytest.raises(ValueError, match="None of the 0 leaves"):
    tx.update({}, tx.init({}), {})


@pytest.mark.parametrize("call", PRUNERS)
@pytest.mark.parametrize(
  "prunable",
  [
    {"kernel": True},
    {"kernel": True, "bias": False, "other": True},
    {"kernel": True, "biases": False},
    [True],
    [True, False],
  ],
)
def test_a_prunable_tree_that_does_not_fit(call, prunable):
  for form in (prunable, lambda _: prunable):
    with pytest.raises(ValueError, match=r"structure of the params.*not fit them"):
      call(PARAMS, prunable=form)


@pytest.mark.parametrize("call", PRUNERS)
@pytest.mark.parametrize(
  "value", [np.ones((4, 5), bool), 1, 0.1, "kernel", np.array(1)]
)
def test_a_prunable_tree_of_something_else_than_booleans(call, value):
  with pytest.raises(ValueError, match=r"one boolean known before") as error:
    call(PARAMS, prunable={"kernel": value, "bias": False})
  assert f"found {value!r}. For a mask of single weights use" in str(error.value)


def test_a_prunable_that_depends_on_traced_values():
  @jax.jit
  def pruned(params):
    return prune(params, 0.5, prunable={"kernel": params["bias"][0] > 0, "bias": False})

  with pytest.raises(ValueError, match="known before tracing"):
    pruned(PARAMS)


@pytest.mark.parametrize("call", PRUNERS)
@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_prunable_leaves_of_whole_numbers(call, dtype):
  params = {"embed": {"table": jnp.ones((2, 3), dtype)}, **PARAMS}
  wanted = rf"'embed/table' holds {dtype}.*leave it out with `prunable`"
  with pytest.raises(ValueError, match=wanted):
    call(params)
  call(params, prunable={"embed": False, "kernel": True, "bias": False})


def test_a_mask_in_other_containers_keeps_its_holes():
  Pair = namedtuple("Pair", ["bias", "kernel"])
  params = {"bias": None, "kernel": jnp.ones((2, 2))}
  masked = apply_mask(params, Pair(None, np.eye(2, dtype=bool)))
  assert masked["bias"] is None
  assert masked["kernel"].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
  "mask",
  [
    {"kernel": np.ones((4, 5), bool)},
    {"kernel": np.ones((4, 5), bool), "scale": np.ones(5, bool)},
    [np.ones(5, bool), np.ones((4, 5), bool)],
  ],
)
def test_a_mask_of_another_structure(mask):
  with pytest.raises(ValueError, match="structure"):
    apply_mask(PARAMS, mask)
  with pytest.raises(ValueError, match="structure of the updates"):
    freeze_pruned(mask).update(PARAMS, freeze_pruned(mask).init(PARAMS))


@pytest.mark.parametrize(
  "momentum", [-0.1, 1, 1.5, np.nan, np.float32(2), jnp.ones(())]
)
def test_a_momentum_outside_its_range(momentum):
  with pytest.raises(ValueError, match=rf"`momentum` must be in \[0, 1\).* {momentum}"):
    gsm(0.1, 0.5, momentum)


@pytest.mark.parametrize(
  "name", ["learning_rate", "weight_decay", "passive_weight_decay"]
)
@pytest.mark.parametrize(
  "value", [-1e-3, np.float32(-1), jnp.array(-0.5), np.nan, np.inf]
)
def test_a_rate_that_is_none(name, value):
  with pytest.raises(ValueError, match=f"`{name}` must be finite and not .* {value}"):
    gsm(**{"learning_rate": 0.1, name: value})


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay"])
def test_a_rate_that_is_missing(name):
  with pytest.raises(ValueError, match=f"`{name}` must be .*, not None"):
    gsm(**{"learning_rate": 0.1, name: None})
  with pytest.raises(ValueError, match=f"`{name}` must be .*, not None"):
    share_left(**{"learning_rate": 0.1, "steps": 5, name: None})


@pytest.mark.parametrize("step", [np.inf, np.nan, 2**31, -1, 1.5])
def test_a_step_that_is_none(step):
  with pytest.raises(ValueError, match="`prune_from` must be the number of a step"):
    gsm(0.1, 0.5, prune_from=step)


@pytest.mark.parametrize("saliency", ["taylor", 3, True])
def test_a_saliency_that_is_no_function(saliency):
  with pytest.raises(ValueError, match="`saliency` must be a function of a gradient"):
    gsm(0.1, 0.5, saliency=saliency)


def test_a_smoothing_that_is_a_schedule():
  with pytest.raises(ValueError, match="`smoothing` must be a number in"):
    gsm(0.1, 0.5, smoothing=lambda _: 0.5)


@pytest.mark.parametrize("value", ["0.1", [0.1], True, np.ones(2)])
def test_a_rate_that_is_no_number(value):
  for name in ("learning_rate", "weight_decay", "passive_weight_decay", "momentum"):
    with pytest.raises(
      ValueError, match=f"`{name}` must be a .*number.*, not"
    ) as error:
      gsm(**{"learning_rate": 0.1, name: value})
    assert repr(value) in str(error.value)


def test_rates_that_are_schedules_or_traced_are_accepted():
  def decreasing(count):
    return 0.1 / (1 + count)

  for rate in (decreasing, 0, 0.0, np.float32(0.1)):
    gsm(rate, 0.5, 0.0, rate, passive_weight_decay=rate)

  @jax.jit
  def update(rate):
    tx = gsm(rate, 0.5, rate, rate, passive_weight_decay=rate)
    return tx.update(PARAMS, tx.init(PARAMS), PARAMS)[0]

  assert jnp.isfinite(update(0.1)["kernel"]).all()
