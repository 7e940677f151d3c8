"""The command line: `tsr`."""

from tensors.cli.main import main

__all__ = ["main"]
