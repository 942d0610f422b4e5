"""What each framework's layers call a kernel is one, and nothing else is."""

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import pytest
from flax import linen, nnx

import gsm_optax
from gsm_optax._trees import path_name


def names_of(params):
  """The paths of the kernels, without the `value` of NNX's variables."""
  return {
    path_name(path).removesuffix("/value")
    for path, is_kernel in jax.tree_util.tree_leaves_with_path(
      gsm_optax.kernels(params)
    )
    if is_kernel
  }


ATTENTION = {"query", "key", "value", "out"}


class LinenModel(linen.Module):
  @linen.compact
  def __call__(self, x, tokens):
    x = linen.Dense(8)(x) + linen.Embed(9, 8)(tokens)
    axes = {"reduction_axes": (-2, -1), "feature_axes": (-2, -1)}
    x = linen.LayerNorm(**axes, name="norm_of_two_axes")(x)
    x = linen.BatchNorm(use_running_average=False)(x)
    x += self.param("pos_embedding", linen.initializers.normal(), (1, 3, 8))
    cls = self.param("cls", linen.initializers.zeros, (1, 2, 8))
    x = jnp.concatenate([x, jnp.tile(cls, (len(x), 1, 1))], 1)
    x = linen.MultiHeadDotProductAttention(4)(x, x)
    return linen.Conv(4, (3,))(x)


def test_linen():
  x, tokens = jnp.ones((2, 3, 4)), jnp.zeros((2, 3), int)
  params = jax.eval_shape(LinenModel().init, jax.random.key(0), x, tokens)["params"]
  attention = {f"MultiHeadDotProductAttention_0/{name}/kernel" for name in ATTENTION}
  assert names_of(params) == {"Conv_0/kernel", "Dense_0/kernel", *attention}


def stacked(make):
  return nnx.split_rngs(splits=5)(nnx.vmap(make))


class NNXModel(nnx.Module):
  def __init__(self, rngs):
    self.attention = nnx.MultiHeadAttention(4, 8, rngs=rngs)
    self.norms = stacked(lambda rngs: nnx.RMSNorm(4, rngs=rngs))(rngs)
    self.embed = nnx.Embed(9, 8, rngs=rngs)
    self.class_token = nnx.Param(jnp.zeros((1, 2, 8)))
    self.conv = nnx.Conv(8, 8, (3, 3), rngs=rngs)
    self.adapted = nnx.LoRALinear(8, 8, lora_rank=2, rngs=rngs)
    self.layers = stacked(lambda rngs: nnx.Linear(4, 4, rngs=rngs))(rngs)


@pytest.mark.parametrize("form", [lambda state: state, nnx.to_pure_dict])
def test_nnx(form):
  params = form(nnx.state(NNXModel(nnx.Rngs(0)), nnx.Param))
  attention = {f"attention/{name}/kernel" for name in ATTENTION}
  others = {"conv/kernel", "adapted/kernel", "layers/kernel"}
  assert names_of(params) == attention | others


def haiku_function(x, tokens):
  x = hk.Linear(8)(x) + hk.Embed(9, 8)(tokens)
  x = hk.LayerNorm((-2, -1), create_scale=True, create_offset=True)(x)
  x = hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9)(x, True)
  x = hk.MultiHeadAttention(2, 4, w_init=jnp.zeros)(x, x, x)
  x = hk.experimental.layer_stack(3)(lambda x: hk.Linear(8, name="stacked")(x))(x)
  core = hk.LSTM(8)
  return core(x[:, 0], core.initial_state(len(x)))[0]


def test_haiku_biases_stacked_over_layers_too():
  x, tokens = jnp.ones((2, 3, 4)), jnp.zeros((2, 3), int)
  network = hk.transform_with_state(haiku_function)
  params, _ = jax.eval_shape(network.init, jax.random.key(0), x, tokens)
  found = names_of(params)
  attention = {f"multi_head_attention/{n}/w" for n in ("query", "key", "value")}
  attention |= {"multi_head_attention/linear/w", "linear/w", "lstm/linear/w"}
  stacked = {name for name in found if name.endswith("stacked/w")}
  assert found == attention | stacked
  assert len(stacked) == 1


def test_equinox_by_the_types_of_its_modules():
  key = jax.random.key(0)
  layers = {
    "first": eqx.nn.LayerNorm((4, 8)),
    "convolution": eqx.nn.Conv2d(3, 4, 3, key=key),
    "words": eqx.nn.Embedding(9, 4, key=key),
    "attention": eqx.nn.MultiheadAttention(
      *(2, 8), use_query_bias=True, use_output_bias=True, key=key
    ),
    "dense": eqx.nn.Linear(4, 4, key=key),
    "groups": eqx.nn.GroupNorm(2, 4),
    "batch": eqx.nn.BatchNorm(4, "batch", mode="ema"),
    "lstm": eqx.nn.LSTMCell(4, 4, key=key),
  }
  params = eqx.filter(layers, eqx.is_inexact_array)
  attention = {f"attention/{name}_proj/weight" for name in ATTENTION - {"out"}}
  assert names_of(params) == {
    *("convolution/weight", "dense/weight", "lstm/weight_ih", "lstm/weight_hh"),
    *("attention/output_proj/weight", *attention),
  }


class PreNorm(eqx.Module):
  norm: eqx.nn.LayerNorm
  fn: eqx.Module


class TokenTable(eqx.nn.Embedding):
  pass


def test_equinox_modules_within_a_norm_and_kinds_of_an_embedding():
  key = jax.random.key(0)
  dense = eqx.nn.Linear(4, 4, key=key)
  layers = {
    "block": PreNorm(eqx.nn.LayerNorm((4, 4)), PreNorm(eqx.nn.LayerNorm(4), dense)),
    "normed": eqx.nn.WeightNorm(dense),
    "table": TokenTable(9, 4, key=key),
  }
  params = eqx.filter(layers, eqx.is_inexact_array)
  assert names_of(params) == {"block/fn/fn/weight", "normed/layer/weight"}


def test_names_of_plain_trees():
  long = jnp.ones((2, 3))
  kernels = ["w1", "W_in", "embed_to_hidden", "a", "b", "pre_norm_mlp", "query"]
  others = ["ln_scale", "b1", "attn_bias", "wpe", "Gamma", "posEmbedding", "lora_b"]
  tree = dict.fromkeys([*kernels, *others], long)
  tree["layer_norm1"] = {"weight": long}
  tree["in_norm_block"] = {"weight": long}
  tree["ada_ln"] = {"kernel": long}
  tree["bias"] = {"b": long}
  assert names_of(tree) == {*kernels, "in_norm_block/weight", "ada_ln/kernel"}
  assert names_of([long, jnp.ones(3)]) == {"0"}
  assert gsm_optax.kernels(long) is True


@pytest.mark.parametrize("shape", [(), (3,), (1, 3), (3, 1), (4, 1, 1), (0, 2), (1, 1)])
def test_a_kernel_has_two_axes_longer_than_one(shape):
  assert gsm_optax.kernels({"kernel": jnp.ones(shape)}) == {"kernel": False}
  assert gsm_optax.kernels({"kernel": jnp.ones((2, *shape, 2))}) == {"kernel": True}


def test_the_default_of_all_that_takes_prunable():
  params = {"kernel": jnp.arange(1.0, 7).reshape(2, 3), "bias": jnp.ones((2, 3))}
  mask = gsm_optax.magnitude_mask(params, 0.5)
  assert mask["bias"].all()
  assert int(mask["kernel"].sum()) == 3
  assert [each.path for each in gsm_optax.sparsity_report(params).layers] == ["kernel"]
  everything = gsm_optax.sparsity_report(params, prunable=True)
  assert [each.path for each in everything.layers] == ["bias", "kernel"]
  tx = gsm_optax.keep_top_saliency(1 / 6)
  updates, _ = tx.update(params, tx.init(params), params)
  assert int((updates["kernel"] != 0).sum()) == 1
  assert (updates["bias"] == 1).all()
