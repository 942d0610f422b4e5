"""A language model: bytes of Python's standard library, which needs no download."""

from dataclasses import replace

from experiments.configs.recipe import NO_BASE, Data, Network, Phase, Recipe
from experiments.train.optimizers import AdamW, Muon
from experiments.train.pruners import Sparsify
from experiments.train.schedules import Cosine
from experiments.train.structures import Channels

# python -m experiments.prune lm-python
# Seven minutes on one CPU core; 1.37 nats a byte of the test files, mean of seeds 0 to
# 2. Gradual magnitude pruning under AdamW: 1.42.
LM_PYTHON = Recipe(
  data=Data("python_source", options={"length": 128, "windows_per_epoch": 3200}),
  model=Network("transformer", {"depth": 4, "width": 128, "heads": 4, "hidden": 384}),
  density=1 / 10,
  base=NO_BASE,
  gsm=Phase(
    8,
    Sparsify(
      AdamW(),
      passive_weight_decay=5.0,
      start_density=1.0,
      density_epochs=3.2,
      select_by="update",
      prune_from=0.7,
    ),
    Cosine(6e-3, warmup_epochs=0.5),
  ),
  batch_size=16,
  evaluate_every=4,
)

# python -m experiments.prune lm-python-units
# Half of the heads and hidden units. Six minutes on one CPU core; 1.25 nats a byte with
# 0.71 of the multiply-adds, seed 0.
LM_PYTHON_UNITS = replace(
  LM_PYTHON,
  density=0.5,
  structure=Channels(cost="multiply-adds"),
  gsm=Phase(
    8,
    Sparsify(
      Muon(),
      passive_weight_decay=1.5,
      start_density=1.0,
      density_epochs=4.8,
      smoothing=0.95,
      prune_from=0.8,
    ),
    Cosine(0.02, warmup_epochs=0.5),
  ),
)
