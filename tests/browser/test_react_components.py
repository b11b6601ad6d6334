"""LiveKit's React components, as they are, in a real browser: `useSession` gets its tokens from the token endpoint when
it is mounted, when it starts and when it ends, and `useAgent` shows the services."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from playwright.async_api import Page, expect

from manager_agent.session.session import EndReason, Session, SessionState
from scripts.client_generators import NODE
from scripts.free_ports import free_port
from service_kit import Service, SessionJob
from service_kit.settings import ServiceSettings
from tests.browser.conftest import Browse
from tests.documents import code_in
from tests.live.conftest import Site, Stack, StartStack
from tests.waiting import eventually

pytestmark = pytest.mark.browser

PROFILES = "profiles: {nothing: [], assistant: [kit-service]}"
IMPATIENT = {"token_join_timeout": 10, "user_rejoin_timeout": 4}
"""Settings with which a session ends soon when no user joins or returns; a busy machine needs seconds for a join."""
PAGE = """<!doctype html>
<link rel="icon" href="data:,">
<div id="root"></div>
<script type="module" src="/page.js"></script>
"""


@pytest.fixture(scope="module")
def bundle(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's script with the React components."""
    script = tmp_path_factory.mktemp("react") / "page.js"
    command = (
        *(NODE / "node_modules" / ".bin" / "esbuild", "react_page.tsx", "--bundle", "--format=esm", "--jsx=automatic"),
        *("--define:process.env.NODE_ENV='production'", f"--outfile={script}", "--log-level=warning"),
    )
    subprocess.run(command, cwd=NODE, check=True)
    return script


@pytest.mark.usefixtures("bundle")
def test_documented_react_component_is_made_of_what_the_packages_export() -> None:
    [code] = code_in("docs/frontends.md", "jsx")
    command = (
        NODE / "node_modules" / ".bin" / "esbuild",
        "--bundle",
        "--format=esm",
        "--loader=jsx",
        "--jsx=automatic",
    )
    done = subprocess.run(command, cwd=NODE, input=code, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


class ReactPage:
    """The page, served from another origin than the API."""

    def __init__(self, stack: Stack, page: Page) -> None:
        self.stack, self.page = stack, page

    async def mount(self, **options: Any) -> None:
        asked = {"endpoint": f"{self.stack.url}/api/v1/token", "options": options}
        await self.page.goto(f"{self.page.url.partition('#')[0]}#{quote(json.dumps(asked))}")
        await self.page.reload()

    async def start(self) -> None:
        await self.page.locator("#start").click()

    async def end(self) -> None:
        await self.page.locator("#end").click()

    async def shows(self, **texts: str) -> None:
        for element, text in texts.items():
            await expect(self.page.locator(f"#{element}")).to_have_text(text)

    async def sessions(self, count: int) -> list[Session]:
        """The sessions, once there are so many."""

        async def all_of_them() -> list[Session]:
            return list(self.stack.store.list())

        return await eventually(f"{count} sessions", all_of_them, lambda found: len(found) >= count)

    async def joined(self) -> Session:
        """The session in whose room the page is, once it is active. Not always the first: a start before the answer to
        the token request that the page sends when it is mounted makes another one."""
        await self.shows(connection="connected", error="")
        session = self.stack.store.in_room(await self.page.locator("#room").inner_text())
        assert session is not None
        return await self.stack.until(session.session_id, lambda latest: latest.state is SessionState.ACTIVE)

    async def over(self, session: Session) -> EndReason | None:
        """The reason of a session's end, once it is over."""
        ended = await self.stack.until(session.session_id, lambda latest: latest.over)
        return None if ended.end is None else ended.end.reason


@pytest.fixture
async def react(
    request: pytest.FixtureRequest, start_stack: StartStack, site: Site, browse: Browse, bundle: Path, tmp_path: Path
) -> ReactPage:
    """A page, and an API that has the settings in the fixture's parameter, if there is one."""

    async def index(request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def script(request: web.Request) -> web.FileResponse:
        return web.FileResponse(bundle)

    services_file, port = tmp_path / "services.yaml", free_port()
    services_file.write_text(PROFILES)
    stack = await start_stack(
        site,
        services_file=services_file,
        cors_origins=f"http://127.0.0.1:{port}",
        **getattr(request, "param", {}),
    )
    app = web.Application()
    app.add_routes([web.get("/", index), web.get("/page.js", script)])
    page = await browse(app, port)
    return ReactPage(stack, page)


@pytest.mark.parametrize("react", [IMPATIENT], indirect=True, ids=["impatient"])
async def test_react_page_starts_after_its_first_session_has_ended(react: ReactPage) -> None:
    """The page asks for a token when it is shown. It must not use that token once its room is gone."""
    await react.mount(agentName="nothing")
    (unused,) = await react.sessions(1)
    assert await react.over(unused) is EndReason.USER_NEVER_JOINED
    await react.start()
    assert (await react.joined()).session_id != unused.session_id


@pytest.mark.parametrize("react", [IMPATIENT], indirect=True, ids=["impatient"])
async def test_react_page_starts_again_after_its_end(react: ReactPage) -> None:
    """`end()` asks for another token and so opens another session. `start()` joins it, or a third if it is over; unused
    sessions end soon."""
    await react.mount(agentName="nothing")
    joined: list[Session] = []
    for _ in range(2):
        await react.start()
        joined.append(await react.joined())
        await react.end()
        await react.shows(connection="disconnected")
    rooms = {session.room_name for session in joined}
    for session in react.stack.store.list():
        reason = EndReason.USER_LEFT if session.room_name in rooms else EndReason.USER_NEVER_JOINED
        assert await react.over(session) is reason


async def test_react_page_starts_again_in_its_own_room(react: ReactPage) -> None:
    """Started again at once, a page with a room and an identity finds its session alive."""
    await react.mount(agentName="nothing", roomName="lobby", participantIdentity="alice")
    for _ in range(2):
        await react.start()
        await react.shows(connection="connected", room="lobby", error="")
        await react.end()
        await react.shows(connection="disconnected")
    (session,) = await react.sessions(1)
    assert session.room_name == "lobby"


async def test_react_page_shows_a_service_of_the_kit_as_its_agent(react: ReactPage) -> None:
    service = Service("kit-service", type="ASSISTANT")

    @service.on_invite
    async def assist(job: SessionJob) -> None:
        await job.join()
        await job.say_ready()
        await job.ended()

    settings = ServiceSettings(_env_file=None, session_manager_url=react.stack.url)
    async with service.serving(settings):
        await react.mount(agentName="assistant")
        await react.start()
        await react.shows(connection="connected", agent="listening", failures="", error="")
        await react.joined()
