"""Commands of ``mtmoe``, a file each; `cli/group.py` lists them."""
