"""`python -m tensors` is `tsr`."""

from tensors.cli import main

main()
