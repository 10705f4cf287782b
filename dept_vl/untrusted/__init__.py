"""Every guard against a stranger's file: bounded JSON, YAML and gzip, tensors without pickles, whole-file writes."""
