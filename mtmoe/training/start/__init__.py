"""Starting a training with the weights of another run (``[training.start]``)."""
