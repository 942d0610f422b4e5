"""SGD and GSM in several ways, all with the same learning rate, momentum and decay."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

import gsm_optax
from experiments.benchmarks.trees import jax_alternatives
from experiments.train.kernels import is_kernel, kernel_mask


def keep_by(method: str, density: float) -> optax.GradientTransformation:
  """`keep_top_saliency` as everyone writes it, by ``lax.top_k`` or ``jnp.sort``."""

  def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    gradients, structure = jax.tree.flatten(updates)
    weights = structure.flatten_up_to(params)
    places = [i for i, weight in enumerate(weights) if is_kernel(weight)]
    n = sum(weights[i].size for i in places)
    select = jax_alternatives(max(1, math.floor(density * n)))[method]
    kept = select([gradients[i] for i in places], [weights[i] for i in places])
    for i, gradient in zip(places, kept, strict=True):
      gradients[i] = gradient
    return jax.tree.unflatten(structure, gradients), state

  return optax.GradientTransformation(optax.init_empty_state, update)


def wait_for_all() -> optax.GradientTransformation:
  """Lets each update depend on one number of every gradient, and does nothing else."""

  def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    del params
    firsts = [gradient.reshape(-1)[0] for gradient in jax.tree.leaves(updates)]
    is_finite = jnp.all(jnp.isfinite(jnp.stack(firsts)))
    return jax.tree.map(lambda g: jnp.where(is_finite, g, 0), updates), state

  return optax.GradientTransformation(optax.init_empty_state, update)


def loop_without_trips() -> optax.GradientTransformation:
  """As `wait_for_all`, with a loop that ends before its first trip.

  The host of a GPU waits for a loop's condition, and launches nothing meanwhile.
  """

  def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    del params
    firsts = [gradient.reshape(-1)[0] for gradient in jax.tree.leaves(updates)]
    bad = jnp.sum(~jnp.isfinite(jnp.stack(firsts)), dtype=jnp.int32)
    left = jax.lax.while_loop(lambda n: n > 0, lambda n: n - 1, bad)
    return jax.tree.map(lambda g: jnp.where(left == 0, g, 0), updates), state

  return optax.GradientTransformation(optax.init_empty_state, update)


def optimizers(density: float) -> dict[str, optax.GradientTransformation]:
  """By their names in tables; SGD is the one that others are compared with."""
  rate, momentum, decay = 1e-3, 0.98, 5e-4
  decayed = optax.add_decayed_weights(decay, mask=kernel_mask)
  sgd = optax.chain(decayed, optax.sgd(rate, momentum))
  return {
    "SGD": sgd,
    "SGD that waits for all gradients": optax.chain(wait_for_all(), sgd),
    "SGD behind a loop": optax.chain(loop_without_trips(), sgd),
    "SGD with clip_by_global_norm": optax.chain(optax.clip_by_global_norm(1e3), sgd),
    "gsm_optax.gsm": gsm_optax.gsm(rate, density, momentum, decay),
    "GSM by lax.top_k": optax.chain(keep_by("lax.top_k", density), sgd),
    "GSM by jnp.sort": optax.chain(keep_by("jnp.sort", density), sgd),
  }
