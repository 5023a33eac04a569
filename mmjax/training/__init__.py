"""One loop for every task: optimizer, sharding, checkpoints, metrics."""
