"""Params in files: pruned ones in little room, and the checkpoints of others."""

from gsm_optax._files._errors import ReadError
from gsm_optax._files._load import load
from gsm_optax._files._save import save
from gsm_optax._files._weights import read_weights

__all__ = ["ReadError", "load", "read_weights", "save"]
