"""How a policy is learned: search, policy gradients, imitation, and where their costs come from."""
