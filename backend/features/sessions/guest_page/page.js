"use strict";
// The link's secret stands behind # and is good once; the pass it gives stays in this tab.
const api = "/api/v1/guests";
const message = document.getElementById("message");
const stop = document.getElementById("stop");

async function ask(path, method, body) {
  const headers = { "Content-Type": "application/json", "Guest-Pass": sessionStorage.pass || "" };
  const answer = await fetch(api + path, { method, headers, body: body && JSON.stringify(body) });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.title);
  return said;
}

function show(session) {
  const due = `${session.due_eur.toFixed(2)} ${session.price.currency}`;
  const rows = {
    Site: session.site_name,
    State: session.status,
    Energy: `${session.energy_delivered_kwh.toFixed(2)} kWh`,
    Price: `${session.price.eur_per_kwh.toFixed(2)} ${session.price.currency} per kWh`,
    [session.is_final ? "To pay" : "To pay so far"]: due,
    Reference: session.payment_reference,
  };
  const list = document.getElementById("session");
  list.replaceChildren();
  for (const [name, value] of Object.entries(rows)) {
    const term = document.createElement("dt");
    const said = document.createElement("dd");
    term.textContent = name;
    said.textContent = value;
    list.append(term, said);
  }
  stop.hidden = session.is_final;
  message.textContent = session.is_final ? "The session has ended." : "";
}

async function begin() {
  const secret = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  if (secret) {
    const opened = await ask("/open", "POST", { secret });
    sessionStorage.pass = opened.guest_pass;
  }
  show(await ask("/session", "GET"));
}

function failed(error) {
  message.textContent = error.message;
}

stop.addEventListener("click", () => ask("/session/stop", "POST").then(show).catch(failed));
begin().catch(failed);
