"""Prune a Flax Linen CNN with BatchNorm: ``python examples/linen_cnn.py``.

With a TrainState, on scikit-learn's digits, in 20 seconds on two CPU cores. Prints what
is left of a weight that never learns, the test accuracy before and after pruning, and
the report.
"""

import flax.linen as nn
import jax
import numpy as np
import optax
from flax.training import train_state
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import gsm_optax

STEPS, DENSITY, MOMENTUM, DECAY = 4000, 0.1, 0.98, 2e-3
learning_rate = optax.cosine_decay_schedule(0.1, STEPS)


class TrainState(train_state.TrainState):
  batch_stats: dict


class CNN(nn.Module):
  @nn.compact
  def __call__(self, x, train):
    x = x.reshape(-1, 8, 8, 1) / 16
    for features in (16, 32):
      x = nn.Conv(features, (3, 3), strides=2, use_bias=False)(x)
      x = nn.relu(nn.BatchNorm(not train, momentum=0.9)(x))
    return nn.Dense(10)(x.reshape(len(x), -1))


@jax.jit  # step by step: on CPU, convolutions are slow inside of a scan
def step(state, x, y):
  def loss(params):
    variables = {"params": params, "batch_stats": state.batch_stats}
    logits, new = state.apply_fn(variables, x, True, mutable="batch_stats")
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), new

  gradients, new = jax.grad(loss, has_aux=True)(state.params)
  return state.apply_gradients(grads=gradients, **new)


x, test_x, y, test_y = train_test_split(*load_digits(return_X_y=True), random_state=0)
tx = gsm_optax.gsm(learning_rate, DENSITY, MOMENTUM, DECAY)
variables = CNN().init(jax.random.key(0), x, True)
state = TrainState.create(apply_fn=CNN().apply, tx=tx, **variables)
for batch in np.random.default_rng(0).integers(len(x), size=(STEPS, 64)):
  state = step(state, x[batch], y[batch])
total = learning_rate(np.arange(STEPS)).sum() * DECAY / (1 - MOMENTUM)
print(f"A passive weight is left with {np.exp(-total):.0e} of its size.")
pruned = state.replace(params=gsm_optax.prune(state.params, DENSITY))
for name, s in (("before", state), ("after", pruned)):
  logits = s.apply_fn({"params": s.params, "batch_stats": s.batch_stats}, test_x, False)
  print(f"Test accuracy {name} pruning: {(logits.argmax(1) == test_y).mean():.2%}")
print(gsm_optax.sparsity_report(pruned.params))
