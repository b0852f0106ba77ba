"""The command line."""


def main() -> None:
    raise SystemExit("to be written")
