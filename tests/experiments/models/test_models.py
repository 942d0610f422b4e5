"""Models have the sizes of the literature, and are pure functions of their params."""

import json
import math
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gsm_optax
from experiments import models
from experiments.benchmarks.trees import shapes_of
from experiments.models import ModelError
from experiments.models.lenet300 import LeNet300
from experiments.train.kernels import kernels
from tests.experiments.networks_for_tests import NORMALISED, SHAPE

MNIST, CIFAR = ((28, 28, 1), 10), ((32, 32, 3), 10)
IMAGENET = (224, 224, 3), 1000


def shapes_in(model):
  return jax.eval_shape(model.init, jax.random.key(0))


def size(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(("name", "size"), [("lenet300", 266_200), ("lenet5", 430_500)])
def test_prunable_weights_are_as_many_as_in_the_paper(name, size):
  model = models.load(name, (28, 28, 1), 10)
  params, _ = model.init(jax.random.key(0))
  assert gsm_optax.sparsity_report(params).size == size
  logits, _ = model.apply(params, {}, jnp.ones((3, 28, 28, 1)), False)
  assert logits.shape == (3, 10)


@pytest.mark.parametrize(
  ("name", "options", "data", "all_", "in_kernels"),
  [
    # He et al., 2015, table 6: 0.27 and 0.85 million.
    ("resnet_cifar", {"depth": 20}, CIFAR, 269_722, 268_336),
    ("resnet_cifar", {"depth": 56}, CIFAR, 853_018, 848_944),
    # Huang et al., 2017, table 2: 1.0 million.
    ("densenet", {"depth": 40, "growth": 12}, CIFAR, 1_019_722, 1_001_616),
    # As PyTorch's: 25.6 million.
    ("resnet50", {}, IMAGENET, 25_557_032, 25_502_912),
  ],
)
def test_parameters_are_as_many_as_published(name, options, data, all_, in_kernels):
  model = models.load(name, *data, options)
  params, batch_stats = shapes_in(model)
  assert (size(params), size(kernels(params))) == (all_, in_kernels)
  images = jax.ShapeDtypeStruct((2, *data[0]), jnp.float32)
  logits, trained = jax.eval_shape(
    lambda *arrays: model.apply(*arrays, True), params, batch_stats, images
  )
  assert (logits.shape, logits.dtype) == ((2, data[1]), jnp.float32)
  assert jax.tree.structure(trained) == jax.tree.structure(batch_stats)


@pytest.mark.parametrize(
  ("name", "options", "data"),
  [
    *(("lenet300", {}, MNIST), ("lenet5", {}, MNIST), ("densenet", {}, CIFAR)),
    *(("resnet_cifar", {"depth": depth}, CIFAR) for depth in (20, 56)),
    ("resnet50", {}, IMAGENET),
  ],
)
def test_kernels_are_the_leaves_with_two_or_more_dimensions(name, options, data):
  params, _ = shapes_in(models.load(name, *data, options))
  expected = jax.tree.map(lambda leaf: leaf.ndim >= 2, params)
  assert gsm_optax.kernels(params) == expected


def test_resnet56_and_densenet40_are_what_is_built_without_options():
  for name, options in (
    ("resnet_cifar", {"depth": 56, "width": 16}),
    ("densenet", {"depth": 40, "growth": 12}),
  ):
    usual, explicit = models.load(name, *CIFAR), models.load(name, *CIFAR, options)
    assert shapes_in(usual) == shapes_in(explicit)


@pytest.mark.parametrize(
  ("name", "options", "data"),
  [("resnet50", {}, IMAGENET), ("resnet_cifar", {"depth": 56}, CIFAR)],
)
def test_the_shapes_of_the_benchmarks_are_those_of_the_networks(name, options, data):
  params, _ = shapes_in(models.load(name, *data, options))
  shapes = sorted(leaf.shape for leaf in kernels(params))
  assert shapes == sorted(shapes_of({"resnet_cifar": "resnet56"}.get(name, name)))


def test_shapes_of_resnet56_are_those_of_a_resnet20_with_more_blocks():
  params, _ = shapes_in(models.load("resnet_cifar", *CIFAR, {"depth": 20}))
  assert set(shapes_of("resnet56")) == {leaf.shape for leaf in kernels(params)}
  assert len(shapes_of("resnet56")) == 56
  assert sum(math.prod(shape) for shape in shapes_of("resnet56")) == 848_944


@pytest.mark.parametrize(
  ("name", "options"),
  [("resnet50", {}), ("resnet_cifar", {"depth": 8}), ("densenet", {"depth": 7})],
)
def test_they_compute_in_bfloat16_and_keep_float32(name, options):
  options = {**options, "dtype": "bfloat16"}
  assert json.loads(json.dumps(options)) == options
  model = models.load(name, (32, 32, 3), 10, options)
  params, batch_stats = shapes_in(model)
  float32 = {jnp.dtype("float32")}
  assert {leaf.dtype for leaf in jax.tree.leaves((params, batch_stats))} == float32

  def loss(params, batch_stats, images):
    logits, batch_stats = model.apply(params, batch_stats, images, True)
    return logits.mean(), (logits, batch_stats)

  images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
  gradients, (logits, trained) = jax.eval_shape(
    jax.grad(loss, has_aux=True), params, batch_stats, images
  )
  leaves = jax.tree.leaves((gradients, logits, trained))
  assert {leaf.dtype for leaf in leaves} == float32
  program = str(jax.make_jaxpr(loss)(params, batch_stats, images))
  convolutions = [line for line in program.splitlines() if "conv_general" in line]
  assert convolutions
  assert all(":bf16[" in line for line in convolutions)


def test_the_networks_are_the_modules_that_build_one():
  assert models.names() == [
    "densenet",
    "lenet300",
    "lenet5",
    "resnet50",
    "resnet_cifar",
    "transformer",
  ]


def test_a_module_that_is_put_into_the_package_is_a_network(tmp_path, monkeypatch):
  (tmp_path / "my_own.py").touch()
  monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
  found = []

  def build(image_shape, num_classes, rngs, layers=1):
    found.append((image_shape, num_classes, layers))
    return LeNet300(image_shape, num_classes, rngs)

  module = types.SimpleNamespace(build=build)
  monkeypatch.setitem(sys.modules, "experiments.models.my_own", module)
  params, _ = shapes_in(models.load("my_own", (4, 4, 1), 3, {"layers": 2}))
  assert params["dense3"]["kernel"].shape == (100, 3)
  assert set(found) == {((4, 4, 1), 3, 2)}


@pytest.mark.parametrize(
  ("name", "shape", "options", "message"),
  [
    ("lenet6", CIFAR[0], {}, "There is no network 'lenet6'; choose from densenet, len"),
    ("layers", CIFAR[0], {}, "There is no network 'layers'; choose from densenet, len"),
    ("../lenet5", CIFAR[0], {}, "There is no network '../lenet5'; choose from densen"),
    ("", CIFAR[0], {}, "There is no network ''; choose from densenet, lenet300, lenet"),
    (
      "lenet5",
      CIFAR[0],
      {"depth": 5},
      "lenet5 has no option 'depth': it has no options.",
    ),
    (
      *("resnet_cifar", CIFAR[0], {"dept": 20}),
      "resnet_cifar has no option 'dept': it has only depth, width, dtype.",
    ),
    (
      *("lenet5", (8, 8, 1), {}),
      "lenet5 cannot be built for images of 8×8×1: height and width must be multiples"
      " of 4, and 16 or more.",
    ),
    (
      *("resnet_cifar", CIFAR[0], {"depth": 21}),
      "resnet_cifar cannot be built for images of 32×32×3: depth must be 8, 14, 20, …"
      " (6n + 2), not 21.",
    ),
    (
      *("densenet", CIFAR[0], {"depth": 41}),
      "densenet cannot be built for images of 32×32×3: depth must be 7, 10, 13, …"
      " (3n + 4), not 41.",
    ),
    (
      *("densenet", (3, 32, 3), {}),
      "densenet cannot be built for images of 3×32×3: height and width must be 4 or"
      " more.",
    ),
    ("resnet50", CIFAR[0], {"dtype": "float31"}, "resnet50 cannot be built for images"),
    ("resnet_cifar", CIFAR[0], {"width": -1}, "resnet_cifar cannot be built for image"),
  ],
)
def test_what_cannot_be_built_is_refused_in_a_sentence(name, shape, options, message):
  with pytest.raises(ModelError) as error:
    models.load(name, shape, 10, options)
  said = str(error.value)
  assert said.startswith(message)
  assert said == message or not message.endswith(".")
  assert "\n" not in said


IMAGES = 1 + jax.random.normal(jax.random.key(1), (16, *SHAPE))


def test_batch_statistics_change_in_training_and_only_there():
  params, stats = NORMALISED.init(jax.random.key(0))
  _, trained = NORMALISED.apply(params, stats, IMAGES, True)
  assert not np.allclose(trained["norm"]["mean"], stats["norm"]["mean"])
  # In training a batch is normalised by itself, whatever the statistics are.
  logits, _ = NORMALISED.apply(params, stats, IMAGES, True)
  same, _ = NORMALISED.apply(params, trained, IMAGES, True)
  np.testing.assert_array_equal(logits, same)
  other, evaluated = NORMALISED.apply(params, trained, IMAGES, False)
  assert not np.allclose(logits, other)
  jax.tree.map(np.testing.assert_array_equal, evaluated, trained)


def test_another_momentum_takes_the_place_of_batch_norms_own():
  params, stats = NORMALISED.init(jax.random.key(0))
  apply = jax.jit(NORMALISED.apply, static_argnums=3)
  _, batch = apply(params, stats, IMAGES, True, jnp.float32(0))
  for momentum in (0.0, 0.25, 0.9, 1.0):
    _, found = apply(params, stats, IMAGES, True, jnp.float32(momentum))
    expected = jax.tree.map(
      lambda old, new, m=momentum: m * old + (1 - m) * new, stats, batch
    )
    assert jax.tree.structure(found) == jax.tree.structure(stats)
    for name in ("mean", "var"):
      np.testing.assert_allclose(
        found["norm"][name], expected["norm"][name], rtol=1e-5, atol=1e-6
      )
  # Its own is 0.9, also after another one was given.
  _, own = apply(params, stats, IMAGES, True)
  _, given = apply(params, stats, IMAGES, True, jnp.float32(0.9))
  np.testing.assert_allclose(own["norm"]["mean"], given["norm"]["mean"], rtol=1e-5)


def test_a_network_that_draws_random_numbers_is_refused(monkeypatch):
  class Dropping(nnx.Module):
    """A layer behind Dropout."""

    def __init__(self, image_shape, num_classes, rngs):
      self.dropout = nnx.Dropout(0.5, rngs=rngs)
      self.dense = nnx.Linear(image_shape[-1], num_classes, rngs=rngs)

    def __call__(self, images):
      return self.dense(self.dropout(images.mean((1, 2))))

  monkeypatch.setattr(models.lenet300, "build", Dropping)
  with pytest.raises(
    ModelError, match=r"lenet300 draws random numbers .* leave that out"
  ):
    models.load("lenet300", (4, 4, 3), 2)


def test_whatever_a_networks_code_raises_is_a_sentence(monkeypatch):
  def build(image_shape, num_classes, rngs):
    return 1 // (len(image_shape) - 3) * num_classes * rngs

  monkeypatch.setattr(models.lenet300, "build", build)
  with pytest.raises(ModelError, match="lenet300 cannot be built for images of 4×4×3"):
    models.load("lenet300", (4, 4, 3), 2)
