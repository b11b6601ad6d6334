"""The PURE parts of the page at /, called in a browser: the time axis, the lanes, the event stream, the form, words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.api.stand_ins import Api
from tests.browser.dashboard import Show

pytestmark = pytest.mark.browser

Run = Callable[..., Awaitable[Any]]
MINUTE = 60_000
READY = {
    "invited": "2026-11-25T01:00:00.010Z",
    "joined": "2026-11-25T01:00:00.400Z",
    "ready": "2026-11-25T01:00:00.700Z",
}


@pytest.fixture
async def run(api: Api, show: Show) -> Run:
    """Evaluate an expression with a module of the page: `await run("times.js", "page.duration(given.ms)", ms=12)`."""
    dashboard = await show(f"http://127.0.0.1:{api.port}")

    async def run(file: str, expression: str, **given: Any) -> Any:
        script = f"async (given) => {{ const page = await import('/dashboard/{file}'); return {expression}; }}"
        return await dashboard.page.evaluate(script, given)

    return run


async def pieces(run: Run, to: float, *stretches: list[float]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await run(
        "axis.js", "page.axisOf(0, given.to, given.stretches).pieces", to=to, stretches=list(stretches)
    )
    assert (found[0]["from"], found[-1]["to"]) == (0, to)
    assert sum(piece["width"] for piece in found) == pytest.approx(100)
    return found


async def test_axis_shortens_long_idle_time_to_a_break(run: Run) -> None:
    found = await pieces(run, 40 * MINUTE, [0, 800], [20 * MINUTE, 20 * MINUTE + 1_000])
    assert [piece["isBreak"] for piece in found] == [False, True, False, True, False]
    start, middle = found[0]["width"], found[2]["width"]
    assert start > 25
    assert middle > 25


async def test_axis_never_shortens_time_spent_waiting(run: Run) -> None:
    assert [piece["isBreak"] for piece in await pieces(run, 30_000, [0, 30_000], [0, 300])] == [False]
    assert [piece["isBreak"] for piece in await pieces(run, 1_500, [0, 300])] == [False]


async def test_axis_with_many_breaks_leaves_room_for_events(run: Run) -> None:
    stretches: list[list[float]] = [[number * MINUTE, number * MINUTE + 500] for number in range(32)]
    found = await pieces(run, 32 * MINUTE, *stretches)
    assert sum(piece["width"] for piece in found if piece["isBreak"]) == pytest.approx(42)


async def test_axis_keeps_instants_in_order(run: Run) -> None:
    instants = [-5, 0, 400, 800, 10 * MINUTE, 20 * MINUTE, 20 * MINUTE + 500, 40 * MINUTE, 41 * MINUTE]
    places = await run(
        "axis.js",
        "given.instants.map(page.axisOf(0, given.to, [[0, 800], [given.middle, given.middle + 1000]]).at)",
        instants=instants, to=40 * MINUTE, middle=20 * MINUTE,
    )  # fmt: skip
    assert places == sorted(places)
    assert (places[0], places[1], places[-2], places[-1]) == (0, 0, 100, 100)


async def test_axis_steps_are_round_durations(run: Run) -> None:
    steps = {1: 1, 3: 5, 130: 200, 501: 1_000, 4_000: 5_000, 61_000: 120_000}
    assert await run("axis.js", "given.ms.map(page.roundUp)", ms=list(steps)) == list(steps.values())


async def test_lane_shows_the_furthest_phase_reached(run: Run) -> None:
    """A join may be known before the acceptance."""
    timeline = READY | {"accepted": "2026-11-25T01:00:00.500Z", "left": "2026-11-25T01:05:00.000Z"}
    attempt = {"entry": 0, "attempt": 1, "timeline": timeline, "until": "2026-11-25T01:05:01.000Z"}
    lane = await run("lanes.js", "page.laneOf(given.attempt, 0)", attempt=attempt)
    assert [phase["phase"] for phase in lane["phases"]] == ["invited", "joined", "ready", "out"]
    ends = [phase["to"] for phase in lane["phases"]]
    assert [phase["from"] for phase in lane["phases"][1:]] == ends[:-1]
    assert ends[-1] == lane["until"]


async def test_simultaneous_lane_events_are_merged(run: Run) -> None:
    timeline = READY | {"ready": READY["joined"]}
    attempt = {"entry": 0, "attempt": 1, "timeline": timeline, "until": None}
    moments = await run("lanes.js", "page.momentsOf(page.laneOf(given.attempt, 0))", attempt=attempt)
    assert [moment["name"] for moment in moments] == ["invited", "joined and ready"]


async def test_event_reader_takes_chunks_of_any_size(run: Run) -> None:
    stream = ': ping\r\n\r\nretry: 2000\n\nevent: session\r\ndata: {"a":\r\ndata: 1}\r\n\r\ndata: plain\n\n'
    told = [{"event": "session", "data": '{"a":\n1}'}, {"event": "message", "data": "plain"}]
    for size in (1, 2, 7, len(stream)):
        parts = [stream[at : at + size] for at in range(0, len(stream), size)]
        script = "((reader) => given.parts.flatMap((part) => reader.take(part)))(new page.EventReader())"
        assert await run("sse.js", script, parts=parts) == told


async def test_event_reader_reads_each_chunk_once(run: Run) -> None:
    """A snapshot of megabytes comes in thousands of chunks; reading them again would block the page for seconds."""
    script = """((reader) => {
      const split = String.prototype.split;
      let read = 0;
      String.prototype.split = function (...how) { read += this.length; return split.apply(this, how); };
      const parts = ["data: ", ...Array(1000).fill("x".repeat(1000)), "\\n\\n"];
      const [event] = parts.flatMap((part) => reader.take(part));
      String.prototype.split = split;
      return [event.data.length, read];
    })(new page.EventReader())"""
    length, read = await run("sse.js", script)
    assert length == 1_000_000
    assert read < 2 * length


async def test_form_becomes_a_request_body_or_field_errors(run: Run) -> None:
    form = {
        "user_identity": " olga ", "user_name": "", "profile": "support", "services": ["asr-1", "gone"],
        "types": ["TTS", "GONE"], "other": "a, b,", "metadata": '{"language": "en"}', "ready_timeout": "12.5",
    }  # fmt: skip
    registered = [{"service_id": "asr-1", "type": "ASR"}, {"service_id": "tts-1", "type": "TTS"}]
    known: dict[str, Any] = {"services": registered, "profiles": ["support"]}
    made = await run("test_session.js", "page.bodyOf(given.form, given.known)", form=form, known=known)
    assert made == {
        "errors": {},
        "body": {
            "user_identity": "olga", "profile": "support", "metadata": {"language": "en"}, "ready_timeout": 12.5,
            "required_services": ["asr-1", {"type": "TTS"}],
        },
    }, "what is not registered any more is not shown, and not asked for"  # fmt: skip
    unseen: dict[str, Any] = {"services": None, "profiles": []}
    made = await run("test_session.js", "page.bodyOf(given.form, given.known)", form=form, known=unseen)
    assert made["body"]["required_services"] == ["a", "b"]
    assert "profile" not in made["body"]
    wrong = form | {"user_identity": " ", "metadata": "[1]", "ready_timeout": "0"}
    made = await run("test_session.js", "page.bodyOf(given.form, given.known)", form=wrong, known=known)
    assert sorted(made["errors"]) == ["metadata", "ready_timeout", "user_identity"]


async def test_form_chooses_the_default_profile_and_says_that_a_session_is_empty(run: Run) -> None:
    script = "[page.profileOf(given.form, given.known.profiles), page.isEmpty(given.form, given.known)]"
    empty = await run("test_session.js", "page.emptyForm()")
    for profile, profiles, seen in (
        (None, ["default", "other"], ["default", False]),
        (None, ["other"], ["", True]),
        ("", ["default"], ["", True]),
        ("other", ["default", "other"], ["other", False]),
    ):
        known: dict[str, Any] = {"services": [], "profiles": profiles}
        assert await run("test_session.js", script, form=empty | {"profile": profile}, known=known) == seen


async def test_commands_to_copy_have_a_key_unless_none_is_needed(run: Run) -> None:
    script = "[page.withKey('curl -s URL -H A -d B', given.caller)]"
    [plain] = await run("curl.js", script, caller={"name": "dev"})
    assert plain == "curl -s URL -H A -d B"
    for caller in ({"name": "shop"}, None):
        [keyed] = await run("curl.js", script, caller=caller)
        assert keyed == 'curl -s URL -H "Authorization: Bearer $SESSION_MANAGER_API_KEY" -H A -d B'


async def test_durations_are_formatted_with_fitting_precision(run: Run) -> None:
    told = {
        0: "0 ms", 999.4: "999 ms", 1_234: "1.23 s", 12_340: "12.3 s", 60_000: "1 min", 252_000: "4 min 12 s",
        7_500_000: "2 h 5 min", 86_400_000 * 3 + 7_200_000: "3 d 2 h",
    }  # fmt: skip
    assert await run("times.js", "given.ms.map(page.duration)", ms=list(told)) == list(told.values())


async def test_instants_are_formatted_as_local_time(run: Run) -> None:
    script = """((at) => [page.timeOfDay(at), page.timeOfDay(at, true), page.instant(at)])(
      new Date(2026, 2, 4, 9, 5, 7, 42).getTime())"""
    assert await run("times.js", script) == ["09:05:07", "09:05:07.042", "2026-03-04 09:05:07.042"]


async def test_counts_are_formatted_in_groups(run: Run) -> None:
    told = {0: "0", 999: "999", 1_000: "1,000", 12_345_678: "12,345,678"}
    assert await run("words.js", "given.counts.map(page.number)", counts=list(told)) == list(told.values())


async def test_url_hash_selects_a_view(run: Run) -> None:
    routes = {
        "": ["sessions", None], "#/services": ["services", None], "#/start": ["start", None],
        "#/sessions/ses_1": ["sessions", "ses_1"], "#/sessions/%E0%A4%A": ["sessions", "%E0%A4%A"],
        "#nonsense": ["sessions", None],
    }  # fmt: skip
    script = "given.hashes.map((hash) => { const { view, id } = page.routeOf(hash); return [view, id]; })"
    assert await run("routes.js", script, hashes=list(routes)) == list(routes.values())


async def test_server_clock_goes_back_only_when_set_back(run: Run) -> None:
    """The latest message may have been under way the longest."""
    script = """((clock) => given.said.map((at) => {
      clock.learn(new Date(Date.parse(given.start) + at).toISOString());
      return Math.round((clock.now() - Date.parse(given.start)) / 1000);
    }))(new page.Clock())"""
    said = {0: 0, 60_000: 60, 58_000: 60, -60_000: -60}
    told = await run("times.js", script, start="2026-11-25T01:00:00.000Z", said=list(said))
    assert told == list(said.values())


async def test_waiting_time_is_never_negative(run: Run) -> None:
    late = {"awaited": "join", "since": "2026-11-25T01:00:00.003Z", "due": None, "retry_at": None}
    script = "page.awaitedOf(given.late, Date.parse('2026-11-25T01:00:00.000Z'))"
    assert await run("verdict.js", script, late=late) == "to join, for 0 ms"


async def test_missing_optional_service_does_not_remove_axis_breaks(run: Run) -> None:
    lost = {"entry": 1, "attempt": 1, "optional": True, "until": None, "timeline": {"invited": READY["invited"]}}
    timeline = {"created_at": "2026-11-25T01:00:00.000Z", "ready_at": READY["ready"], "attempts": [lost]}
    script = """(() => {
      const now = Date.parse("2026-11-25T01:10:00.000Z");
      return page.stretchesOf(given.timeline, page.lanesOf(given.timeline, now), now).map(([, to]) => to);
    })()"""
    ready = await run("times.js", "page.read(given.ready)", ready=READY["ready"])
    assert await run("lanes.js", script, timeline=timeline) == [ready, ready]
    required = timeline | {"attempts": [lost | {"optional": False}]}
    assert (await run("lanes.js", script, timeline=required))[1] > ready
