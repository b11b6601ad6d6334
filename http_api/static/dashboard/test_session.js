// PURE. What the form for a test session holds, and the body of POST api/v1/sessions that it becomes.

export const FIELDS = ["user_identity", "user_name", "profile", "metadata", "ready_timeout"];
const [TIMEOUT_MIN, TIMEOUT_MAX] = [1, 600]; // seconds

export const emptyForm = () => ({
  user_identity: "operator",
  user_name: "",
  profile: "",
  services: [],
  types: [],
  other: "",
  metadata: "",
  ready_timeout: "",
  isToBeJoined: true,
});

/**
 * { body, errors }: with errors, by field, it is not to be sent. The server judges the rest. Only what the form shows is
 * asked for: of the `services` that are registered (null: the caller may not see them), and of the `profiles`.
 */
export function bodyOf(form, { services, profiles }) {
  const errors = {};
  const body = { user_identity: form.user_identity.trim(), required_services: requiredBy(form, services) };
  if (!body.user_identity) errors.user_identity = "Who is to join? An identity is needed.";
  if (form.user_name.trim()) body.user_name = form.user_name.trim();
  if (profiles.includes(form.profile)) body.profile = form.profile;
  if (form.metadata.trim()) {
    try {
      body.metadata = JSON.parse(form.metadata);
      if (body.metadata === null || typeof body.metadata !== "object" || Array.isArray(body.metadata)) {
        errors.metadata = "It should be a JSON object, such as {\"language\": \"en\"}.";
      }
    } catch (error) {
      errors.metadata = `It is no JSON: ${error.message}`;
    }
  }
  if (form.ready_timeout.trim()) {
    body.ready_timeout = Number(form.ready_timeout);
    if (!(body.ready_timeout >= TIMEOUT_MIN && body.ready_timeout <= TIMEOUT_MAX)) {
      errors.ready_timeout = `It should be a number of seconds from ${TIMEOUT_MIN} to ${TIMEOUT_MAX}.`;
    }
  }
  return { body, errors };
}

function requiredBy({ services: ids, types, other }, services) {
  if (services === null) return other.split(",").map((id) => id.trim()).filter(Boolean);
  return [
    ...ids.filter((id) => services.some(({ service_id }) => service_id === id)),
    ...types.filter((type) => services.some((service) => service.type === type)).map((type) => ({ type })),
  ];
}

/** What a problem of the server's says of the form's own fields. */
export function errorsOf(problem) {
  const errors = {};
  for (const { field, detail } of problem.errors ?? []) if (FIELDS.includes(field)) errors[field] ??= detail;
  return errors;
}
