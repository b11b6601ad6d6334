// URLs are relative to the page, so that it works behind a proxy with a path prefix.
const page = new URL(".", location.href).href.replace(/\/$/, "");
const EXAMPLE = "http://localhost:8080"; // in the document's curl commands

/** The document as this server is reached: its commands can be copied. */
function withOwnAddress(response) {
  if (response.url.endsWith("/openapi.json")) response.text = response.text.replaceAll(EXAMPLE, page);
  return response;
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  responseInterceptor: withOwnAddress,
  validatorUrl: null, // send nothing to other servers
});
