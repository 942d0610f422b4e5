"""Schedules go where the paper's go."""

import numpy as np
import pytest

from experiments.train.schedules import Cosine, Drops, Linear


def rates_of(schedule, epochs, steps_per_epoch=10):
  build = schedule.build(epochs, steps_per_epoch)
  return np.array([build(step) for step in range(epochs * steps_per_epoch)])


def test_the_schedule_warms_up_and_drops_tenfold_twice():
  rates = rates_of(Drops(0.03, (2 / 3, 5 / 6), warmup_epochs=5), 240)
  np.testing.assert_allclose(rates[:50], 0.03 * np.arange(1, 51) / 50, rtol=1e-5)
  np.testing.assert_allclose(rates[50:1600], 0.03, rtol=1e-5)
  np.testing.assert_allclose(rates[1600:2000], 0.003, rtol=1e-5)
  np.testing.assert_allclose(rates[2000:], 0.0003, rtol=1e-5)


def test_without_drops_and_warm_up_the_rate_is_constant():
  np.testing.assert_allclose(rates_of(Drops(0.03, ()), 5), 0.03)


def test_a_cosine_falls_to_zero_after_the_warm_up():
  rates = rates_of(Cosine(0.1, warmup_epochs=2), 60)
  cosine = 0.05 * (1 + np.cos(np.pi * np.arange(600) / 600))
  np.testing.assert_allclose(rates[19:], cosine[19:], rtol=1e-4, atol=1e-8)
  np.testing.assert_allclose(rates[9], 0.05, rtol=1e-2)


def test_a_cosine_without_warm_up_begins_at_its_peak():
  rates = rates_of(Cosine(0.1), 60)
  cosine = 0.05 * (1 + np.cos(np.pi * np.arange(600) / 600))
  np.testing.assert_allclose(rates, cosine, rtol=1e-4, atol=1e-8)


def test_a_line_falls_to_zero_after_the_warm_up():
  rates = rates_of(Linear(0.1, warmup_epochs=2), 60)
  line = 0.1 * (1 - np.arange(600) / 600)
  np.testing.assert_allclose(rates[19:], line[19:], rtol=1e-4, atol=1e-8)
  np.testing.assert_allclose(rates[9], line[9] / 2, rtol=1e-5)


@pytest.mark.parametrize(
  "schedule", [Drops(0.1), Cosine(0.1), Cosine(0.1, 2), Linear(0.1), Linear(0.1, 2)]
)
def test_of_no_epochs_there_is_a_schedule_too(schedule):
  assert np.isfinite(schedule.build(0, 10)(0))
