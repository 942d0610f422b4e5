"""MNIST: the paper's settings, and recipes that take a quarter of its epochs."""

from dataclasses import replace

from experiments.configs.recipe import Data, Network, Phase, Recipe
from experiments.train.augmentation import Shift
from experiments.train.optimizers import SGD
from experiments.train.pruners import GSM
from experiments.train.schedules import Cosine, Drops

# python -m experiments.prune lenet300-mnist --data-dir FOLDER
# Some minutes on two CPU cores; 98.29 % → 98.22 %, mean of seeds 0 to 4.
LENET300_MNIST = Recipe(
  data=Data("mnist"),
  model=Network("lenet300"),
  density=1 / 60,
  base=Phase(40, SGD(), Drops(3e-2)),
  gsm=Phase(240, GSM(), Drops(3e-2, warmup_epochs=5)),
)

# python -m experiments.prune lenet5-mnist --data-dir FOLDER
# An hour and more on one CPU core; 99.23 % → 99.15 % with seed 0.
LENET5_MNIST = replace(LENET300_MNIST, model=Network("lenet5"), density=1 / 125)

QUICK = GSM(
  momentum=0.95, passive_weight_decay=6e-3, start_density=0.2, density_epochs=24
)

# python -m experiments.prune lenet300-fast --data-dir FOLDER
# The paper's compression in a quarter of its epochs; see docs/recipes.md.
# A minute or two on two CPU cores; 98.29 % → 98.87 %, mean of seeds 0 to 4.
LENET300_FAST = replace(
  LENET300_MNIST, gsm=Phase(60, QUICK, Cosine(0.1, warmup_epochs=2), (Shift(1),))
)

# python -m experiments.prune lenet5-fast --data-dir FOLDER
# About half an hour with its base model, on one or two CPU cores; 99.17 % → 99.33 %
# with seed 0.
LENET5_FAST = replace(LENET300_FAST, model=Network("lenet5"), density=1 / 125)

# python -m experiments.prune lenet300-far --data-dir FOLDER
# Farther than the paper went, by the same recipe in twice the epochs.
# Three minutes on one CPU core; 98.26 % → 98.68 %, mean of seeds 0 to 2.
LENET300_FAR = replace(
  LENET300_FAST,
  density=1 / 100,
  gsm=replace(
    LENET300_FAST.gsm,
    epochs=120,
    optimizer=replace(QUICK, active_share=0.9, density_epochs=48),
  ),
)

# python -m experiments.prune lenet5-far --data-dir FOLDER
# The recipe of lenet5-fast, with fewer weights active. About 35 minutes with its base
# model, on one CPU core; 99.25 % → 98.98 %, mean of seeds 0 to 2.
LENET5_FAR = replace(
  LENET5_FAST,
  density=1 / 500,
  gsm=replace(LENET5_FAST.gsm, optimizer=replace(QUICK, active_share=0.87)),
)
