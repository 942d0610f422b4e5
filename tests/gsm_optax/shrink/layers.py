"""Layers as functions of a dict of arrays, and the shapes of the latter."""

from jax import lax


def conv(x, kernel, stride=1, groups=1, padding="SAME"):
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


def normalised(params, x):
  x = (x - params["mean"]) * lax.rsqrt(params["var"] + 1e-5)
  return x * params["scale"] + params["bias"]


def norm(n):
  """The shapes of what `normalised` takes."""
  return dict.fromkeys(("mean", "var", "scale", "bias"), (n,))
