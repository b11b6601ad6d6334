"""The headers traceparent and tracestate (W3C Trace Context): read exactly, or ignored."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_agent.frozen import replace
from manager_agent.traceparent import RANDOM, SAMPLED, STATE_MAX, TraceContext, read_trace, trace_in
from tests.unit.sessions import a_session

pytestmark = pytest.mark.unit

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


def _hex(digits: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=digits, max_size=digits).filter(lambda text: text.strip("0") != "")


CONTEXTS = st.builds(TraceContext, _hex(32), _hex(16), st.integers(0, 255), st.sampled_from(["", "a=1", "b@c=2, a=x"]))


@settings(max_examples=300, derandomize=True)
@given(context=CONTEXTS)
def test_a_written_traceparent_is_read_back(context: TraceContext) -> None:
    assert read_trace(context.traceparent, context.state) == context
    assert trace_in([context.traceparent], [context.state]) == context
    assert context.sampled is (context.flags % 2 == 1)


@settings(max_examples=300, derandomize=True)
@given(garbage=st.text() | st.text("0123456789abcdef-", min_size=50, max_size=60), state=st.text())
def test_random_text_is_ignored_as_a_traceparent(garbage: str, state: str) -> None:
    """Only the exact format is read, apart from its version and what a later version adds."""
    read = read_trace(garbage, state)
    assert read is None or read.traceparent[2:] == garbage[2 : len(TRACEPARENT)]
    known = read_trace(TRACEPARENT, state)
    assert known is not None
    assert known.state in ("", state)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        TRACEPARENT.upper(),
        f" {TRACEPARENT}",
        f"{TRACEPARENT}\n",
        f"{TRACEPARENT}-00",
        f"01{TRACEPARENT[2:]}00",
        f"01{TRACEPARENT[2:]}-x\n",
        f"0A{TRACEPARENT[2:]}",
        f"ff{TRACEPARENT[2:]}",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID[1:]}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"00-{TRACE_ID[:-1]}٣-{SPAN_ID}-01",
        f"00_{TRACE_ID}_{SPAN_ID}_01",
    ],
)
def test_an_invalid_traceparent_is_ignored(wrong: str) -> None:
    assert read_trace(wrong) is None
    assert replace(a_session(), traceparent=wrong).log_fields == {"session_id": "s1", "room": "demo"}


@pytest.mark.parametrize("later", ["01{}", "fe{}", "01{}-", "cc{}-what-the-future-will-be-like"])
def test_a_traceparent_of_a_later_version_is_read_as_far_as_it_is_known(later: str) -> None:
    """And is passed on as version 00, as the specification requires."""
    read = read_trace(later.format(TRACEPARENT[2:]), "a=1")
    assert read == TraceContext(TRACE_ID, SPAN_ID, SAMPLED, "a=1")
    assert read.traceparent == TRACEPARENT


@pytest.mark.parametrize(
    "state",
    [
        "",
        "congo=t61rcWkgMzE",
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        "fw529a3039@dt=FfAAAA",
        "1tenant@system=x , ,\ty=~",
        "a=" + "x" * 256,
        ",".join(f"k{number}=v" for number in range(32)),
    ],
)
def test_a_tracestate_is_passed_on_unchanged(state: str) -> None:
    assert read_trace(TRACEPARENT, state) == TraceContext(TRACE_ID, SPAN_ID, SAMPLED, state)


@pytest.mark.parametrize(
    "state",
    [
        "a",
        "=x",
        "a=",
        "A=x",
        "1=x",
        "a=x=y",
        "a=x,a=y",
        "a=ä",
        "a=x\r\nHost: y",
        "a@1=x",
        "a=" + "x" * 257,
        ",".join(f"k{number}=v" for number in range(33)),
        "a=" + "x" * 200 + ",b=" + "x" * 200 + ",c=" + "x" * (STATE_MAX - 405),
    ],
)
def test_an_invalid_tracestate_does_not_invalidate_the_traceparent(state: str) -> None:
    assert read_trace(TRACEPARENT, state) == TraceContext(TRACE_ID, SPAN_ID, SAMPLED)


def test_several_tracestate_headers_are_joined_and_two_traceparents_are_ignored() -> None:
    assert trace_in([TRACEPARENT], ["a=1", "b=2"]) == TraceContext(TRACE_ID, SPAN_ID, SAMPLED, "a=1,b=2")
    assert trace_in([TRACEPARENT, TRACEPARENT], ["a=1", "b=2"]) is None
    assert trace_in([], ["a=1"]) is None


def test_another_span_of_a_trace_keeps_only_the_known_flags() -> None:
    """It is unknown whether the others hold for it too."""
    context = TraceContext(TRACE_ID, SPAN_ID, 0xFF, "a=1")
    assert context.at("b" * 16) == TraceContext(TRACE_ID, "b" * 16, SAMPLED | RANDOM, "a=1")


def test_every_log_line_about_a_session_has_the_id_of_its_trace() -> None:
    traced = replace(a_session(), traceparent=TRACEPARENT)
    assert traced.log_fields == {"session_id": "s1", "room": "demo", "trace_id": TRACE_ID}
