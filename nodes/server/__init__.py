"""What the page asks of the server, and what the server tells the page."""
