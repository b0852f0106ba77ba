"""``python -m mtmoe`` and ``torchrun -m mtmoe`` are the command line."""

from mtmoe.cli import run

if __name__ == "__main__":
    run()
