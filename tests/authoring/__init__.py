"""How the files in workflows/ are made: what is in them (`catalogue`), how they are drawn (`make`, `thumbnails`)."""
