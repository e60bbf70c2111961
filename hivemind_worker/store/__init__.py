"""The only room that knows Redis, SQL and the blob files."""
