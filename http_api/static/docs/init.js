// Addresses are relative to the page, so that it also works behind a proxy that serves the API under a path of its own.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null, // nothing is sent to anybody else
});
