"""What the pack survives: hostile files and requests, faults, long use, and everything that is combined with it."""
