"""Networks whose layers add to, or go beside, what came before."""

import jax
import jax.numpy as jnp
import pytest

from tests.gsm_optax.shrink.layers import conv, norm, normalised
from tests.gsm_optax.shrink.zoo import assert_shrinks, numbers, randomised

pytestmark = pytest.mark.usefixtures("x64")


def block(c_in, c_out):
  return {
    "a": (3, 3, c_in, c_out),
    "an": norm(c_out),
    "b": (3, 3, c_out, c_out),
    "bn": norm(c_out),
  }


SHORTCUTS = {
  "identity": (4, lambda _, x: x),
  "padded": (
    8,
    lambda _, x: jnp.pad(x[:, ::2, ::2], [(0, 0)] * 3 + [(2, 2)]),
  ),
  "projection": (
    8,
    lambda params, x: normalised(params["sn"], conv(x, params["s"], 2)),
  ),
}


@pytest.mark.parametrize("kind", SHORTCUTS)
def test_residual_networks(kind):
  width, shortcut = SHORTCUTS[kind]
  shapes = {"stem": (3, 3, 3, 4), "stem_n": norm(4), "first": block(4, 4)}
  shapes |= {"second": block(4, width), "head": (width, 3)}
  if kind == "projection":
    shapes["second"] |= {"s": (1, 1, 4, width), "sn": norm(width)}

  def residual(params, x, stride, shortcut):
    hidden = jax.nn.relu(normalised(params["an"], conv(x, params["a"], stride)))
    hidden = normalised(params["bn"], conv(hidden, params["b"]))
    return jax.nn.relu(hidden + shortcut(params, x))

  def apply_fn(params, x):
    x = jax.nn.relu(normalised(params["stem_n"], conv(x, params["stem"])))
    x = residual(params["first"], x, 1, lambda _, x: x)
    x = residual(params["second"], x, 1 if width == 4 else 2, shortcut)
    return x.mean((1, 2)) @ params["head"]

  kernels = ["stem", "first/a", "first/b", "second/a", "second/b"]
  stays = [f"{name}:{axis}" for name in kernels for axis in (0, 1)] + ["head:1"]
  training = kind == "padded"
  x = numbers(2, 6, 6, 3)
  groups = assert_shrinks(
    apply_fn, randomised(shapes), x, stays=stays, training=training
  )
  # The stem's channels are those of all blocks of its width.
  stem = next(g for g in groups.groups if ("stem", 3) in g.members).members
  assert {("first/b", 3), ("first/bn/scale", 0), ("second/a", 2)} < {*stem}
  assert (("second/b", 3) in stem) == (kind != "projection")


def test_dense_blocks():
  shapes = {"stem": (3, 3, 3, 4), "head": (8, 2)}
  shapes |= {"n0": norm(4), "k0": (3, 3, 4, 2), "n1": norm(6), "k1": (3, 3, 6, 2)}
  shapes |= {"last": norm(8)}

  def apply_fn(params, x):
    x = conv(x, params["stem"])
    for number in (0, 1):
      new = jax.nn.relu(normalised(params[f"n{number}"], x))
      x = jnp.concatenate([x, conv(new, params[f"k{number}"])], -1)
    x = jax.nn.relu(normalised(params["last"], x))
    return x.mean((1, 2)) @ params["head"]

  stays = [f"{name}:{axis}" for name in ("stem", "k0", "k1") for axis in (0, 1)]
  assert_shrinks(
    apply_fn, randomised(shapes), numbers(2, 4, 4, 3), stays=[*stays, "head:1"]
  )
