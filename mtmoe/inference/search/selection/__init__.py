"""Selection: which candidates of a step end, and which go on."""
