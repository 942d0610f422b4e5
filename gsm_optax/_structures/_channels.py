"""Coupled channels, units and heads, which are kept or dropped as a whole."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsm_optax._mistakes import check_is_params
from gsm_optax._shrink import ChannelGroup, Coupled, coupled
from gsm_optax._structures._members import Place, all_of, members_of, pooled
from gsm_optax._structures._structure import Structure
from gsm_optax._structures._sums import sums

COSTS = ("weights", "multiply-adds")

LEAST = np.finfo(np.float32).tiny
"""The score of a unit that is not zero, but whose scale and offset are."""

Cost = Literal["weights", "multiply-adds"]


def channels(
  apply_fn: Callable[..., Any],
  params: Any,
  *inputs: Any,
  score: Literal["sum", "mean"] = "sum",
  cost: Cost | None = None,
  by_normalisation: bool = False,
  groups: Callable[[ChannelGroup], bool] | None = None,
) -> Structure:
  r"""Whole channels, hidden units and heads, as `shrink` can take them out.

  .. math:: T(unit) = \frac{1}{cost} \sum_{w \in unit} T(w)

  A unit is all of the params that can only go together: of a hidden unit its column of
  one matrix, its bias, and its row of the next; of a channel in a residual network the
  same channel of all layers that are added. All units of the model compete, and a share
  `density` of them is kept. All of a passive unit's weights are passive, biases,
  scales and offsets included; a weight of two units, as all those between two hidden
  layers are, is active if both are.

  What is found follows from the function, as by `channel_groups`, so it knows of no
  layers. Units have to be on more than one leaf, and not to be inputs. Where units
  share positions of an axis, as heads do with the features within heads in a matrix of
  all heads' features, those on the most leaves are taken.

  Args:
    apply_fn: as for `shrink`: the model in inference mode.
    params: what is trained; shapes and dtypes are enough. Statistics and the like are
      closed over by ``apply_fn``.
    *inputs: as for `shrink`; shapes and dtypes are enough.
    score: whether a unit's score is the sum over its weights, or their mean, with
      which small units stand a better chance.
    cost: what the score is divided by: the unit's weights, or how many multiply-adds
      it takes, at these inputs' shapes. ``None``: nothing.
    by_normalisation: whether units that are normalised, by a BatchNorm say, are scored
      by their scale and offset alone, and not like others by all of their weights.
      Normalisations are recognised as by `kernels`. For networks in which some units
      are normalised and others are not, leave it.
    groups: ``group -> bool``, which groups of units take part, in place of all that do
      not overlap.

  Returns:
    A structure, for `gsm`, `sparsify`, `prune` and others; `print` shows its groups.
    With it `sparsity_report` tells the share of the weights and multiply-adds that is
    left.

  Raises:
    ValueError: as `channel_groups` does; or if there are no such units, or `params`
      hold more than the params, as a model's variables do.

  Example:
    >>> import jax, jax.numpy as jnp
    >>> import gsm_optax
    >>> def apply_fn(params, x):
    ...   return jax.nn.relu(x @ params["a"] + params["b"]) @ params["c"]
    >>> params = {"a": jnp.ones((4, 3)), "b": jnp.zeros(3), "c": jnp.ones((3, 2))}
    >>> params["a"] = params["a"].at[:, 1].set(2.0)
    >>> units = gsm_optax.channels(apply_fn, params, jnp.ones((1, 4)))
    >>> units
    channels
    3 units: a[1], b[0], c[0]
    >>> print(gsm_optax.magnitude_mask(params, 1 / 3, structure=units)["c"])
    [[False False]
     [ True  True]
     [False False]]
  """
  if score not in ("sum", "mean"):
    raise ValueError(f"`score` must be 'sum' or 'mean', not {score!r}.")
  if cost is not None and cost not in COSTS:
    raise ValueError(
      f"`cost` must be 'weights', 'multiply-adds' or None, not {cost!r}."
    )
  check_is_params(params)
  function = coupled(apply_fn, params, inputs)
  if groups is not None and not callable(groups):
    raise ValueError(
      f"`groups` must be a function of a `ChannelGroup`, or None, not {groups!r}."
    )
  choose = groups or _without_overlaps(function.groups)
  numbers = [i for i, group in enumerate(function.groups) if choose(group)]
  if not numbers:
    raise ValueError(
      "There are no units to choose from: `channel_groups` says what can be removed and"
      " why the rest stays; of that, units are what is on more than one leaf of the"
      " params and no input, and what `groups` chooses."
    )
  chosen = _named(function, numbers)
  members = members_of(params, {name: each.group for name, each in chosen.items()})
  factors = {
    name: _factor(function, each.number, cost) for name, each in chosen.items()
  }

  def to_units(scores: Any) -> Any:
    voters: dict[str, list[Vote]] = {name: [] for name in chosen}
    for member, leaf in members.beside(scores):
      for place in member.places:
        voters[place.group].append(Vote(place, leaf, member.is_normalisation))
    result = OrderedDict[str, jax.Array]()
    for name, votes in voters.items():
      if votes:  # not in another part of a partition
        first = [vote for vote in votes if vote.is_normalisation and by_normalisation]
        counted = first or votes
        factor = factors[name]
        if score == "mean":
          factor = factor / sum(
            vote.place.weights(vote.scores.shape) for vote in counted
          )
        total = sums([pooled(vote.place, vote.scores) for vote in counted])
        total *= factor.astype(np.float32)
        if len(counted) < len(votes):
          # It is not zero, and not pruned yet, if any of its weights is not.
          is_left = sums([pooled(vote.place, vote.scores) for vote in votes]) > 0
          total = jnp.where(is_left & (total == 0), LEAST, total)
        result[name] = total
    return result

  def to_weights(masks: Mapping[str, jax.Array], scores: Any) -> Any:
    return members.map(
      lambda member, leaf: all_of(member.places, masks, leaf.shape), scores
    )

  def totals(masks: Mapping[str, Any]) -> Mapping[str, tuple[int, int]]:
    kept = [np.ones(group.size, bool) for group in function.groups]
    before = function.size(kept)
    for name, mask in masks.items():
      kept[chosen[name].number] = np.asarray(mask)
    return dict(zip(COSTS, zip(before, function.size(kept), strict=True), strict=True))

  return Structure(
    to_units,
    to_weights,
    prunable=members.have_units,
    totals=totals,
    description="\n".join(["channels", *(_line(x.group) for x in chosen.values())]),
  )


class Vote(NamedTuple):
  """The scores of a leaf, which count for the units of a group."""

  place: Place
  scores: jax.Array
  is_normalisation: bool


class Chosen(NamedTuple):
  """A group of units, and its number among those of the function."""

  number: int
  group: ChannelGroup


def _named(function: Coupled, numbers: Sequence[int]) -> dict[str, Chosen]:
  """The groups by the paths of the first kernels that their units are in."""
  result: dict[str, Chosen] = {}
  for number in numbers:
    group = function.groups[number]
    paths = [path for path, _ in group.members]
    # Of biases, offsets and kernels the latter.
    first = next((path for path in paths if function.axes(path) > 1), paths[0])
    name, again = first, 1
    while name in result:
      again += 1
      name = f"{first} ({again})"
    result[name] = Chosen(number, group)
  return result


def _line(group: ChannelGroup) -> str:
  places = ", ".join(f"{path}[{axis}]" for path, axis in group.members)
  return f"{group.size:,} units: {places}"


def _factor(function: Coupled, number: int, cost: Cost | None) -> Any:
  """What the scores of a group's units are multiplied by."""
  if cost is None:
    return np.float64(1)
  return 1 / np.maximum(function.costs(number)[:, COSTS.index(cost)], 1)


def _without_overlaps(
  groups: Sequence[ChannelGroup],
) -> Callable[[ChannelGroup], bool]:
  """Of the groups that share positions of an axis, takes the one on the most leaves."""
  taken: list[ChannelGroup] = []
  for group in sorted(groups, key=lambda group: -len(group.members)):
    if not any(_overlap(group, other) for other in taken):
      taken.append(group)
  return lambda group: any(group is other for other in taken)


def _overlap(one: ChannelGroup, other: ChannelGroup) -> bool:
  return any(
    place in other.members and ((numbers >= 0) & (other.members[place] >= 0)).any()
    for place, numbers in one.members.items()
  )
