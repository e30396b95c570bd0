"""A plugin whose reason cannot be read."""


class SpeechlessError(Exception):
    """Raises where it is read."""

    def __str__(self) -> str:
        raise SystemExit(0)

    __repr__ = __str__


raise SpeechlessError
