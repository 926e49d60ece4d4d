"""The pictures that nodes show."""
