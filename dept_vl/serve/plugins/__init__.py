"""Plugged into what people run: the HF Trainer, evaluation harnesses, other servers and runtimes."""
