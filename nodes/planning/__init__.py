"""What the page shows of a run before and while it samples: the plan, from the code that the run itself uses."""
