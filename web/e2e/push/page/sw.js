addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));

addEventListener("push", (event) => {
  const push = event.data.json();
  const show = async () => {
    await registration.showNotification(push.title, { body: push.body, tag: push.message_id });
    for (const client of await clients.matchAll()) client.postMessage(push);
  };
  event.waitUntil(show());
});
