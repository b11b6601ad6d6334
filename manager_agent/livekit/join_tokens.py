"""The join tokens that are given out, and the room names that they reserve. Decision 0026."""

from __future__ import annotations

from manager_agent.livekit.listed_room import ListedRoom
from manager_agent.livekit.room_acts import RoomActs
from manager_agent.livekit.tokens import AccessToken, Joiner, Tokens
from manager_agent.session.events import ParticipantInfo
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Session, User
from manager_agent.session.trespassers import SESSION_ATTRIBUTE
from manager_agent.store.room_names import RoomNames


class JoinTokens:
    """Every token is recorded in `names` before anyone gets it."""

    def __init__(self, tokens: Tokens, names: RoomNames, acts: RoomActs | None = None) -> None:
        self._tokens, self._names, self._acts = tokens, names, acts or RoomActs()

    def for_user(self, session: Session, now: float) -> AccessToken:
        """A fresh token for the session's user."""
        return self.for_human(session, session.user, now)

    def for_human(self, session: Session, human: User, now: float) -> AccessToken:
        """A token for a human in the session's room."""
        token = self._tokens.for_human(session, human, now)
        self._acts.note("user_token", session.session_id, session.room_name)
        return self._reserving(session, token, is_recognized=not self._tokens.can_hide(human))

    def for_service(self, session: Session, service: RequiredService, now: float) -> AccessToken:
        """The join token of a service invited at `now`. Raises NotActing."""
        self._acts.begin("invite", session.session_id, session.room_name)
        return self._reserving(session, self._tokens.for_service(session, service, now), is_recognized=True)

    def for_manager(self, session: Session, identity: str, agent_name: str) -> AccessToken:
        """The join token of the session's manager. It stays in this process, so it reserves nothing."""
        return self._tokens.for_manager(session, identity, agent_name)

    def marked(self, livekits: str, session_id: str) -> str:
        """See Tokens."""
        return self._tokens.marked(livekits, session_id)

    def reserve_again(self, session: Session, now: float) -> None:
        """Reserve the name of a session of an earlier process, as long as tokens that it gave out may be valid: they
        may not be in the records."""
        until, is_recognized = self._tokens.latest_expiry(session, now), not self._tokens.can_hide(session.user)
        names, name = self._names, session.room_name
        names.issued(name, session.session_id, session.tenant, until, is_recognized=is_recognized)

    def refuse_long(self, session: Session, now: float) -> None:
        """Raise TokenTooLong if the session's user could never get a token. Nothing is issued."""
        self._tokens.for_human(session, session.user, now)

    def joiner(self, jwt: str) -> Joiner:
        """The identity and room of a join token. Raises InvalidToken."""
        return self._tokens.joiner(jwt)

    def is_reserved(self, room_name: str) -> bool:
        """Whether any token can still open a room of this name."""
        return self._names.is_reserved(room_name)

    def has_old_token(self, room: ListedRoom, seen: ParticipantInfo) -> bool:
        """Whether the participant entered with a token of an earlier session whose room had the same name."""
        session_id = seen.attributes.get(SESSION_ATTRIBUTE, "")
        return session_id not in ("", room.session_id) and self._names.may_enter(room.name, session_id)

    def _reserving(self, session: Session, token: AccessToken, *, is_recognized: bool) -> AccessToken:
        names, expires_at = self._names, token.expires_at
        names.issued(session.room_name, session.session_id, session.tenant, expires_at, is_recognized=is_recognized)
        return token
