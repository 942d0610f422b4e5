"""The whole update is lowered for accelerators that are not here."""

import jax
import jax.export
import jax.numpy as jnp
import pytest

import gsm_optax


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_update_is_lowered_for_accelerators_from_a_cpu(platform):
  params = {"kernel": jnp.ones((784, 300)), "conv": jnp.ones((3, 3, 16, 64))}
  params["bias"] = jnp.ones(300)
  tx = gsm_optax.gsm(0.1, density=0.1, nesterov=True)
  arguments = (params, tx.init(params), params)
  exported = jax.export.export(jax.jit(tx.update), platforms=[platform])(*arguments)
  assert exported.platforms == (platform,)
  assert "stablehlo.sort" not in exported.mlir_module()
  assert len(exported.out_avals) == len(jax.tree.leaves(arguments[:2]))
