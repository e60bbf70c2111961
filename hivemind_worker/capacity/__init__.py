"""What this node has, and what it uses."""
