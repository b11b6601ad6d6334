// PURE. Commands to copy.

/** The command with the caller's API key, which is the one that `session-manager` reads; in dev mode none is needed. */
export const withKey = (curl, caller) =>
  caller?.name === "dev" ? curl : curl.replace(" -H", () => ' -H "Authorization: Bearer $SESSION_MANAGER_API_KEY" -H');
