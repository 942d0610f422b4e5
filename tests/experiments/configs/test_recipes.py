"""Schedules go where the paper's go, and numbers that no run can have are refused."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.configs import (
  LENET300_FAST,
  PRESETS,
  ConfigError,
  check,
  density_schedule,
  learning_rate_schedule,
)


def test_the_schedule_warms_up_and_drops_tenfold_twice():
  schedule = learning_rate_schedule(0.03, 240, 10, (2 / 3, 5 / 6), warmup_epochs=5)
  rates = np.array([schedule(step) for step in range(2400)])
  np.testing.assert_allclose(rates[:50], 0.03 * np.arange(1, 51) / 50, rtol=1e-5)
  np.testing.assert_allclose(rates[50:1600], 0.03, rtol=1e-5)
  np.testing.assert_allclose(rates[1600:2000], 0.003, rtol=1e-5)
  np.testing.assert_allclose(rates[2000:], 0.0003, rtol=1e-5)


def test_a_cosine_falls_to_zero_after_the_warm_up():
  schedule = learning_rate_schedule(0.1, 60, 10, None, warmup_epochs=2)
  rates = np.array([schedule(step) for step in range(600)])
  cosine = 0.05 * (1 + np.cos(np.pi * np.arange(600) / 600))
  np.testing.assert_allclose(rates[19:], cosine[19:], rtol=1e-4, atol=1e-8)
  np.testing.assert_allclose(rates[9], 0.05, rtol=1e-2)


def test_the_density_falls_by_the_same_share_at_each_step_and_then_stays():
  config = replace(PRESETS["digits"], density=0.01)
  assert density_schedule(config, 10) == 0.01
  assert density_schedule(replace(config, active_share=0.5), 10) == 0.005
  config = replace(config, start_density=0.1, density_epochs=2)
  densities = [float(density_schedule(config, 10)(step)) for step in range(40)]
  np.testing.assert_allclose(densities[:21], 0.1 ** (1 + np.arange(21) / 20), rtol=1e-5)
  np.testing.assert_allclose(densities[20:], 0.01, rtol=1e-6)


def test_mnist_presets_are_the_papers_settings():
  for name, compression in [("lenet300-mnist", 60), ("lenet5-mnist", 125)]:
    config = PRESETS[name]
    assert config.density == 1 / compression
    assert (config.batch_size, config.momentum, config.weight_decay) == (
      256,
      0.99,
      5e-4,
    )
    assert (config.learning_rate, config.gsm_epochs, config.drops) == (
      0.03,
      240,
      (160 / 240, 200 / 240),
    )


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"gsm_epochs": 2}, "--density-epochs must be at most --gsm-epochs, 2"),
    ({"fixed_after": 1}, "--fixed-after does without --passive-weight-decay"),
  ],
)
def test_numbers_that_would_be_ignored_are_refused(changes, message):
  check(LENET300_FAST)
  check(replace(LENET300_FAST, gsm_epochs=0))
  with pytest.raises(ConfigError, match=message):
    check(replace(LENET300_FAST, **changes))
