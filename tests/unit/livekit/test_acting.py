"""Which process of a deployment acts, for any interleaving of what two or three of them read and write."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from manager_agent.livekit.acting import INTERVAL, LEASE, LEASE_MAX, READS_MAX, Acting, Turn

WALL = 1_800_000_000.0
OVERLAP_MORE = 0.5
STEP = 0.1
"""Seconds."""


def acting(process: str, found: Turn | None, at: float = 0.0) -> Acting:
    """A process that found this turn at its start, wrote its own and read it back."""
    state = Acting(process).polled(found, asked_at=at, answered_at=at, wall_clock=WALL)
    return state.polled(state.turn, asked_at=at, answered_at=at, wall_clock=WALL)


@pytest.mark.parametrize("lease", [LEASE, 2.345, LEASE_MAX])
def test_turn_survives_its_text(lease: float) -> None:
    read = Turn.read(Turn(17, "a", lease).text)
    assert read == Turn(17, "a")
    assert read.lease == lease


@pytest.mark.parametrize("lease", [0.0, 0.7, LEASE_MAX])
def test_released_turn_survives_its_text(lease: float) -> None:
    read = Turn.read(Turn(17, "a", lease, is_released=True).text)
    assert read == Turn(17, "a")
    assert (read.lease, read.is_released) == (lease, True)


NUMBER = f"{17:020d}"


@pytest.mark.parametrize(
    "text",
    ["", "17", f"{NUMBER} a", f"{NUMBER}  1.500", f"-{NUMBER[1:]} a 1.500", f"{'²' * 20} a 1.500", "17 a 1.500"]
    + [f"{NUMBER} a {lease}" for lease in ("1.499", "8.001", "nan", "inf", "9" * 400)]
    + ['{"session_manager": 1}', f"{NUMBER} a 8.001 released", f"{NUMBER} a 1.500 gone", f"{NUMBER} a 0.000"],
)
def test_text_of_others_is_no_turn(text: str) -> None:
    assert Turn.read(text) is None


def test_text_of_a_greater_turn_is_greater() -> None:
    assert Turn(10, "a", LEASE).text > Turn(9, "b", LEASE_MAX).text


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


def test_successor_of_a_process_that_stopped_acts_at_once_although_its_clock_is_earlier() -> None:
    stopped = acting("a", None).released(1.0)
    state = Acting("b").polled(stopped, asked_at=0.0, answered_at=0.0, wall_clock=WALL - 3_600)
    state = state.polled(state.turn, asked_at=0.0, answered_at=0.0, wall_clock=WALL - 3_600)
    assert state.turn is not None
    assert state.turn > stopped
    assert state.may_act(0.0)


def test_turn_is_greater_than_the_one_in_the_records_although_the_register_is_lost() -> None:
    state = Acting("b", found=Turn(int(WALL * 1000) + 3_600_000, "a"))
    state = state.polled(None, asked_at=0.0, answered_at=0.0, wall_clock=WALL)
    assert state.turn is not None
    assert state.turn.number == int(WALL * 1000) + 3_600_001


def test_process_that_was_frozen_while_its_successor_came_and_stopped_is_superseded() -> None:
    state = acting("a", None)
    stopped = acting("b", state.turn).released(5.0)
    state = state.polled(stopped, asked_at=9.0, answered_at=9.0, wall_clock=WALL)
    assert state.superseded_by == stopped
    assert not state.must_write


def test_superseded_process_learns_that_its_successor_has_stopped() -> None:
    state, successor = acting("a", None), acting("b", Turn(int(WALL * 1000), "a"))
    third = acting("c", successor.turn)
    for found, is_last_one_left in (
        (successor.turn, False),
        (None, False),
        (successor.released(5.0), True),
        (third.turn, False),
        (successor.released(5.0), False),
        (third.released(5.0), True),
    ):
        state = state.polled(found, asked_at=9.0, answered_at=9.0, wall_clock=WALL)
        assert state.is_last_one_left is is_last_one_left
        assert not state.must_write
        assert not state.may_act(9.0)


def test_process_that_stops_before_it_acted_leaves_its_wait_to_the_next_one() -> None:
    stopped = acting("b", Turn(1, "a", 6.0)).released(2.0)
    assert stopped.lease == 4.0
    state = acting("c", stopped)
    assert not state.may_act(3.9)


def read_slowly(state: Acting, found: Turn | None, *seconds: float) -> Acting:
    """The register was read so many times; each answer took so long."""
    for took in seconds:
        state = state.polled(found, asked_at=0.0, answered_at=took, wall_clock=WALL)
    return state


def test_lease_is_longer_where_livekit_is_slow() -> None:
    state = read_slowly(Acting("a"), None, *[2.0] * READS_MAX)
    assert state.turn is not None
    assert state.turn.lease == 6.5
    state = read_slowly(state, state.turn, 2.0)
    assert state.may_act(6.4)
    assert not state.may_act(6.5)


def test_one_slow_answer_makes_no_longer_lease() -> None:
    state = read_slowly(Acting("a"), None, 2.0)
    assert state.turn is None
    assert not state.must_write
    state = read_slowly(state, None, 0.1)
    assert state.turn is not None
    assert state.turn.lease == LEASE


@pytest.mark.parametrize("seconds", [0.01, 0.3, 0.5, 0.8, 1.6])
def test_lease_lasts_until_the_next_answer_though_that_is_slower(seconds: float) -> None:
    state = read_slowly(Acting("a"), None, *[seconds] * READS_MAX)
    state = read_slowly(state, state.turn, seconds)
    assert state.may_act(seconds + INTERVAL + 1.3 * seconds)


def test_turns_found_in_earlier_reads_count() -> None:
    state = read_slowly(Acting("b"), Turn(2**60, "a", 6.0), 2.0)
    state = read_slowly(state, None, 0.1)
    assert state.turn is not None
    assert state.turn.number > 2**60
    state = state.polled(state.turn, asked_at=1.0, answered_at=1.0, wall_clock=WALL)
    assert not state.may_act(1.0)


def test_lease_is_bounded() -> None:
    state = read_slowly(Acting("a"), None, *[60.0] * READS_MAX)
    assert state.turn is not None
    assert state.turn.lease == LEASE_MAX


def test_successor_waits_for_the_lease_of_a_slow_predecessor() -> None:
    state = acting("b", Turn(1, "a", 6.0))
    assert not state.may_act(0.0)
    state = state.polled(state.turn, asked_at=5.0, answered_at=5.0, wall_clock=WALL)
    assert not state.may_act(5.9)
    assert state.may_act(6.0)


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
    has_stopped: bool = False
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
    only_grew: bool = True
    """Whether the register has never lost a turn to a smaller one or to none."""
    newest: Turn | None = None
    """The greatest turn of those that have acted."""
    newest_since: float = 0.0

    def start(self) -> None:
        self.processes.append(PolledProcess(Acting(f"process {len(self.processes)}")))

    def step(self, process: PolledProcess) -> None:
        """One step of a process that runs: it asks, or gets its answer and may write."""
        if process.is_frozen or process.has_stopped:
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

    def run(self, process: PolledProcess) -> None:
        """It asks and is answered, twice; what it writes arrives."""
        for _ in range(2):
            process.asked = None
            self.step(process)
            self.step(process)
            self.land(0)

    def land(self, number: int) -> None:
        """One of the writes under way arrives."""
        if self.writes:
            before, self.register = self.register, self.writes.pop(number % len(self.writes))[1]
            self.only_grew &= before is None or before <= self.register

    def stop(self, process: PolledProcess) -> None:
        """The process is asked to stop. What it writes then may be lost with its connection."""
        if process.is_frozen or process.has_stopped:
            return
        process.has_stopped = True
        if process.state.turn is not None and self.register == process.state.turn and not process.is_cut_off:
            self.writes.append((self.now, process.state.released(self.now)))

    def restart_livekit(self) -> None:
        """It loses the register."""
        self.register, self.only_grew = None, False

    @property
    def allowed(self) -> list[tuple[Turn, Acting]]:
        """Those that may act now, with their turns."""
        running = [one.state for one in self.processes if not one.is_frozen and not one.has_stopped]
        return [(one.turn, one) for one in running if one.turn is not None and one.may_act(self.now)]

    def check(self) -> None:
        """An older process acts no more, once its lease is over, after a newer one did."""
        allowed = self.allowed
        self.overlap = self.overlap + STEP if len(allowed) > 1 else 0.0
        assert self.overlap <= max((turn.lease for turn, _ in allowed), default=LEASE) + OVERLAP_MORE, allowed
        for turn, _ in allowed:
            if self.newest is None or turn > self.newest:
                self.newest, self.newest_since = turn, self.now
        for turn, state in allowed:
            if self.only_grew and turn != self.newest:
                assert self.now <= self.newest_since + turn.lease, (state, self.newest)

    def pass_time(self, seconds: float) -> None:
        while seconds > 0:
            self.check()
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
                self.run(one)
            self.pass_time(0.3)


OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["step", "run", "freeze", "thaw", "cut", "join", "stop"]), st.integers(0, 2)),
    st.tuples(st.just("land"), st.integers(0, 5)),
    st.tuples(st.just("pass"), st.integers(1, 20)),
    st.tuples(st.sampled_from(["start", "restart"]), st.just(0)),
)


FROZEN_WHILE_ITS_SUCCESSOR_CAME_AND_STOPPED = [
    *(("run", 0), ("freeze", 0), ("start", 0), ("run", 1), ("pass", 20), ("run", 1), ("pass", 1)),
    *(("stop", 1), ("land", 0), ("thaw", 0), ("pass", 20), ("run", 0), ("run", 0), ("pass", 1)),
]


@given(st.lists(OPERATIONS, max_size=60))
@example(FROZEN_WHILE_ITS_SUCCESSOR_CAME_AND_STOPPED)
@settings(max_examples=100, derandomize=True)
def test_no_two_act_for_longer_than_a_lease_and_the_newest_ends_up_acting(plan: list[tuple[str, int]]) -> None:
    deployment = Deployment()
    deployment.start()
    for what, number in plan:
        process = deployment.processes[number % len(deployment.processes)]
        match what:
            case "step":
                deployment.step(process)
            case "run":
                deployment.run(process)
            case "freeze" | "thaw":
                process.is_frozen = what == "freeze"
            case "cut" | "join":
                process.is_cut_off = what == "cut"
            case "land":
                deployment.land(number)
            case "pass":
                deployment.pass_time(number * STEP)
            case "restart":
                deployment.restart_livekit()
            case "stop":
                deployment.stop(process)
            case "start" if len(deployment.processes) < 3:
                deployment.start()
    deployment.settle()
    turns = {one.state.turn: one for one in deployment.processes if one.state.turn is not None}
    newest = turns[max(turns)] if turns else None
    if newest is not None and not newest.has_stopped:
        assert [state for _, state in deployment.allowed] == [newest.state]
