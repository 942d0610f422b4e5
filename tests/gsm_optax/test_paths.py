"""Patterns choose leaves, and a pattern that chooses none says so."""

import jax.numpy as jnp
import pytest
from flax import nnx

import gsm_optax

LONG = jnp.ones((2, 3))
PARAMS = {
  "encoder": {"Dense_0": {"kernel": LONG, "bias": jnp.ones(3)}, "embedding": LONG},
  "head": {"kernel": LONG, "bias": jnp.ones(3)},
}


def chosen(prunable, params=PARAMS):
  report = gsm_optax.sparsity_report(params, prunable=prunable)
  return [layer.path for layer in report.layers]


def test_patterns_match_whole_paths():
  assert chosen(gsm_optax.paths("*/kernel")) == [
    "encoder/Dense_0/kernel",
    "head/kernel",
  ]
  assert chosen(gsm_optax.paths("head/*")) == ["head/bias", "head/kernel"]
  several = gsm_optax.paths("encoder/embedding", "head/kernel")
  assert chosen(several) == ["encoder/embedding", "head/kernel"]
  assert chosen(gsm_optax.paths("encoder/Dense_[01]/kerne?")) == [
    "encoder/Dense_0/kernel"
  ]


def test_what_is_excluded_goes_from_the_kernels_or_from_what_matches():
  assert chosen(gsm_optax.paths(exclude="head/*")) == ["encoder/Dense_0/kernel"]
  without = gsm_optax.paths("*", exclude=["*bias", "*embedding"])
  assert chosen(without) == ["encoder/Dense_0/kernel", "head/kernel"]
  assert chosen(gsm_optax.paths()) == ["encoder/Dense_0/kernel", "head/kernel"]


def test_nnx_with_and_without_value():
  state = nnx.state(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.Param)
  for pattern in ("kernel", "kernel*"):
    assert len(chosen(gsm_optax.paths(pattern), state)) == 1
  pure = nnx.to_pure_dict(state)
  assert chosen(gsm_optax.paths("kernel"), pure) == ["kernel"]


def test_in_a_training_of_nnx():
  model = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
  tx = gsm_optax.gsm(0.1, 0.5, prunable=gsm_optax.paths("kernel"))
  optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
  gradients = nnx.grad(lambda model: jnp.sum(model(jnp.ones((2, 4))) ** 2))(model)
  optimizer.update(model, gradients)
  assert (model.kernel[...] != 0).any()


@pytest.mark.parametrize(
  ("prunable", "message"),
  [
    (gsm_optax.paths("encoder/Dense_1/kernel"), "near are 'encoder/Dense_0/kernel'"),
    (gsm_optax.paths("*", exclude="haed/*"), "No leaf matches 'haed/\\*'; near are"),
    (gsm_optax.paths("zzzz"), "No leaf matches 'zzzz'; near are"),
  ],
)
def test_a_pattern_that_matches_nothing(prunable, message):
  with pytest.raises(ValueError, match=message):
    gsm_optax.gsm(0.1, 0.5, prunable=prunable).init(PARAMS)


def test_no_leaves_at_all():
  with pytest.raises(ValueError, match="No leaf matches 'a': there are none"):
    gsm_optax.paths("a")({})


@pytest.mark.parametrize("exclude", [3, [3], ["a", None]])
def test_a_pattern_is_a_string(exclude):
  with pytest.raises(ValueError, match="A pattern must be a string"):
    gsm_optax.paths("a", exclude=exclude)
  with pytest.raises(ValueError, match="A pattern must be a string"):
    gsm_optax.paths(3)


def test_a_path_as_it_is_printed_matches_itself():
  params = {"x[0]": {"kernel": LONG}, "x0": {"kernel": LONG}}
  assert chosen(gsm_optax.paths("x[0]/kernel"), params) == ["x0/kernel", "x[0]/kernel"]
