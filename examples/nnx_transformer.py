"""Prune a Flax NNX transformer over bytes: ``python examples/nnx_transformer.py``.

On the text of Python's help, in 30 seconds on two CPU cores. Prints what is left of a
weight that never learns, the test loss before and after pruning, and the report.
"""

from pydoc_data.topics import topics

import numpy as np
import optax
from flax import nnx

import gsm_optax

STEPS, DENSITY, MOMENTUM, DECAY = 1500, 0.2, 0.98, 5e-3
learning_rate = optax.cosine_decay_schedule(0.05, STEPS)


class Block(nnx.Module):
  def __init__(self, rngs):
    self.norm = nnx.LayerNorm(64, rngs=rngs)
    self.attention = nnx.MultiHeadAttention(4, 64, decode=False, rngs=rngs)
    self.up, self.down = nnx.Linear(64, 256, rngs=rngs), nnx.Linear(256, 64, rngs=rngs)

  def __call__(self, x):
    y, mask = self.norm(x), nnx.make_causal_mask(x[..., 0])
    return x + self.attention(y, mask=mask) + self.down(nnx.gelu(self.up(y)))


def loss(model, text):
  logits = model(text[:, :-1])
  return optax.softmax_cross_entropy_with_integer_labels(logits, text[:, 1:]).mean()


@nnx.jit
def step(model, optimizer, text):
  optimizer.update(model, nnx.grad(loss)(model, text))


text = "".join(topics.values()).encode()[: 12000 * 33]
train, test = np.split(np.frombuffer(text, np.uint8).reshape(12000, 33), [11000])
rngs = nnx.Rngs(0)
head = nnx.Linear(64, 256, rngs=rngs)
model = nnx.Sequential(nnx.Embed(256, 64, rngs=rngs), Block(rngs), Block(rngs), head)
tx = gsm_optax.gsm(learning_rate, DENSITY, MOMENTUM, DECAY)
optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
for batch in np.random.default_rng(0).integers(len(train), size=(STEPS, 16)):
  step(model, optimizer, train[batch])
total = learning_rate(np.arange(STEPS)).sum() * DECAY / (1 - MOMENTUM)
print(f"A passive weight is left with {np.exp(-total):.0e} of its size.")
print(f"Test loss before pruning: {nnx.jit(loss)(model, test):.4f}")
params = gsm_optax.prune(nnx.state(model, nnx.Param), DENSITY)
nnx.update(model, params)
print(f"Test loss after pruning: {nnx.jit(loss)(model, test):.4f}")
print(gsm_optax.sparsity_report(params))
