"""The kinds of faults, in the order of the table."""
