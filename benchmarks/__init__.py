"""What takes how long and what errs by how much, beside what one would otherwise use; each module is a command."""
