"""Expert surgery, behind `mtmoe experts`: runs with fewer or more experts, made of another run without training."""
