"""A line every ten seconds."""

from __future__ import annotations

from askew_training.train.upkeep.heartbeat import Heartbeat


class FakeClock:
    """A clock that goes on when someone waits; `events`: what happens when, in seconds."""

    def __init__(self, end: float) -> None:
        self.now, self.end = 0.0, end
        self.late = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds + self.late
        self.late = 0.0
        return self.now >= self.end


def test_a_line_is_said_at_once_and_every_ten_seconds_with_what_goes_on_then() -> None:
    clock, said = FakeClock(end=75), list[str]()

    def say(line: str) -> None:
        said.append(line)
        heartbeat(f"part {len(said)}")

    heartbeat = Heartbeat(say, "part 0", clock, clock.wait)
    heartbeat.speak()
    assert said == [
        f"[{minutes}:{seconds:02d}] part {number}"
        for number, (minutes, seconds) in enumerate(
            [(0, 0), (0, 10), (0, 20), (0, 30), (0, 40), (0, 50), (1, 0), (1, 10)]
        )
    ]


def test_a_late_line_does_not_delay_the_following_ones() -> None:
    clock, said = FakeClock(end=45), list[str]()
    heartbeat = Heartbeat(said.append, "reading", clock, clock.wait)
    clock.late = 13.0
    heartbeat.speak()
    assert [line.split("]")[0] for line in said] == ["[0:00", "[0:23", "[0:30", "[0:40"]


def test_nothing_is_said_after_the_end() -> None:
    said: list[str] = []
    with Heartbeat(said.append, "reading") as heartbeat:
        heartbeat("training")
    assert len(said) == 1
