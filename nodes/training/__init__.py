"""Runs of an artist's own workflow: training a policy on it, and measuring budgets on it. Knows no node."""
