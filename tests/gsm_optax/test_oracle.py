"""Whole trainings against plain NumPy in float64, written from the paper's equations.

The networks' gradients are written by hand too, so nothing below the line that compares
comes from JAX.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from gsm_optax import gsm

STEPS = 300


def step_by_hand(
  weights,
  momenta,
  gradients,
  *,
  learning_rate,
  density,
  momentum,
  weight_decay,
  nesterov,
):
  r"""One step of the equations.

  T = |g w|;  B = T >= the Q-th greatest T;  Z = beta Z + eta W + B g;  W -= alpha Z
  """
  # The library's saliency is float32 by definition. Rounded the same, two that differ
  # by less are a tie here as there.
  saliency = {
    name: np.abs(gradients[name]).astype(np.float32)
    * np.abs(weights[name]).astype(np.float32)
    for name in weights
    if weights[name].ndim >= 2
  }
  every = np.sort(np.concatenate([scores.ravel() for scores in saliency.values()]))
  threshold = every[-int(density * every.size)]
  new_weights, new_momenta = {}, {}
  for name, weight in weights.items():
    change = gradients[name]
    if name in saliency:
      change = np.where(saliency[name] >= threshold, change, 0) + weight_decay * weight
    new_momenta[name] = momentum * momenta[name] + change
    step = momentum * new_momenta[name] + change if nesterov else new_momenta[name]
    new_weights[name] = weight - learning_rate * step
  return new_weights, new_momenta


def outputs_of_mlp(weights, inputs):
  hidden = jnp.tanh(inputs @ weights["kernel_1"] + weights["bias_1"])
  return hidden @ weights["kernel_2"] + weights["bias_2"]


def gradients_of_mlp(weights, inputs, targets):
  hidden = np.tanh(inputs @ weights["kernel_1"] + weights["bias_1"])
  d_outputs = hidden @ weights["kernel_2"] + weights["bias_2"] - targets
  d_hidden = d_outputs @ weights["kernel_2"].T * (1 - hidden**2)
  sums = {
    "kernel_1": inputs.T @ d_hidden,
    "bias_1": d_hidden.sum(0),
    "kernel_2": hidden.T @ d_outputs,
    "bias_2": d_outputs.sum(0),
  }
  return {name: value / len(inputs) for name, value in sums.items()}


def outputs_of_convnet(weights, inputs):
  hidden = inputs
  for layer in ("1", "2"):
    hidden = jax.lax.conv_general_dilated(
      hidden,
      weights["kernel_" + layer],
      window_strides=(1, 1),
      padding="VALID",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    hidden = jax.nn.relu(hidden + weights["bias_" + layer])
  return hidden.reshape(len(inputs), -1) @ weights["kernel_3"] + weights["bias_3"]


def gradients_of_convnet(weights, inputs, targets):
  def patches(images):  # batch, y, x, channel, row, column
    return sliding_window_view(images, (3, 3), axis=(1, 2))

  def convolve(images, kernel):
    return np.einsum("byxcij,ijcf->byxf", patches(images), kernel)

  hidden_1 = np.maximum(convolve(inputs, weights["kernel_1"]) + weights["bias_1"], 0)
  hidden_2 = np.maximum(convolve(hidden_1, weights["kernel_2"]) + weights["bias_2"], 0)
  flat = hidden_2.reshape(len(inputs), -1)
  d_outputs = flat @ weights["kernel_3"] + weights["bias_3"] - targets
  d_2 = (d_outputs @ weights["kernel_3"].T).reshape(hidden_2.shape) * (hidden_2 > 0)
  # The transpose of a convolution: the padded image, the kernel turned round.
  d_1 = np.einsum(
    "byxfij,ijcf->byxc",
    patches(np.pad(d_2, ((0, 0), (2, 2), (2, 2), (0, 0)))),
    weights["kernel_2"][::-1, ::-1],
  ) * (hidden_1 > 0)
  sums = {
    "kernel_1": np.einsum("byxcij,byxf->ijcf", patches(inputs), d_1),
    "bias_1": d_1.sum((0, 1, 2)),
    "kernel_2": np.einsum("byxcij,byxf->ijcf", patches(hidden_1), d_2),
    "bias_2": d_2.sum((0, 1, 2)),
    "kernel_3": flat.T @ d_outputs,
    "bias_3": d_outputs.sum(0),
  }
  return {name: value / len(inputs) for name, value in sums.items()}


NETWORKS = {"mlp": outputs_of_mlp, "convnet": outputs_of_convnet}
GRADIENTS = {"mlp": gradients_of_mlp, "convnet": gradients_of_convnet}
INPUTS = {"mlp": (8,), "convnet": (7, 7, 1)}
KERNELS = {
  "mlp": [(8, 16), (16, 3)],
  "convnet": [(3, 3, 1, 4), (3, 3, 4, 6), (54, 3)],
}


def problem(network, dtype):
  """Initial weights, and batches whose targets are a linear map of the inputs."""
  rng = np.random.default_rng(0)
  weights = {}
  for i, shape in enumerate(KERNELS[network], start=1):
    weights[f"kernel_{i}"] = rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))
    weights[f"bias_{i}"] = rng.normal(size=shape[-1]) / 10
  inputs = rng.normal(size=(STEPS, 16, *INPUTS[network]))
  flat = inputs.reshape(STEPS, 16, -1)
  targets = flat @ rng.normal(size=(flat.shape[-1], 3)) / 3
  return jax.tree.map(lambda array: array.astype(dtype), (weights, (inputs, targets)))


@partial(jax.jit, static_argnames=("network", "nesterov"))
def train(network, weights, batches, *, nesterov, **settings):
  """The final weights; and the weights, momenta and gradients before every step."""
  tx = gsm(**settings, nesterov=nesterov)

  def loss_fn(weights, inputs, targets):
    errors = NETWORKS[network](weights, inputs) - targets
    return 0.5 * jnp.mean(jnp.sum(errors**2, axis=1))

  def step(carry, batch):
    weights, state = carry
    gradients = jax.grad(loss_fn)(weights, *batch)
    updates, new_state = tx.update(gradients, state, weights)
    before = (weights, optax.tree.get(state, "trace"), gradients)
    return (optax.apply_updates(weights, updates), new_state), before

  (final, _), history = jax.lax.scan(step, (weights, tx.init(weights)), batches)
  return final, history


def agree(found, expected):
  for name, value in expected.items():
    error = np.linalg.norm(found[name] - value) / np.linalg.norm(value)
    assert error <= 1e-5, f"{name}: {error}"


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.9, 0.99])
@pytest.mark.parametrize("density", [0.02, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("network", ["mlp", "convnet"])
def test_a_training_is_that_of_the_equations(network, density, momentum, nesterov):
  settings = {
    "learning_rate": 0.1 * (1 - momentum),
    "density": density,
    "momentum": momentum,
    "weight_decay": 0.01,
    "nesterov": nesterov,
  }
  weights, batches = problem(network, np.float64)
  found, _ = train(network, weights, batches, **settings)

  momenta = {name: np.zeros_like(weight) for name, weight in weights.items()}
  for inputs, targets in zip(*batches, strict=True):
    gradients = GRADIENTS[network](weights, inputs, targets)
    weights, momenta = step_by_hand(weights, momenta, gradients, **settings)
  agree(found, weights)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("network", ["mlp", "convnet"])
def test_every_step_of_a_float32_training_is_that_of_the_equations(network, nesterov):
  # In float32 two trainings soon choose differently between weights of nearly the same
  # saliency, and part. So each step starts from where the training was.
  settings = {
    "learning_rate": 0.01,
    "density": 0.1,
    "momentum": 0.9,
    "weight_decay": 0.01,
    "nesterov": nesterov,
  }
  weights, batches = problem(network, np.float32)
  final, history = jax.device_get(train(network, weights, batches, **settings))
  double = jax.tree.map(lambda array: array.astype(np.float64), history)
  steps = [jax.tree.map(lambda array, k=k: array[k], double) for k in range(STEPS)]
  afterwards = [weights for weights, _, _ in steps[1:]] + [final]
  for (weights, momenta, gradients), after in zip(steps, afterwards, strict=True):
    expected, _ = step_by_hand(weights, momenta, gradients, **settings)
    agree(after, expected)
