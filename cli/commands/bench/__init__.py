"""``mtmoe bench``: speed and memory."""
