"""Processes that tests start and kill: forked from a server that has imported everything, once for all tests."""

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.faults.victims", "tests.sweep.fake_runs"])
