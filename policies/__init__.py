"""Which evaluations of a run are computed: schedules, policies, and how they are learned. Knows no ComfyUI."""
