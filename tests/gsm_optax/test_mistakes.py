"""What is no params is recognised, and weights that have not vanished are."""

import warnings

import jax
import jax.numpy as jnp
import optax
import pytest
from flax.training.train_state import TrainState

import gsm_optax

PARAMS = {"kernel": jnp.array([[1.0, 2.0], [3.0, 4.0]]), "bias": jnp.ones(2)}
TX = gsm_optax.gsm(0.1, 0.5)
STATES = {
  "gsm": TX.init(PARAMS),
  "adam": optax.adam(0.1).init(PARAMS),
  "sparsify": gsm_optax.sparsify(optax.adamw(0.1), 0.5, passive_weight_decay=0.1).init(
    PARAMS
  ),
  "muon": optax.contrib.muon(0.1).init(PARAMS),
  "multi steps": optax.MultiSteps(TX, 2).init(PARAMS),
  "in a dict": {"opt": optax.sgd(0.1, 0.9).init(PARAMS)},
}
FUNCTIONS = {
  "prune": lambda tree: gsm_optax.prune(tree, 0.5),
  "magnitude_mask": lambda tree: gsm_optax.magnitude_mask(tree, 0.5),
  "nonzero_mask": gsm_optax.nonzero_mask,
  "report": gsm_optax.sparsity_report,
}
each_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


@each_function
def test_a_train_state(function):
  state = TrainState.create(apply_fn=None, params=PARAMS, tx=TX)
  with pytest.raises(
    ValueError, match=r"A TrainState holds more .* pass its `.params`"
  ):
    function(state)


@each_function
def test_the_variables_of_a_linen_model(function):
  variables = {"params": PARAMS, "batch_stats": {"mean": jnp.ones(2)}}
  with pytest.raises(ValueError, match=r"this holds 'batch_stats', .*\['params'\]"):
    function(variables)


@each_function
@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_the_state_of_an_optimizer(function, state):
  with pytest.raises(ValueError, match=r"the state of an optimizer \(\w+\): pass the"):
    function(state)


def test_variables_with_params_alone_are_params():
  mask = gsm_optax.magnitude_mask({"params": PARAMS}, 0.5)
  assert mask["params"]["kernel"].tolist() == [[False, False], [True, True]]


def test_params_with_holes_are_params():
  params = {"kernel": PARAMS["kernel"], "masked": optax.MaskedNode(), "none": None}
  assert gsm_optax.sparsity_report(params).kept == 4


def weights(kept, zeroed):
  return {"kernel": jnp.array([[kept, zeroed], [-zeroed / 2, -2 * kept]])}


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_prune_warns_of_weights_that_have_not_vanished(dtype):
  params = jax.tree.map(lambda leaf: leaf.astype(dtype), weights(1.0, 0.5))
  wanted = r"holds 5\.9% of .* greatest of it is 0\.5, beside 1, the smallest"
  with pytest.warns(UserWarning, match=wanted) as caught:
    pruned = gsm_optax.prune(params, 0.5)
  assert caught[0].filename == __file__
  assert str(caught[0].message).count(". ") == 0
  assert (pruned["kernel"] != 0).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(
  ("params", "density"),
  [
    (weights(1.0, 0.0999), 0.5),
    (weights(1.0, 0.0), 0.5),
    (weights(1.0, 1e-42), 0.5),
    (weights(0.0, 0.0), 0.5),
    (weights(1.0, 0.9), 1.0),
    # One more weight than Q takes turns with the others, and all behind have vanished.
    ({"kernel": jnp.ones((2, 101)).at[:, 50:].set(1e-9).at[0, 50].set(1)}, 100 / 202),
    (weights(jnp.inf, 3.0), 0.5),
  ],
)
def test_it_does_not_warn_of_weights_that_have(params, density):
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    gsm_optax.prune(params, density)


def test_it_does_not_warn_in_jit_nor_do_the_masks():
  params = weights(1.0, 0.9)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    jax.jit(gsm_optax.prune)(params, 0.5)
    gsm_optax.apply_mask(params, gsm_optax.magnitude_mask(params, 0.5))


def test_only_prunable_weights_are_looked_at():
  params = weights(1.0, 1e-9) | {"bias": jnp.array([1e-3, 5.0])}
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    gsm_optax.prune(params, 0.5)


def test_the_mask_of_a_pruned_model_is_of_its_kernels():
  params = {"kernel": jnp.array([[0.0, -2.0], [1e-42, 0.0]]), "bias": jnp.zeros(2)}
  mask = gsm_optax.nonzero_mask(params)
  assert mask["kernel"].tolist() == [[False, True], [True, False]]
  assert mask["bias"].tolist() == [True, True]
  everything = gsm_optax.nonzero_mask(params, prunable=True)
  assert everything["bias"].tolist() == [False, False]


def test_a_lora_is_merged_into_a_pruned_model():
  params = {"kernel": jnp.array([[0.0, -2.0], [3.0, 0.0]])}
  mask = gsm_optax.nonzero_mask(params)
  lora = {"lora_a": jnp.ones((2, 1)), "lora_b": jnp.full((1, 2), 0.5)}
  merged = {"kernel": params["kernel"] + lora["lora_a"] @ lora["lora_b"]}
  merged = gsm_optax.apply_mask(merged, mask)
  assert merged["kernel"].tolist() == [[0, -1.5], [3.5, 0]]
