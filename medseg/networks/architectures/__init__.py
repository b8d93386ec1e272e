"""One architecture a file; ``networks.catalogue`` has a row for each."""
