"""How long each host has been contended, or is expected to be, without a break: the evidence balancing asks for."""

from collections.abc import Collection


class ContentionClock:
    """Since when each contended host is contended. One calm look ends it."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    def update(self, now_s: float, contended: Collection[str], looked_at: Collection[str]) -> None:
        """Take in one judgement of the hosts `looked_at`, of which those in `contended` are short of something."""
        for host in looked_at:
            if host in contended:
                self._since_s.setdefault(host, now_s)
            else:
                self._since_s.pop(host, None)

    def restart(self, host: str, now_s: float) -> None:
        """Begin again: what runs on the host has just changed, so that older evidence says nothing."""
        if host in self._since_s:
            self._since_s[host] = now_s

    def seconds(self, host: str, now_s: float) -> float:
        """How long the host has been contended; 0 when it is not."""
        return now_s - self._since_s[host] if host in self._since_s else 0.0
