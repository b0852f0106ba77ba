"""Command line as a module: ``python -m mtmoe`` and ``torchrun -m mtmoe``."""

import signal

if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is somebody to say it in a word

    from mtmoe.cli import run

    run()
