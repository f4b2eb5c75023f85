"""``python -m lstmp`` is the command ``lstmp``."""

from lstmp.cli import main

if __name__ == "__main__":
    main()
