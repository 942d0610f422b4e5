"""One run in one folder: its files, its checkpoints, and the training that fills it."""
