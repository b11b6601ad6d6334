// PURE. The state of the test session form, and the body of POST api/v1/sessions made from it.

export const FIELDS = ["user_identity", "user_name", "profile", "metadata", "ready_timeout"];
const [TIMEOUT_MIN, TIMEOUT_MAX] = [1, 600]; // seconds

export const emptyForm = () => ({
  user_identity: "operator",
  user_name: "",
  profile: null, // not chosen yet
  services: [],
  types: [],
  other: "",
  metadata: "",
  ready_timeout: "",
  isToBeJoined: true,
});

/**
 * { body, errors }: errors are by field; with any, the body must not be sent. The server validates the rest. Services and
 * profiles that are no longer listed are left out; `services` is null if the caller may not see them.
 */
export function bodyOf(form, { services, profiles }) {
  const errors = {};
  const body = { user_identity: form.user_identity.trim(), required_services: requiredBy(form, services) };
  if (!body.user_identity) errors.user_identity = "An identity is required.";
  if (form.user_name.trim()) body.user_name = form.user_name.trim();
  const profile = profileOf(form, profiles);
  if (profiles.includes(profile)) body.profile = profile;
  if (form.metadata.trim()) {
    try {
      body.metadata = JSON.parse(form.metadata);
      if (body.metadata === null || typeof body.metadata !== "object" || Array.isArray(body.metadata)) {
        errors.metadata = "Must be a JSON object, such as {\"language\": \"en\"}.";
      }
    } catch (error) {
      errors.metadata = `Not valid JSON: ${error.message}`;
    }
  }
  if (form.ready_timeout.trim()) {
    body.ready_timeout = Number(form.ready_timeout);
    if (!(body.ready_timeout >= TIMEOUT_MIN && body.ready_timeout <= TIMEOUT_MAX)) {
      errors.ready_timeout = `Must be a number of seconds from ${TIMEOUT_MIN} to ${TIMEOUT_MAX}.`;
    }
  }
  return { body, errors };
}

/** Unless another is chosen, the one called `default`, as for clients that name no services. */
export const profileOf = ({ profile }, profiles) => profile ?? (profiles.includes("default") ? "default" : "");

/** Whether the session would have no services, so that the user is alone in the room. */
export function isEmpty(form, world) {
  const { required_services, profile } = bodyOf(form, world).body;
  return !required_services.length && !profile;
}

function requiredBy({ services: ids, types, other }, services) {
  if (services === null) return other.split(",").map((id) => id.trim()).filter(Boolean);
  return [
    ...ids.filter((id) => services.some(({ service_id }) => service_id === id)),
    ...types.filter((type) => services.some((service) => service.type === type)).map((type) => ({ type })),
  ];
}

/** The errors of a problem document that are about the form's fields. */
export function errorsOf(problem) {
  const errors = {};
  for (const { field, detail } of problem.errors ?? []) if (FIELDS.includes(field)) errors[field] ??= detail;
  return errors;
}
