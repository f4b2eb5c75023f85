"""``python -m lstmp`` runs the command ``lstmp``."""

from lstmp.cli import main

if __name__ == "__main__":
    main()
