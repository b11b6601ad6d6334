"""A page that gets its token by LiveKit's TokenSource and joins with LiveKit's own client, as they are."""

from __future__ import annotations

from aiohttp import web
from playwright.async_api import Locator, Page, expect

from examples.web.server import FILES

PAGE = """<!doctype html>
<link rel="icon" href="data:,">
<p id="state">nothing</p><ul id="services"></ul><ul id="others"></ul><p id="error"></p>
<script type="module">
import { Room, RoomEvent, TokenSource } from "/livekit-client.js";

const element = (id) => document.getElementById(id);
const list = (id, lines) => element(id).replaceChildren(...lines.map((line) => {
  const item = document.createElement("li");
  item.textContent = line;
  return item;
}));

window.start = async (endpoint, options) => {
  try {
    element("state").textContent = "asking";
    const { serverUrl, participantToken } = await TokenSource.endpoint(endpoint).fetch(options);
    const room = new Room();
    const show = () => {
      const { state, services } = JSON.parse(room.metadata);
      element("state").textContent = `${room.localParticipant.identity} in ${room.name}: ${state}`;
      list("services", services.map((service) => `${service.service_id} is ${service.state}`));
      list("others", [...room.remoteParticipants.values()].map(({ identity, isAgent }) => `${identity} ${isAgent}`));
    };
    room.on(RoomEvent.RoomMetadataChanged, show);
    room.on(RoomEvent.ParticipantConnected, show);
    room.on(RoomEvent.ParticipantDisconnected, show);
    room.on(RoomEvent.Disconnected, () => { element("state").textContent = "out"; });
    await room.connect(serverUrl, participantToken);
    show();
  } catch (error) {
    element("error").textContent = error.message;
  }
};
</script>
"""


def token_page_app() -> web.Application:
    """Serves the page."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def client(request: web.Request) -> web.FileResponse:
        return web.FileResponse(FILES["/livekit-client.js"])

    app = web.Application()
    app.add_routes([web.get("/", page), web.get("/livekit-client.js", client)])
    return app


class TokenPage:
    """The page in a browser. `api_url`: of the API that has the TokenSource endpoint."""

    def __init__(self, page: Page, api_url: str) -> None:
        self.page, self._api_url = page, api_url

    async def ask(self, **options: str) -> None:
        """Start without waiting for the result."""
        wanted = [f"{self._api_url}/api/v1/token", options]
        await self.page.evaluate("([endpoint, options]) => { window.start(endpoint, options); }", wanted)

    async def shows(self, state: str) -> None:
        await expect(self.page.locator("#state")).to_have_text(state)

    @property
    def services(self) -> Locator:
        return self.page.locator("#services li")

    @property
    def others(self) -> Locator:
        return self.page.locator("#others li")
