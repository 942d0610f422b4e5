"""Axes of a function that belong together, and the function without some of them."""

from gsm_optax._shrink._coupled import Coupled, coupled
from gsm_optax._shrink._groups import ChannelGroup, ChannelGroups, channel_groups
from gsm_optax._shrink._shrink import shrink
from gsm_optax._shrink._small import LeafShape, Small

__all__ = [
  "ChannelGroup",
  "ChannelGroups",
  "Coupled",
  "LeafShape",
  "Small",
  "channel_groups",
  "coupled",
  "shrink",
]
