"""Virtual time: sleeping takes none, so an hour of measuring is over in moments."""


class VirtualClock:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def monotonic_s(self) -> float:
        """Virtual seconds since the clock was made or last set back."""
        return self._now_s

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        self._now_s += seconds

    def wall_offset_s(self) -> float:
        """Virtual time has no wall clock that could be set."""
        return 0.0

    def restart(self) -> None:
        """Begin again at 0, so that a trial's times do not depend on what ran before it."""
        self._now_s = 0.0
