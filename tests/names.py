"""Names of rooms and identities as people have them. livekit-server takes each, of up to 256 bytes."""

from __future__ import annotations

NAMES = (
    "sEB0/x+J9w==",
    "-V1StGXR8_Z5jdHi6B",
    "tenant/room",
    "../..",
    "a%2Fb?c=d&e#f",
    "my room",
    "#room:server.example",
    "房間 測試",
    "山田\u3000太郎",
    "می\u200cخواهم",  # noqa: RUF001
    "\u200fשלום",  # noqa: RUF001
    "👩\u200d🚀 crew",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    '"><script>alert(1)</script>',
    "[red]\\markup[/red]",
    "__proto__",
    "é" * 128,
)
