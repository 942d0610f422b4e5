"""CIFAR-10."""

from dataclasses import replace

from experiments.configs.recipe import (
  NO_BASE,
  Data,
  Network,
  Phase,
  Recipe,
  stretched,
)
from experiments.train.augmentation import Crop, Flip
from experiments.train.optimizers import SGD
from experiments.train.pruners import GSM
from experiments.train.schedules import Cosine, Drops

CROP_AND_FLIP = (Crop(4), Flip())

# python -m experiments.prune resnet56-cifar10 --data-dir FOLDER
# The paper's settings but for its base model's, of which it says nothing. For a GPU.
RESNET56_CIFAR10 = Recipe(
  data=Data("cifar10"),
  model=Network("resnet_cifar", {"depth": 56, "dtype": "bfloat16"}),
  density=0.1,
  base=Phase(
    200,
    SGD(weight_decay=1e-4, nesterov=False),
    Drops(0.1, (0.5, 0.75)),
    CROP_AND_FLIP,
  ),
  gsm=Phase(
    600,
    GSM(momentum=0.98, weight_decay=1e-4),
    Drops(5e-3),
    CROP_AND_FLIP,
  ),
  batch_size=64,
)

# python -m experiments.prune resnet56-quick --data-dir FOLDER
# Ten times smaller in a fifth of the paper's epochs, without a base model. Four minutes
# on an H200; 92.7 % (seed 0).
RESNET56_QUICK = Recipe(
  data=Data("cifar10"),
  model=Network("resnet_cifar", {"depth": 56, "dtype": "bfloat16"}),
  density=0.1,
  base=NO_BASE,
  gsm=Phase(
    120,
    GSM(momentum=0.95, passive_weight_decay=4e-3, start_density=1.0, density_epochs=68),
    Cosine(0.05, warmup_epochs=4),
    CROP_AND_FLIP,
  ),
  batch_size=128,
  evaluate_every=10,
  reestimate=True,
)

# python -m experiments.prune resnet56-long --data-dir FOLDER
# The same in two fifths of the paper's epochs.
RESNET56_LONG = stretched(RESNET56_QUICK, 240)

# python -m experiments.prune densenet40-quick --data-dir FOLDER
# The same of a DenseNet-40. For a GPU.
DENSENET40_QUICK = replace(
  RESNET56_QUICK,
  model=Network("densenet", {"depth": 40, "growth": 12, "dtype": "bfloat16"}),
)

# python -m experiments.prune resnet20-small --data-dir FOLDER
# CIFAR-10 at 16×16, for two CPU cores: a quarter of an hour. See docs/deep.md for how
# it was chosen, and beside what.
RESNET20_SMALL = replace(
  RESNET56_QUICK,
  data=Data("cifar10", options={"size": 16}),
  model=Network("resnet_cifar", {"depth": 20, "width": 16}),
  gsm=Phase(
    16,
    GSM(momentum=0.95, passive_weight_decay=2e-2, start_density=1.0, density_epochs=9),
    Cosine(0.05, warmup_epochs=1),
    (Crop(2), Flip()),
  ),
  evaluate_every=2,
)
