// A message that is sent over the Stream API is shown by a Firefox whose user is away; one that was changed on its way is not.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openFirefox } from "./firefox.js";
import { startMillrace } from "./millrace.js";
import { startPushService } from "./push_service.js";

// What the browser tells the push service of a push: taken, or not readable.
const DELIVERED = 100;
const NOT_DECRYPTED = 101;

let service, millrace, firefox;

before(async () => {
  service = await startPushService();
  millrace = await startMillrace();
  firefox = await openFirefox(service.port);
}, { timeout: 120_000 });

after(async () => {
  await firefox?.close();
  await millrace?.stop();
  service?.stop();
}, { timeout: 60_000 });

test("a push arrives in Firefox and a changed one does not", { timeout: 120_000 }, async () => {
  await millrace.post("/users", { users: { ada: { id: "ada", name: "Ada" }, grace: { id: "grace" } } });
  const data = { created_by_id: "ada", members: ["ada", "grace"], name: "Lobby" };
  await millrace.post("/channels/messaging/lobby/query", { data });
  const say = (text) => millrace.post("/channels/messaging/lobby/message", { message: { text, user_id: "ada" } });

  const { page } = firefox;
  const key = await millrace.vapidPublicKey("grace");
  const subscription = await page.evaluate((key) => subscribe(key), key);
  assert.ok(subscription.endpoint.startsWith(service.origin), subscription.endpoint);
  await millrace.register("grace", subscription);

  const { message } = await say("héllo from Millrace");
  assert.equal(await service.nextAck(), DELIVERED, service.refused.join());
  const [push] = await page.evaluate(() => saidAfter(1));
  assert.deepEqual(push, {
    sender: "stream.chat",
    type: "message.new",
    version: "v2",
    message_id: message.id,
    id: message.id,
    channel_type: "messaging",
    channel_id: "lobby",
    cid: "messaging:lobby",
    receiver_id: "grace",
    title: "Ada · Lobby",
    body: "héllo from Millrace",
  });
  assert.deepEqual(await page.evaluate(() => shown()), [{ title: "Ada · Lobby", body: "héllo from Millrace" }]);

  service.corrupt = true;
  await say("changed on its way");
  assert.equal(await service.nextAck(), NOT_DECRYPTED);

  await say("the last one");
  assert.equal(await service.nextAck(), DELIVERED);
  const said = await page.evaluate(() => saidAfter(2));
  assert.deepEqual(said.map(({ body }) => body), ["héllo from Millrace", "the last one"]);
  assert.deepEqual(service.refused, []);
});
