"""What comes back: the artifact and the outcome."""
