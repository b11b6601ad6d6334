"""Which process of a deployment acts, for any interleaving of what two or three of them read and write."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from manager_agent.livekit.acting import LEASE, Acting, Turn

WALL = 1_800_000_000.0
OVERLAP_MAX = 2.0
STEP = 0.1
"""Seconds."""


def acting(process: str, found: Turn | None, at: float = 0.0) -> Acting:
    """A process that found this turn at its start, wrote its own and read it back."""
    state = Acting(process).polled(found, asked_at=at, answered_at=at, wall_clock=WALL)
    return state.polled(state.turn, asked_at=at, answered_at=at, wall_clock=WALL)


def test_turn_survives_its_text() -> None:
    assert Turn.read(Turn(17, "a b").text) == Turn(17, "a b")


def test_text_of_others_is_no_turn() -> None:
    assert [Turn.read(text) for text in ("", "17", "17 ", "x a", "-1 a", "²  a", '{"session_manager": 1}')] == [
        None
    ] * 7


def test_first_process_acts_at_once() -> None:
    assert acting("a", None).may_act(0.0)


def test_process_that_has_not_read_back_its_turn_does_not_act() -> None:
    state = Acting("a").polled(None, asked_at=0.0, answered_at=0.0, wall_clock=WALL)
    assert state.must_write
    assert not state.may_act(0.0)


def test_successor_acts_when_the_lease_of_its_predecessor_has_passed() -> None:
    state = acting("b", Turn(1, "a"))
    state = state.polled(state.turn, asked_at=LEASE, answered_at=LEASE, wall_clock=WALL)
    assert not state.may_act(LEASE - 0.001)
    assert state.may_act(LEASE)


def test_process_that_was_frozen_does_not_act_before_it_has_asked() -> None:
    state = acting("a", None)
    assert state.may_act(LEASE - 0.001)
    assert not state.may_act(LEASE)


def test_superseded_process_never_acts_again() -> None:
    state = acting("a", None)
    assert state.turn is not None
    newer = Turn(state.turn.number + 1, "b")
    state = state.polled(newer, asked_at=0.0, answered_at=0.0, wall_clock=WALL)
    for found in (None, state.turn):
        state = state.polled(found, asked_at=1.0, answered_at=1.0, wall_clock=WALL)
    assert state.superseded_by == newer
    assert not state.may_act(1.0)
    assert not state.must_write


def test_newer_process_has_the_greater_turn_though_the_wall_clock_went_back() -> None:
    first, second = acting("z", None), Acting("a")
    second = second.polled(first.turn, asked_at=0.0, answered_at=0.0, wall_clock=WALL - 3_600)
    assert first.turn is not None
    assert second.turn is not None
    assert second.turn > first.turn


def test_one_of_two_that_start_at_the_same_moment_supersedes_the_other() -> None:
    first, second = acting("a", None), acting("b", None)
    assert first.turn is not None
    assert second.turn is not None
    assert first.turn < second.turn


@dataclass
class PolledProcess:
    state: Acting
    is_frozen: bool = False
    is_cut_off: bool = False
    asked: tuple[float, Turn | None] | None = None
    """When it asked, and what LiveKit answered; the answer is under way."""


@dataclass
class Deployment:
    """Processes beside a register. Answers and writes arrive late; a write that left a process can't be taken back."""

    now: float = 0.0
    register: Turn | None = None
    processes: list[PolledProcess] = field(default_factory=list)
    writes: list[tuple[float, Turn]] = field(default_factory=list)
    overlap: float = 0.0
    """Seconds for which two have been allowed to act at the same time."""

    def start(self) -> None:
        self.processes.append(PolledProcess(Acting(f"process {len(self.processes)}")))

    def step(self, process: PolledProcess) -> None:
        """One step of a process that runs: it asks, or gets its answer and may write."""
        if process.is_frozen:
            return
        if process.asked is None:
            if not process.is_cut_off:
                process.asked = self.now, self.register
            return
        (asked_at, found), process.asked = process.asked, None
        if process.is_cut_off:
            return
        process.state = process.state.polled(found, asked_at=asked_at, answered_at=self.now, wall_clock=WALL + self.now)
        if process.state.must_write and process.state.turn is not None:
            self.writes.append((self.now, process.state.turn))

    def land(self, number: int) -> None:
        """One of the writes under way arrives."""
        if self.writes:
            self.register = self.writes.pop(number % len(self.writes))[1]

    def pass_time(self, seconds: float) -> None:
        while seconds > 0:
            allowed = [one for one in self.processes if not one.is_frozen and one.state.may_act(self.now)]
            self.overlap = self.overlap + STEP if len(allowed) > 1 else 0.0
            assert self.overlap <= OVERLAP_MAX, [one.state for one in allowed]
            self.now += STEP
            seconds -= STEP
            while self.writes and self.writes[0][0] < self.now - 1.0:
                self.land(0)  # LiveKit answers a write within a second or it is lost

    def settle(self) -> None:
        """All run, and LiveKit answers."""
        for one in self.processes:
            one.is_frozen = one.is_cut_off = False
        for _ in range(20):
            for one in self.processes:
                one.asked = None
                self.step(one)
                self.step(one)
                self.land(0)
            self.pass_time(0.3)


OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["step", "freeze", "thaw", "cut", "join"]), st.integers(0, 2)),
    st.tuples(st.just("land"), st.integers(0, 5)),
    st.tuples(st.just("pass"), st.integers(1, 20)),
    st.tuples(st.sampled_from(["start", "restart"]), st.just(0)),
)


@given(st.lists(OPERATIONS, max_size=60))
@settings(max_examples=100, deadline=None)
def test_no_two_act_for_longer_than_two_seconds_and_the_newest_ends_up_acting(plan: list[tuple[str, int]]) -> None:
    deployment = Deployment()
    deployment.start()
    for what, number in plan:
        process = deployment.processes[number % len(deployment.processes)]
        match what:
            case "step":
                deployment.step(process)
            case "freeze" | "thaw":
                process.is_frozen = what == "freeze"
            case "cut" | "join":
                process.is_cut_off = what == "cut"
            case "land":
                deployment.land(number)
            case "pass":
                deployment.pass_time(number * STEP)
            case "restart":
                deployment.register = None
            case "start" if len(deployment.processes) < 3:
                deployment.start()
    deployment.settle()
    allowed = [one.state for one in deployment.processes if one.state.may_act(deployment.now)]
    turns = [one.state.turn for one in deployment.processes if one.state.turn is not None]
    assert [state.turn for state in allowed] == [max(turns)]
