"""What speed is claimed, measured: ours beside the frozen model and the peers, in one process. See README.md."""
