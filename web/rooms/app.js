// A client of the rooms surface that makes the calls of its UI adapter, in their order: token, user, socket URL, connection id,
// rooms, draft, messages, members, socket. Everything that is shown came from the server.

const query = new URLSearchParams(location.search);
const room = query.get('room') || 'general';
const cid = room.includes(':') ? room : `messaging:${room}`;
const view = (id) => document.getElementById(id);

let bearer = '';

async function call(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: { Authorization: `Bearer ${bearer}`, ...(body && { 'Content-Type': 'application/json' }) },
    body: body && JSON.stringify(body),
  });
  const text = await response.text();
  const answer = text ? JSON.parse(text) : null;
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return answer;
}

const shown = new Map();
let next = null;
let loading = false;

function render(message) {
  const article = shown.get(message.id) || document.createElement('article');
  article.dataset.id = message.id;
  article.classList.toggle('deleted', Boolean(message.deleted_at));
  const author = document.createElement('b');
  author.textContent = message.user?.name || message.sent_by;
  const time = document.createElement('time');
  time.textContent = new Date(message.created_at).toLocaleTimeString();
  const text = document.createElement('p');
  text.textContent = message.deleted_at ? 'deleted' : message.text;
  article.replaceChildren(author, time, text);
  shown.set(message.id, article);
  return article;
}

function append(message) {
  const list = view('messages');
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const isNew = !shown.has(message.id);
  const article = render(message);
  if (isNew) list.append(article);
  if (atEnd) list.scrollTop = list.scrollHeight;
}

async function loadOlder() {
  if (loading) return;
  loading = true;
  const list = view('messages');
  const page = await call('GET', `/api/rooms/${encodeURIComponent(cid)}/messages/?limit=20${next ? `&before=${next}` : ''}`);
  const fromEnd = list.scrollHeight - list.scrollTop;
  for (const message of page.messages) if (!shown.has(message.id)) list.prepend(render(message));
  list.scrollTop = list.scrollHeight - fromEnd;
  next = page.next;
  loading = false;
}

async function showPeople() {
  const members = await call('GET', `/api/rooms/${encodeURIComponent(cid)}/members/?limit=100`);
  view('people').textContent = members.map((member) => member.id).join(', ');
}

const typing = new Set();

const hear = {
  'message.new': (frame) => append(frame.message),
  'message.updated': (frame) => shown.has(frame.id) && render(frame.message),
  'message.deleted': (frame) => shown.has(frame.id) && render(frame.message),
  'typing.start': (frame) => { typing.add(frame.user_id); showTyping(); },
  'typing.stop': (frame) => { typing.delete(frame.user_id); showTyping(); },
  'user.join': () => showPeople(),
};

function showTyping() {
  view('typing').textContent = typing.size ? `${[...typing].join(', ')} typing` : '';
}

let socket;
let pause = 1000;

async function connect() {
  const { auth } = await call('GET', '/api/ws-auth/');
  const token = new URL(auth).searchParams.get('token');
  const base = auth.slice(0, auth.indexOf('/ws/'));
  socket = new WebSocket(`${base}/ws/${encodeURIComponent(cid)}/?token=${token}`);
  socket.onopen = () => socket.send(JSON.stringify({ type: 'channel.watch', cid }));
  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    if (frame.type === 'initialized') {
      // Whatever was missed while away is in the newest page.
      for (const message of [...frame.messages].reverse()) append(message);
      view('state').textContent = 'live';
      view('state').className = 'live';
      pause = 1000;
      return;
    }
    hear[frame.type]?.(frame);
  };
  socket.onclose = () => {
    view('state').textContent = 'disconnected';
    view('state').className = '';
    setTimeout(connect, pause);
    pause = Math.min(pause * 2, 30000);
  };
}

let savingDraft;
let typedAt = 0;

function typed() {
  const now = Date.now();
  if (socket?.readyState === WebSocket.OPEN && now - typedAt > 3000) {
    typedAt = now;
    socket.send(JSON.stringify({ type: 'typing.start' }));
  }
  clearTimeout(savingDraft);
  savingDraft = setTimeout(() => call('POST', `/api/rooms/${encodeURIComponent(cid)}/draft/`, { text: view('text').value }), 300);
}

async function send(event) {
  event.preventDefault();
  const text = view('text').value.trim();
  if (!text) return;
  clearTimeout(savingDraft);
  view('text').value = '';
  typedAt = 0;
  append(await call('POST', `/api/rooms/${encodeURIComponent(cid)}/messages/`, { text }));
}

async function start() {
  // What an app's own login would give: a token of its issuer.
  const session = await (await fetch(`/demo/session.json?user=${encodeURIComponent(query.get('user') || 'ada')}`)).json();
  bearer = session.token;
  await call('GET', '/api/token/');
  await call('POST', '/api/sync-user/', { username: session.user.name });
  await call('GET', '/api/connection-id/');
  await call('GET', '/api/rooms/');
  const config = await call('GET', `/rooms/${encodeURIComponent(cid)}/config/`);
  view('room').textContent = config.name || room;
  view('text').value = (await call('GET', `/api/rooms/${encodeURIComponent(cid)}/draft/`)).text;
  await loadOlder();
  view('messages').scrollTop = view('messages').scrollHeight;
  view('messages').addEventListener('scroll', () => {
    if (view('messages').scrollTop < 60 && next) loadOlder();
  });
  await showPeople();
  await connect();
  view('text').addEventListener('input', typed);
  view('composer').addEventListener('submit', send);
}

start();
