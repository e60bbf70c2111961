"""The words and rules of the house: standard library and pydantic only, no I/O."""
