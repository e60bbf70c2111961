"""`python -m hivemind_cli` is `hivemind`."""

from hivemind_cli.main import main

if __name__ == "__main__":
    main()
