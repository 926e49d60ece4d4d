"""Benchmarks, one file each: ``nox -s bench -- NAME [--json FILE]``. Files without a main part are shared helpers."""
