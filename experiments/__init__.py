"""What a user runs: scenarios, runs, sweeps, tables and reports."""
