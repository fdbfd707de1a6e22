// The demo page: one person in one channel, on the Stream protocol and nothing else. Open it twice, as two people.

const asked = new URLSearchParams(location.search).get("user");
const session = await (await fetch(`demo/session.json${asked ? `?user=${encodeURIComponent(asked)}` : ""}`)).json();
const { api_key, user, token, users } = session;
const path = `channels/${session.channel.type}/${session.channel.id}`;
const REACTION = "like";

const $ = (id) => document.getElementById(id);
const items = new Map(); // message id -> <li>
let connectionId;

async function call(method, path, body) {
  const url = new URL(path, location.origin);
  url.searchParams.set("api_key", api_key);
  if (connectionId) url.searchParams.set("connection_id", connectionId);
  const answer = await fetch(url, {
    method,
    headers: { authorization: token, "stream-auth-type": "jwt", "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const json = await answer.json();
  if (!answer.ok) throw new Error(json.message);
  return json;
}

function connect() {
  const url = new URL("connect", location.origin);
  url.protocol = location.protocol.replace("http", "ws");
  url.searchParams.set("api_key", api_key);
  url.searchParams.set("authorization", token);
  url.searchParams.set("stream-auth-type", "jwt");
  url.searchParams.set("json", JSON.stringify({ user_id: user.id, user_details: user }));
  const socket = new WebSocket(url);
  let heartbeat;
  socket.onmessage = async ({ data }) => {
    const event = JSON.parse(data);
    if (event.error) return log("error", event.error.message);
    log(event.type, event.message?.text ?? event.user?.id ?? "");
    if (event.type === "health.check" && event.me) {
      connectionId = event.connection_id;
      heartbeat = setInterval(() => socket.send(JSON.stringify([{ type: "health.check", client_id: connectionId }])), 25_000);
      // Whatever was said while nobody listened comes with the state.
      await watch();
    }
    handlers[event.type]?.(event);
  };
  socket.onclose = () => {
    clearInterval(heartbeat);
    connectionId = undefined;
    setTimeout(connect, 1000 + Math.random() * 2000);
  };
}

async function watch() {
  const state = await call("POST", `${path}/query`, { state: true, watch: true, presence: true, messages: { limit: 50 } });
  $("channel").textContent = `#${state.channel.name ?? state.channel.id}`;
  $("messages").replaceChildren();
  items.clear();
  state.messages.forEach(show);
  state.members.forEach((member) => presence(member.user));
  markRead();
}

const handlers = {
  "message.new": ({ message }) => { show(message); if (document.hasFocus()) markRead(); },
  "message.updated": ({ message }) => show(message),
  "message.deleted": ({ message }) => { items.get(message.id)?.remove(); items.delete(message.id); },
  "reaction.new": ({ message }) => show(message),
  "reaction.updated": ({ message }) => show(message),
  "reaction.deleted": ({ message }) => show(message),
  "typing.start": ({ user: who }) => typing(who, true),
  "typing.stop": ({ user: who }) => typing(who, false),
  "user.presence.changed": ({ user: who }) => presence(who),
};

function show(message) {
  if (message.type === "deleted") return;
  const list = $("messages");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  let item = items.get(message.id);
  if (!item) {
    item = $("message").content.firstElementChild.cloneNode(true);
    items.set(message.id, item);
    list.append(item);
  }
  item.id = `message-${message.id}`;
  item.className = message.user.id === user.id ? "own" : "";
  item.querySelector("b").textContent = message.user.name ?? message.user.id;
  item.querySelector("time").textContent = new Date(message.created_at).toLocaleTimeString();
  // Made by the server from Markdown, with every tag of the text escaped.
  item.querySelector(".text").innerHTML = message.html;
  const like = document.createElement("button");
  // Events carry no reactions of one's own: they are the same for everybody.
  const mine = message.latest_reactions.some((reaction) => reaction.type === REACTION && reaction.user_id === user.id);
  like.textContent = `\u2665 ${message.reaction_counts[REACTION] ?? ""}`;
  like.className = mine ? "mine" : "";
  like.onclick = () => (mine
    ? call("DELETE", `messages/${message.id}/reaction/${REACTION}`)
    : call("POST", `messages/${message.id}/reaction`, { reaction: { type: REACTION } }));
  item.querySelector(".reactions").replaceChildren(like);
  if (atEnd) list.scrollTop = list.scrollHeight;
}

const markRead = () => call("POST", `${path}/read`, {}).catch(console.warn);

const typers = new Map(); // user id -> timer that forgets it
function typing(who, starts) {
  if (who.id === user.id) return;
  clearTimeout(typers.get(who.id));
  typers.delete(who.id);
  if (starts) typers.set(who.id, setTimeout(() => typing(who, false), 7_000));
  $("typing").textContent = typers.size ? `${[...typers.keys()].join(", ")} typing\u2026` : "";
}

function presence(who) {
  $(`person-${who.id}`)?.classList.toggle("online", who.online);
}

function log(type, text) {
  const line = document.createElement("li");
  line.textContent = `${type} ${text}`;
  $("events").prepend(line);
  while ($("events").children.length > 200) $("events").lastChild.remove();
}

for (const person of users) {
  const link = document.createElement("a");
  link.id = `person-${person.id}`;
  link.href = `?user=${person.id}`;
  link.textContent = person.name;
  if (person.id === user.id) link.setAttribute("aria-current", "true");
  $("people").append(link);
}

let lastKey = 0;
$("text").oninput = () => {
  if (Date.now() - lastKey < 2_000) return;
  lastKey = Date.now();
  call("POST", `${path}/event`, { event: { type: "typing.start" } }).catch(console.warn);
};
$("composer").onsubmit = async (submit) => {
  submit.preventDefault();
  const text = $("text").value;
  $("text").value = "";
  lastKey = 0;
  try {
    await call("POST", `${path}/message`, { message: { id: crypto.randomUUID(), text } });
    call("POST", `${path}/event`, { event: { type: "typing.stop" } }).catch(console.warn);
  } catch (error) {
    $("text").value = text;
    log("error", error.message);
  }
};
window.addEventListener("focus", markRead);

connect();
