"""Networks, each a module of this package that is found by its name.

A module has a function or class ``build(image_shape, num_classes, rngs, **options)``,
which makes a Flax NNX module.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.models.functional import Model, examples, from_nnx

__all__ = ["Model", "ModelError", "examples", "from_nnx", "load", "names"]


class ModelError(Exception):
  """A network cannot be built; the message says what to do."""


def names() -> list[str]:
  """The modules of this package that build a network."""
  found = [module.name for module in pkgutil.iter_modules(__path__)]
  return [name for name in found if hasattr(_module(name), "build")]


def load(
  name: str,
  image_shape: tuple[int, ...],
  num_classes: int,
  options: Mapping[str, Any] | None = None,
) -> Model:
  """The network `name` for images or texts of a shape.

  Args:
    name: of a module of this package.
    image_shape: height, width and channels; of a text its length alone.
    num_classes: the number of logits.
    options: of the module's ``build``, such as its depth.

  Raises:
    ModelError: if there is no such network, or it cannot be built so.
  """
  if not name.isidentifier() or name not in names():
    raise ModelError(f"There is no network {name!r}; choose from {', '.join(names())}.")
  build: Any = _module(name).build
  options = dict(options or {})
  taken = _options(build)
  if unknown := sorted(options.keys() - set(taken)):
    has = f"has only {', '.join(taken)}" if taken else "has no options"
    raise ModelError(f"{name} has no option {unknown[0]!r}: it {has}.")

  def make(rngs: nnx.Rngs) -> Any:
    return build(image_shape, num_classes, rngs, **options)

  try:
    model = from_nnx(make)
    # What is wrong with an option may show only when images come.
    params, stats = jax.eval_shape(model.init, jax.random.key(0))
    images = examples(image_shape, 1)

    def apply(params: Any, stats: Any, images: jax.Array) -> Any:
      return model.apply(params, stats, images, False)

    jax.eval_shape(apply, params, stats, images)
  except Exception as error:  # whatever a network's own code raises
    shape = "×".join(map(str, image_shape))
    reason = str(error).partition("\n")[0] or type(error).__name__
    raise ModelError(
      f"{name} cannot be built for images of {shape}: {reason}"
    ) from error
  if any(
    jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(stats)
  ):
    raise ModelError(
      f"{name} draws random numbers as it runs, as Dropout does, and no key is kept for"
      " it here: leave that out."
    )
  return model


def _options(build: Any) -> list[str]:
  """The names of the options of a module's ``build``."""
  # Flax hides the signature of a class.
  function = build.__init__ if inspect.isclass(build) else build
  names = [*inspect.signature(function).parameters]
  return names[names.index("rngs") + 1 :]


def _module(name: str) -> Any:
  return importlib.import_module(f"{__name__}.{name}")
