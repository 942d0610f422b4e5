"""Training: augmentation, schedules, optimizers, steps, epochs, and measurements."""
