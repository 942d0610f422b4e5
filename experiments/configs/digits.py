"""scikit-learn's handwritten digits: 1,797 images of 8×8, which need no download."""

from experiments.configs.recipe import Data, Network, Phase, Recipe
from experiments.train.optimizers import GSM, SGD
from experiments.train.schedules import Drops

# python -m experiments.prune
# Under a minute on two CPU cores; 97.2 % → 97.4 %, mean of seeds 0 to 2.
DIGITS = Recipe(
  data=Data("digits"),
  model=Network("lenet300"),
  density=1 / 20,
  base=Phase(100, SGD(), Drops(3e-2, (0.57, 0.8))),
  gsm=Phase(600, GSM(), Drops(3e-2, (0.57, 0.8))),
  batch_size=64,
  evaluate_every=20,
)
