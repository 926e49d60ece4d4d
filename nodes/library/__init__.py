"""Policy files: their folders, which one a run uses, and how they travel inside workflows."""
