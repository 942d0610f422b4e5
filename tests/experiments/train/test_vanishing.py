"""Whether passive weights will vanish is said before any training."""

from experiments.train.vanishing import vanishing_warning


def test_a_warning_in_words_if_weights_will_not_vanish():
  assert vanishing_warning(1e-4) is None
  warning = vanishing_warning(0.2)
  assert warning is not None
  assert warning.startswith("These weights will not vanish: ")
  assert "0.2" in warning
  assert "Train longer" in warning
