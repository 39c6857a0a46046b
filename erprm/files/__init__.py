"""Records, atomic writes, parts, progress: everything that touches the disk."""
