"""Many runs from one plan: what to run, a pool, one table of what came of it, and the views of that table."""
