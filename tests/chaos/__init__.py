"""The fault harness: the real stack under a nemesis, and a checker that trusts nothing the stack says about itself."""
