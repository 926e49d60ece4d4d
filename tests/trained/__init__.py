"""Training scripts and shipped weights of the two small demo models used by the tests, the benchmarks and the demo."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
