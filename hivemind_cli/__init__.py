"""The person's door: `hivemind`. Heavy things are imported where they are used: it starts at once."""
