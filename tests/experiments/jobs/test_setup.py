"""What a job begins with is checked before anything is trained."""

from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import gsm_optax
from experiments import models
from experiments.configs import recipes
from experiments.configs.check import ConfigError
from experiments.configs.recipe import changed
from experiments.datasets.digits import digits
from experiments.jobs.command_line import Job
from experiments.jobs.setup import Setup, check_density
from experiments.run.folder import RunFolder
from experiments.train.optimizers import SGD
from experiments.train.pruners import GradualMagnitude

DIGITS = recipes()["digits"]
MODEL = models.load("lenet300", (8, 8, 1), 10)
SIZE = 64 * 300 + 300 * 100 + 100 * 10


@pytest.mark.parametrize(
  ("density", "share", "fits"),
  [
    (1 / SIZE, 1.0, True),
    (0.5 / SIZE, 1.0, False),
    (2 / SIZE, 0.5, True),
    (2 / SIZE, 0.4, False),
  ],
)
def test_one_weight_at_least_is_active(density, share, fits):
  recipe = changed(DIGITS, {"density": density, "gsm.optimizer.active_share": share})
  if fits:
    check_density(recipe, MODEL)
  else:
    with pytest.raises(ConfigError, match="less than one weight"):
      check_density(recipe, MODEL)


@pytest.mark.parametrize("optimizer", [SGD(), GradualMagnitude(1)])
def test_one_weight_at_least_is_kept_by_other_optimizers_too(optimizer):
  recipe = changed(DIGITS, {"density": 0.5 / SIZE, "gsm.optimizer": optimizer})
  with pytest.raises(ConfigError, match="less than one weight"):
    check_density(recipe, MODEL)


def test_under_a_mask_the_base_models_optimizer_trains_as_gsm_does():
  recipe = changed(DIGITS, {"base.optimizer": SGD(0.5), "gsm.schedule.peak": 0.25})
  folder = RunFolder(Path("never-made"), {})
  setup = Setup(Job("digits", recipe), digits(), MODEL, folder, {}, None)
  assert setup.steps_per_epoch == 1347 // 64
  params, _ = MODEL.init(jax.random.key(0))
  mask = gsm_optax.magnitude_mask(params, 0.1)
  stage = setup.masked_stage("ticket", mask, 7)
  assert (stage.name, stage.epochs) == ("ticket", 7)
  assert stage.augmentation == recipe.gsm.augmentation
  tx, free = stage.tx, optax.sgd(0.25, 0.5, nesterov=True)
  pruned = gsm_optax.apply_mask(params, mask)
  gradients = optax.tree.random_like(jax.random.key(1), params, jax.random.normal)
  updates, _ = tx.update(gradients, tx.init(pruned), pruned)
  expected, _ = free.update(gradients, free.init(pruned), pruned)
  for layer in params:
    kept = np.asarray(mask[layer]["kernel"])
    assert not updates[layer]["kernel"][~kept].any()
    np.testing.assert_allclose(
      updates[layer]["kernel"][kept], expected[layer]["kernel"][kept], rtol=1e-5
    )
    np.testing.assert_allclose(
      updates[layer]["bias"], expected[layer]["bias"], rtol=1e-5
    )
  # The learning rate falls when it would under GSM, in as many epochs as these.
  rates = [float(stage.learning_rate(step)) for step in (0, 7 * 21 - 1)]
  np.testing.assert_allclose(rates, [0.25, 0.0025], rtol=1e-5)
