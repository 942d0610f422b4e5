"""Experiments with gsm_optax: run from a checkout, `python -m experiments.prune`."""
