"""Sets known by name, one file each: their size, source and digests, and how they are read."""
