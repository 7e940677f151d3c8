"""What tsr costs, measured against something named, in one run: see README.md."""
