"""Train one trial: loop, step, checkpoint."""
