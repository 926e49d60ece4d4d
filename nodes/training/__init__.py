"""Training a policy on an artist's own workflow: runs, recordings, rollouts, checkpoints. Knows no node."""
