"""Random networks: layers in turn, with params of which many are zero."""

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from tests.gsm_optax.shrink.random_images import HEADS, IMAGE_PARTS
from tests.gsm_optax.shrink.random_layers import ACTIVATIONS, PARTS, dense


class Params:
  """Makes the params when a network is run for the first time, then returns them."""

  def __init__(self, seed, made=None):
    self.rng = np.random.default_rng(seed)
    self.made = made
    self.leaves = {} if made is None else made
    self.number = 0

  def __call__(self, *shape, near=0.0, scale=None):
    """A leaf, of which many are zero unless they are to lie near a number."""
    name = f"{self.number:02}"
    self.number += 1
    if self.made is None:
      rng = self.rng
      fan_in = max(1, int(np.prod(shape[:-1])))
      leaf = near + rng.normal(size=shape) * (scale or (fan_in**-0.5 + 0.1))
      leaf = self.pruned(leaf) if not near else leaf
      self.leaves[name] = leaf
    return jnp.asarray(self.leaves[name])

  def pruned(self, leaf):
    """Zero in columns, in rows, in single weights, or not at all."""
    rng = self.rng
    match rng.integers(4) if leaf.ndim else 0:
      case 1:
        leaf[..., rng.random(leaf.shape[-1]) < 0.6] = 0
      case 2:
        leaf[rng.random(leaf.shape[0]) < 0.6] = 0
      case 3 if leaf.ndim > 1:
        leaf[rng.random(leaf.shape) < 0.9] = 0
      case 3:
        leaf[rng.random(leaf.shape) < 0.5] = -0.0
    if leaf.ndim > 2 and rng.random() < 0.5:
      leaf[..., rng.random(leaf.shape[-2]) < 0.5, :] = 0
    return leaf


def compute(plan, p, x):
  """A network: parts in turn, each followed by an activation or none."""
  h = x
  outs = []
  for name, activation in plan["images"]:
    h = IMAGE_PARTS[name](p, h) if name in IMAGE_PARTS else PARTS[name](p, h)
    h = h if activation is None else ACTIVATIONS[activation](h)
  if plan["images"]:
    h = HEADS[plan["head"]](p, h)
  for name, activation in plan["parts"]:
    h = PARTS[name](p, h)
    h = h if activation is None else ACTIVATIONS[activation](h)
    if plan["every"]:
      outs.append(dense(p, h, 2))
  outs.append(dense(p, h, 2))
  return {"outs": outs, "constant": jnp.ones(2)}


def chain(names, n):
  activation = st.none() | st.integers(0, len(ACTIVATIONS) - 1)
  return st.lists(st.tuples(st.sampled_from(sorted(names)), activation), max_size=n)


# Those that mix channels are tried on pixels too.
ON_PIXELS = ("batch norm", "layer norm", "scan", "halves", "shuffled", "padded")
PLANS = st.fixed_dictionaries(
  {
    "images": st.just([]) | chain([*IMAGE_PARTS, *ON_PIXELS], 3),
    "head": st.sampled_from(sorted(HEADS)),
    "parts": chain(PARTS, 4),
    "every": st.booleans(),
    "seed": st.integers(0, 10**6),
  }
)


def network(plan):
  """A function, its params and two batches."""
  rng = np.random.default_rng(plan["seed"])
  shape = (4, 4, 2) if plan["images"] else (5,)
  few, many = (rng.normal(size=(n, *shape)) for n in (2, 3))
  made = Params(plan["seed"])
  compute(plan, made, few)
  params = made.leaves
  if rng.random() < 0.3:  # all at once
    params = {name: np.zeros_like(leaf) for name, leaf in params.items()}
    last = sorted(params)[-1]
    params[last] = made.leaves[last]

  def apply_fn(params, x):
    return compute(plan, Params(0, params), x)

  return apply_fn, params, few, many
