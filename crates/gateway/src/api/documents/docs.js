// Starts Swagger UI on /docs.
const dark = matchMedia('(prefers-color-scheme: dark)');
const paint = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', paint);
paint();

fetch('/openapi.json').then((response) => response.json()).then((spec) => {
  // The viewer would offer a choice of servers. It calls its own.
  delete spec.servers;
  SwaggerUIBundle({
    spec,
    dom_id: '#viewer',
    deepLinking: true,
    defaultModelExpandDepth: 2,
    defaultModelsExpandDepth: -1,
    displayRequestDuration: true,
    // No other origin validates the document, and the browser stores no credential.
    validatorUrl: null,
    persistAuthorization: false,
  });
});
