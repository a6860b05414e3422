// Shows /openapi.json by Swagger UI. The token is kept as long as the tab is open, as the page at / keeps it.

const TOKEN = "dssm-token"; // of sessionStorage
const element = (id) => document.getElementById(id);

function show(spec, token) {
  const ui = SwaggerUIBundle({
    spec,
    domNode: element("swagger-ui"),
    validatorUrl: null, // no other server reads the document
    queryConfigEnabled: false,
    onComplete: () => token && ui.preauthorizeApiKey("token", token),
  });
}

function ask(why) {
  element("why").textContent = why;
  element("ask").hidden = false;
  element("token").focus();
}

async function open() {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    const answer = await fetch("openapi.json", { headers });
    if (answer.ok) {
      element("ask").hidden = true;
      show(await answer.json(), token);
      return;
    }
    const { error } = await answer.json();
    ask(answer.status === 401 && !token ? "This server answers with a token only." : error);
  } catch (error) {
    ask(`The server cannot be reached: ${error.message}`);
  }
}

function take() {
  const token = element("token").value.trim();
  if (token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
  open();
}

element("open").addEventListener("click", take);
element("token").addEventListener("keydown", (event) => event.key === "Enter" && take());
open();
