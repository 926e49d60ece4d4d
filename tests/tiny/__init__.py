"""Random-weight models: every family at its smallest, two big enough to time, and a probe of their block hooks."""
