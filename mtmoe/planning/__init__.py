"""Plans behind ``mtmoe plan``: memory, traffic and least time of a training on many GPUs."""
