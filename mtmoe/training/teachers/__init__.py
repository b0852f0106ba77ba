"""Teachers: the runs that a training learns from (``[training.distillation]``)."""
