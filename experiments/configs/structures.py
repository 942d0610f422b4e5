"""Units, channels, blocks and groups that are kept or dropped as a whole."""

from dataclasses import replace

from experiments.configs.cifar10 import RESNET20_SMALL, RESNET56_LONG
from experiments.configs.digits import DIGITS
from experiments.configs.mnist import LENET300_FAST, QUICK
from experiments.configs.recipe import NO_BASE, Data, Network, Phase, Recipe
from experiments.train.augmentation import Shift
from experiments.train.pruners import GSM
from experiments.train.schedules import Cosine
from experiments.train.structures import Blocks, Channels, NOfM

# python -m experiments.prune digits-units
# A quarter of the hidden units. A quarter of a minute on one CPU core; 97.2 % → 97.5 %,
# mean of seeds 0 to 2.
DIGITS_UNITS = replace(
  DIGITS,
  density=1 / 4,
  structure=Channels(),
  gsm=Phase(
    400,
    GSM(
      momentum=0.95,
      passive_weight_decay=2e-2,
      start_density=1.0,
      density_epochs=160,
      smoothing=0.95,
    ),
    Cosine(0.05, warmup_epochs=2),
  ),
)

# python -m experiments.prune lenet5-units --data-dir FOLDER
# Filters and hidden units, from the first step on, so that a tenth of the multiply-adds
# is left. The density is a share of the units, most of which are cheap. Three minutes
# on one CPU core; 99.36 %, mean of seeds 0 to 2.
LENET5_UNITS = Recipe(
  data=Data("mnist"),
  model=Network("lenet5"),
  density=0.55,
  structure=Channels(cost="multiply-adds"),
  base=NO_BASE,
  gsm=Phase(
    16,
    GSM(
      momentum=0.95,
      passive_weight_decay=3e-2,
      start_density=1.0,
      density_epochs=8,
      smoothing=0.99,
    ),
    Cosine(0.05, warmup_epochs=1),
    (Shift(1),),
  ),
  evaluate_every=2,
)

# python -m experiments.prune lenet300-2of4 --data-dir FOLDER
# Two of every four weights of a unit, as NVIDIA's sparse tensor cores take them. One
# minute on one CPU core; 98.26 % → 99.10 %, mean of seeds 0 to 2.
LENET300_2OF4 = replace(
  LENET300_FAST,
  density=0.5,
  structure=NOfM(2, 4),
  gsm=replace(
    LENET300_FAST.gsm, optimizer=replace(QUICK, start_density=None, density_epochs=0)
  ),
)

# python -m experiments.prune lenet300-blocks --data-dir FOLDER
# Four weights at a time. Three minutes on one CPU core, with its base model; 98.26 % →
# 99.05 %, mean of seeds 0 to 2.
LENET300_BLOCKS = replace(
  LENET300_FAST,
  density=1 / 20,
  structure=Blocks((4, 1)),
  gsm=replace(LENET300_FAST.gsm, optimizer=replace(QUICK, smoothing=0.95)),
)


def half_of_multiply_adds(recipe: Recipe, shrinkage: float) -> Recipe:
  """Of a residual network pruned by weights, one pruned by channels.

  Args:
    recipe: what is trained, and for how long.
    shrinkage: its ``passive_weight_decay``.
  """
  optimizer = GSM(
    momentum=0.95,
    passive_weight_decay=shrinkage,
    start_density=1.0,
    density_epochs=3 / 8 * recipe.gsm.epochs,
    smoothing=0.95,
  )
  return replace(
    recipe,
    density=0.7,
    structure=Channels(cost="multiply-adds"),
    gsm=replace(recipe.gsm, optimizer=optimizer),
  )


# python -m experiments.prune resnet20-units --data-dir FOLDER
# Half of the multiply-adds of a ResNet-20, on CIFAR-10 at 16×16. 20 minutes on one CPU
# core; 78.4 %, mean of seeds 0 to 2.
RESNET20_UNITS = half_of_multiply_adds(RESNET20_SMALL, 2e-2)

# python -m experiments.prune resnet56-units --data-dir FOLDER
# The same of a ResNet-56, at 32×32. For a GPU; it has not been run.
RESNET56_UNITS = half_of_multiply_adds(RESNET56_LONG, 4e-3)
