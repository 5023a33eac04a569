"""From logits to text: what may come next, which of it is taken, and when a row ends."""
