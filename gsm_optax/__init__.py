"""Global Sparse Momentum SGD for Optax: prunes a network while training it."""

from gsm_optax._files import load, save
from gsm_optax._gsm import gsm, scale_by_gsm
from gsm_optax._keep_top_saliency import keep_top_saliency
from gsm_optax._kernels import kernels
from gsm_optax._paths import paths
from gsm_optax._prune_from import PruneFromState
from gsm_optax._pruning import (
  apply_mask,
  freeze_pruned,
  magnitude_mask,
  nonzero_mask,
  prune,
)
from gsm_optax._saliency import first_order_taylor, gradient_magnitude, magnitude
from gsm_optax._selection import KeepTopSaliencyState
from gsm_optax._share_left import share_left
from gsm_optax._shrink import (
  ChannelGroup,
  ChannelGroups,
  LeafShape,
  Small,
  channel_groups,
  shrink,
)
from gsm_optax._sparsify import SparsifyState, sparsify
from gsm_optax._sparsity_report import (
  LayerSparsity,
  SparsityReport,
  UnitSparsity,
  sparsity_report,
)
from gsm_optax._structures import Structure, blocks, channels, n_of_m
from gsm_optax._threshold import global_threshold

__version__ = "0.2.0"

__all__ = [
  "ChannelGroup",
  "ChannelGroups",
  "KeepTopSaliencyState",
  "LayerSparsity",
  "LeafShape",
  "PruneFromState",
  "Small",
  "SparsifyState",
  "SparsityReport",
  "Structure",
  "UnitSparsity",
  "apply_mask",
  "blocks",
  "channel_groups",
  "channels",
  "first_order_taylor",
  "freeze_pruned",
  "global_threshold",
  "gradient_magnitude",
  "gsm",
  "keep_top_saliency",
  "kernels",
  "load",
  "magnitude",
  "magnitude_mask",
  "n_of_m",
  "nonzero_mask",
  "paths",
  "prune",
  "save",
  "scale_by_gsm",
  "share_left",
  "shrink",
  "sparsify",
  "sparsity_report",
]
