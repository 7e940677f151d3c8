"""The command line: `tsr`."""

import gc

_FEW = 50_000


def main() -> None:
    """Run `tsr` and exit with its code."""
    # What a command makes while it starts is no garbage, and what it has at its end goes with the process: looking for
    # garbage then takes a fifth of a short command's time.
    gc.set_threshold(_FEW)
    from tensors.cli.main import main as run

    try:
        run()
    finally:
        gc.freeze()
