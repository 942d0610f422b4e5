"""Which units the weights of each leaf belong to."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.sharding import NamedSharding, PartitionSpec

from gsm_optax._kernels import normalisations
from gsm_optax._shrink import ChannelGroup
from gsm_optax._structures._sums import Part
from gsm_optax._trees import is_hole, match, path_name

OTHER_TREE = (
  "The structure of `channels` was made for params of another tree: make it of the same"
  " tree of arrays that is trained and pruned."
)


class Place(NamedTuple):
  """An axis of a leaf that units are on.

  Attributes:
    group: the name of the units' group.
    axis: its number.
    numbers: int (n,), the unit at each position, and -1 for none.
    size: how many units the group has.
    before: other axes of the leaf that units of the group are on, and their numbers.
  """

  group: str
  axis: int
  numbers: npt.NDArray[np.int64]
  size: int
  before: tuple[tuple[int, npt.NDArray[np.int64]], ...] = ()

  def weights(self, shape: Sequence[int]) -> npt.NDArray[np.int64]:
    """How many weights of a leaf each unit has here."""
    each = np.broadcast_to(~self.counted_before(shape), shape)
    others = tuple(i for i in range(len(shape)) if i != self.axis)
    has_unit = self.numbers >= 0
    counts = each.sum(others)[has_unit]
    return np.bincount(self.numbers[has_unit], counts, self.size).astype(np.int64)

  def counted_before(self, shape: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which weights are the same unit's on an axis before, as on a diagonal."""
    result = np.zeros([1] * len(shape), bool)
    for axis, numbers in self.before:
      one = _along(numbers, axis, len(shape))
      other = _along(self.numbers, self.axis, len(shape))
      result = result | ((one == other) & (one >= 0))
    return result


@dataclass(frozen=True, eq=False)
class Member:
  """What is known of a leaf; no pytree, so that it is one leaf in a tree of them.

  Attributes:
    path: of the leaf.
    shape: of the leaf.
    places: the axes that units are on.
    is_normalisation: whether it is the scale or offset of a normalisation.
  """

  path: str
  shape: tuple[int, ...]
  places: Sequence[Place]
  is_normalisation: bool


class Members(NamedTuple):
  """A tree shaped like the params that holds a `Member` for each leaf."""

  tree: Any

  def beside(self, leaves: Any) -> Iterator[tuple[Member, Any]]:
    """Each member with the leaf of another tree; holes are left out."""
    for member, leaf in self._pairs(leaves):
      if not is_hole(leaf):
        yield member, leaf

  def map(self, function: Callable[[Member, Any], Any], leaves: Any) -> Any:
    """A tree like another one, of results for its leaves; holes stay."""
    structure = jax.tree.structure(leaves, is_leaf=is_hole)
    return structure.unflatten(
      [
        leaf if is_hole(leaf) else function(member, leaf)
        for member, leaf in self._pairs(leaves)
      ]
    )

  def have_units(self, params: Any) -> Any:
    """Which leaves of the params have units, in the form of a `prunable`."""
    return self.map(lambda member, _: bool(member.places), params)

  def _pairs(self, leaves: Any) -> list[tuple[Any, Any]]:
    try:
      members = match(self.tree, leaves)
    except ValueError as error:
      raise ValueError(OTHER_TREE) from error
    pairs = list(zip(members, jax.tree.leaves(leaves, is_leaf=is_hole), strict=True))
    for member, leaf in pairs:
      if is_hole(leaf):
        continue
      if not isinstance(member, Member):
        raise ValueError(OTHER_TREE)
      if np.shape(leaf) != member.shape:
        raise ValueError(
          "The structure of `channels` was made for other params: there"
          f" {member.path!r} had the shape {member.shape}, not {np.shape(leaf)}."
        )
    return pairs


def members_of(params: Any, groups: Mapping[str, ChannelGroup]) -> Members:
  """Of each leaf of the params, the places of the groups' units."""
  places: dict[str, list[Place]] = {}
  for name, group in groups.items():
    for (path, axis), numbers in group.members.items():
      own = places.setdefault(path, [])
      before = tuple((x.axis, x.numbers) for x in own if x.group == name)
      own.append(Place(name, axis, numbers, group.size, before))
  is_normalisation = jax.tree.leaves(normalisations(params))
  leaves = jax.tree_util.tree_leaves_with_path(params)
  found = [
    Member(
      path_name(path),
      tuple(leaf.shape),
      places.get(path_name(path) or "params", ()),
      is_norm,
    )
    for (path, leaf), is_norm in zip(leaves, is_normalisation, strict=True)
  ]
  return Members(jax.tree.unflatten(jax.tree.structure(params), found))


def pooled(place: Place, scores: jax.Array) -> Part:
  """The scores of a leaf, to be summed over each unit."""
  numbers, size = place.numbers, place.size
  others = tuple(i for i in range(scores.ndim) if i != place.axis)
  in_order = np.array_equal(numbers, np.arange(size))
  if place.before:
    scores = jnp.where(place.counted_before(scores.shape), 0, scores)

  def pool(array: jax.Array, by: Callable[..., Any]) -> jax.Array:
    each = _on_every_device(by(array, axis=others))
    if in_order:
      return each
    segments = jax.ops.segment_sum if by is jnp.sum else jax.ops.segment_max
    # Positions of no unit go to one more, which is cut off.
    own = np.where(numbers < 0, size, numbers)
    return segments(each, own, num_segments=size + 1)[:size]

  def spread(units: jax.Array) -> jax.Array:
    each = units if in_order else units[np.maximum(numbers, 0)]
    return _along(each, place.axis, scores.ndim)

  return Part(scores, pool, spread, int(place.weights(scores.shape).max(initial=0)))


def _along(array: Any, axis: int, ndim: int) -> Any:
  """A vector along one of several axes."""
  return array.reshape([-1 if i == axis else 1 for i in range(ndim)])


def all_of(
  places: Sequence[Place], masks: Mapping[str, jax.Array], shape: tuple[int, ...]
) -> jax.Array:
  """Whether all units of a weight are kept, for each weight of a leaf."""

  def of_axis(place: Place) -> jax.Array:
    mask = masks[place.group][np.maximum(place.numbers, 0)]
    mask = jnp.where(place.numbers < 0, True, mask)
    return _along(mask, place.axis, len(shape))

  each = [of_axis(place) for place in places if place.group in masks]
  return jnp.broadcast_to(reduce(jnp.logical_and, each, jnp.ones((), bool)), shape)


def _on_every_device(array: jax.Array) -> jax.Array:
  """Small arrays need not be split, and look-ups then need no exchange."""
  mesh = jax.typeof(array).sharding.mesh
  if mesh.empty or not mesh.are_all_axes_explicit:
    return array
  return jax.sharding.reshard(array, NamedSharding(mesh, PartitionSpec()))
