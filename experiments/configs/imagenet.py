"""ImageNet, streamed from ``FOLDER/train/CLASS/*.JPEG`` and ``FOLDER/val/CLASS/…``.

Not run yet: there is no machine for it here. What is tested is the same on a small
folder of generated images.
"""

from dataclasses import replace

from experiments.configs.recipe import NO_BASE, Data, Network, Phase, Recipe
from experiments.train.augmentation import Flip
from experiments.train.optimizers import SGD
from experiments.train.pruners import GSM
from experiments.train.schedules import Cosine, Drops

# python -m experiments.prune resnet50-imagenet --data-dir FOLDER
# The paper's settings for GSM, 25 % of the weights; a base model as it is usual.
# The network is "v1.5", with the strides in the 3×3 convolutions. By arithmetic these
# settings leave 0.36 of a weight that is passive throughout; the run says so.
RESNET50_IMAGENET = Recipe(
  data=Data("imagenet", options={"size": 224}),
  model=Network("resnet50", {"dtype": "bfloat16"}),
  density=0.25,
  base=Phase(
    90,
    SGD(weight_decay=1e-4, nesterov=False),
    Drops(0.1, (1 / 3, 2 / 3, 8 / 9), warmup_epochs=5),
    (Flip(),),
  ),
  gsm=Phase(
    60, GSM(momentum=0.98, weight_decay=1e-4), Drops(1e-3), augmentation=(Flip(),)
  ),
  batch_size=256,
  evaluate_every=1,
  checkpoint_every=1000,
  reestimate=True,
)

# python -m experiments.prune resnet50-quick --data-dir FOLDER
# Without a base model, in 90 epochs, on several GPUs.
RESNET50_QUICK = replace(
  RESNET50_IMAGENET,
  base=NO_BASE,
  gsm=Phase(
    90,
    GSM(
      momentum=0.95,
      weight_decay=1e-4,
      passive_weight_decay=2e-4,
      start_density=1.0,
      density_epochs=36,
    ),
    Cosine(0.2, warmup_epochs=5),
    (Flip(),),
  ),
  batch_size=1024,
  checkpoint_every=500,
)
