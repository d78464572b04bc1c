"""What the kinds of faults are built from."""
