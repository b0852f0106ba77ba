"""Commands that say how likely translations are: ``score`` of given ones, ``calibrate`` for those to come."""
