"""Selection: which candidates of a step end, and which go on. Letters as in `mtmoe/inference/search/__init__.py`."""
