"""Guards for untrusted files: JSON, YAML, gzip, tensors, images, names and paths; whole-file writes and locks."""
