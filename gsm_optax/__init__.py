"""Global Sparse Momentum SGD for Optax: training that prunes the network it trains."""

from gsm_optax._gsm import KeepTopSaliencyState, gsm, keep_top_saliency
from gsm_optax._pruning import apply_mask, freeze_pruned, magnitude_mask, prune
from gsm_optax._report import LayerSparsity, SparsityReport, sparsity_report
from gsm_optax._selection import global_threshold

__version__ = "0.1.0"

__all__ = [
  "KeepTopSaliencyState",
  "LayerSparsity",
  "SparsityReport",
  "apply_mask",
  "freeze_pruned",
  "global_threshold",
  "gsm",
  "keep_top_saliency",
  "magnitude_mask",
  "prune",
  "sparsity_report",
]
