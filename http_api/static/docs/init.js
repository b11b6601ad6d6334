// URLs are relative to the page, so that it works behind a proxy with a path prefix.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null, // send nothing to other servers
});
