"""A lab's own package, outside mmjax: what a user writes to bring an encoder, a loss, a task or a source."""
