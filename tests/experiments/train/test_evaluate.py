"""Accuracies are shares of the test images, whatever the batches."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from experiments.datasets.resident import Resident
from experiments.datasets.texts import Texts
from experiments.models import Model
from experiments.train.evaluate import make_evaluate

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(23, 9)).astype(np.float32)
LABELS = RNG.integers(0, 9, 23).astype(np.int32)


def scaled(params, batch_stats, images, train, momentum=None):
  """A network that has the logits in its images."""
  assert not train
  del momentum
  return images[:, 0, :, 0] * params, batch_stats


MODEL = Model(lambda _: (jnp.ones(()), {}), scaled, None)


def data_of(logits, labels):
  images = np.asarray(logits, np.float32)[:, None, :, None]
  return Resident(images[:1], labels[:1], images, labels, images.shape[2])


def accuracy_of(logits, labels, batch_size=1000):
  evaluate = make_evaluate(MODEL, data_of(logits, labels), batch_size=batch_size)
  (accuracy,) = evaluate([(jnp.ones(()), {})])
  return accuracy


def shares_of(logits, labels, batch_size=1000):
  return accuracy_of(logits, labels, batch_size)[:2]


def by_numpy(logits, labels, likeliest):
  """Percent whose label is among the likeliest; of equals the first is likelier."""
  order = np.argsort(-np.asarray(logits), axis=-1, kind="stable")[:, :likeliest]
  return 100 * np.mean((order == labels[:, None]).any(-1))


@pytest.mark.parametrize("batch_size", [1, 4, 5, 23, 1000])
def test_whatever_the_batches_they_are_those_of_numpy(batch_size):
  top1, top5, loss = accuracy_of(LOGITS, LABELS, batch_size)
  assert top1 == pytest.approx(by_numpy(LOGITS, LABELS, 1))
  assert top5 == pytest.approx(by_numpy(LOGITS, LABELS, 5))
  assert 0 < top1 < top5 < 100
  likelihoods = scipy.special.softmax(LOGITS, -1)[np.arange(23), LABELS]
  assert loss == pytest.approx(-np.log(likelihoods).mean())


def test_right_and_wrong_answers():
  labels = LOGITS.argmax(-1).astype(np.int32)
  assert shares_of(LOGITS, labels, 4) == (100, 100)
  labels[:3] = LOGITS[:3].argmin(-1)
  assert shares_of(LOGITS, labels, 4) == (100 * 20 / 23,) * 2
  assert shares_of(LOGITS, LOGITS.argmin(-1).astype(np.int32), 4) == (0, 0)


def test_padding_is_never_right():
  # It would be of class 0, or among any five: its images are zeros.
  labels = np.full(3, 8, np.int32)
  assert shares_of(np.eye(9)[[0, 1, 2]], labels, 2) == (0, 0)


@pytest.mark.parametrize("label", [0, 4, 8])
@pytest.mark.parametrize("place", [0, 4, 8, slice(None)])
def test_what_is_no_number_is_not_right(place, label):
  logits = np.zeros((3, 9), np.float32)
  logits[:, label] = 1
  assert shares_of(logits, np.full(3, label)) == (100, 100)
  logits[1, place] = np.nan
  assert shares_of(logits, np.full(3, label)) == (100 * 2 / 3,) * 2


def test_of_equals_the_first_is_likelier():
  labels = np.arange(9, dtype=np.int32)
  top1, top5 = shares_of(np.zeros((9, 9)), labels)
  assert (top1, top5) == (pytest.approx(100 / 9), pytest.approx(500 / 9))
  ties = RNG.integers(0, 3, (23, 9)).astype(np.float32)
  assert shares_of(ties, LABELS) == (
    pytest.approx(by_numpy(ties, LABELS, 1)),
    pytest.approx(by_numpy(ties, LABELS, 5)),
  )


def test_of_less_than_five_classes_all_are_among_the_likeliest():
  assert accuracy_of(LOGITS[:, :3], LABELS % 3).top5 == 100


def test_several_weights_are_evaluated_in_one_pass():
  taken = []

  class Counted(Resident):
    def test(self, batch_size):
      for batch in super().test(batch_size):
        taken.append(len(batch[1]))
        yield batch

  data = data_of(LOGITS, LABELS)
  counted = Counted(*vars(data).values())
  evaluate = make_evaluate(MODEL, counted, batch_size=5)
  one, other = evaluate([(jnp.ones(()), {}), (-jnp.ones(()), {})])
  assert one.top1 == pytest.approx(by_numpy(LOGITS, LABELS, 1))
  assert other.top1 == pytest.approx(by_numpy(-LOGITS, LABELS, 1))
  assert taken == [5] * 5


def test_images_are_prepared_and_statistics_are_used():
  def apply(params, batch_stats, images, train, momentum=None):
    del params, train, momentum
    assert images.dtype == jnp.float32
    return images[:, 0, :, 0] * batch_stats, batch_stats

  images = np.array([[0, 255], [255, 0]], np.uint8)[:, None, :, None]
  labels = np.array([1, 0], np.int32)
  data = Resident(images, labels, images, labels, 2, ([0.5], [0.25]))
  evaluate = make_evaluate(Model(lambda _: None, apply, None), data)
  right, wrong = evaluate([((), jnp.float32(1)), ((), jnp.float32(-1))])
  assert (right.top1, wrong.top1) == (100, 0)


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_of_texts_every_place_counts(batch_size):
  """A network to which each byte says what the next is likely to be."""
  rng = np.random.default_rng(0)
  texts = rng.integers(0, 9, (7, 6), np.uint8)
  labels = rng.integers(0, 9, (7, 6)).astype(np.int32)
  table = rng.normal(size=(9, 9)).astype(np.float32)
  data = Texts(texts[:1], labels[:1], texts, labels, 9)

  def apply(params, batch_stats, tokens, train, momentum=None):
    del train, momentum
    return params[tokens], batch_stats

  model = Model(lambda _: None, apply, None)
  ((top1, top5, loss),) = make_evaluate(model, data, batch_size=16 * batch_size)(
    [(jnp.asarray(table), {})]
  )
  logits = table[texts].reshape(-1, 9)
  assert top1 == pytest.approx(by_numpy(logits, labels.ravel(), 1))
  assert top5 == pytest.approx(by_numpy(logits, labels.ravel(), 5))
  likelihoods = scipy.special.softmax(logits, -1)[np.arange(42), labels.ravel()]
  assert loss == pytest.approx(-np.log(likelihoods).mean())
