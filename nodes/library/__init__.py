"""Policy files: where they are, which one a model gets, and how they travel inside workflows."""
