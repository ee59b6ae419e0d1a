"""The command ``nettrim``, outside the package: Ctrl-C while that is imported ends it quietly."""

__all__ = ["main"]

INTERRUPTED = 130  # exit status of commands that Ctrl-C ended


def main() -> int:
    """Run the command line; the return value is the exit status."""
    try:
        from nettrim.cli import main as run
    except KeyboardInterrupt:
        return INTERRUPTED
    return run()
