"""One file a family: a config map, a table of tensors, and the kind of its preprocessing."""
