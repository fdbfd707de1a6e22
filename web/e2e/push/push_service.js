// A push service for Firefox: HTTP on one side (RFC 8030 and 8292), Mozilla's push protocol over a WebSocket on the other.
// It is ours; the browser and the server are real.

import { createPublicKey, randomUUID, verify } from "node:crypto";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const bytes = (text) => Buffer.from(text, "base64url");

/** The claims of a signature that fits its key and this service; an error otherwise. */
function vapid(header, origin) {
  const [, token, key] = /^vapid t=([^,]+), k=(.+)$/.exec(header ?? "") ?? [];
  const point = bytes(key ?? "");
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((part) => part.toString("base64url"));
  const publicKey = createPublicKey({ key: { kty: "EC", crv: "P-256", x, y }, format: "jwk" });
  const [head, body, signature] = token.split(".");
  const signed = { key: publicKey, dsaEncoding: "ieee-p1363" };
  if (!verify("sha256", Buffer.from(`${head}.${body}`), signed, bytes(signature))) throw new Error("a wrong signature");
  const claims = JSON.parse(bytes(body));
  if (claims.aud !== origin) throw new Error(`signed for ${claims.aud}, not for ${origin}`);
  return { claims, key: point };
}

/** Starts a service. `corrupt` flips one bit of the next push; `acks` tells what the browser made of each one. */
export async function startPushService() {
  const server = createServer(async (request, response) => {
    try {
      const body = Buffer.concat(await request.toArray());
      const subscription = subscriptions.get(request.url.split("/").pop());
      const { key } = vapid(request.headers.authorization, service.origin);
      if (!subscription.key.equals(key)) throw new Error("not the key of the subscription");
      if (!request.headers.ttl) throw new Error("no TTL");
      if (service.corrupt) body[body.length - 1] ^= 1;
      service.corrupt = false;
      subscription.socket.send(
        JSON.stringify({
          messageType: "notification",
          channelID: subscription.channelID,
          version: randomUUID(),
          data: body.toString("base64url"),
          headers: { encoding: request.headers["content-encoding"] },
        }),
      );
      response.writeHead(201, { location: `${service.origin}/message` }).end();
    } catch (error) {
      service.refused.push(String(error));
      response.writeHead(400).end();
    }
  });
  const subscriptions = new Map();
  const waiting = [];
  const service = { corrupt: false, refused: [], codes: [] };
  service.nextAck = () => new Promise((resolve) => (service.codes.length ? resolve(service.codes.shift()) : waiting.push(resolve)));
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => {
    const say = (message) => socket.send(JSON.stringify(message));
    socket.on("message", (text) => {
      const message = JSON.parse(text);
      switch (message.messageType) {
        case "hello":
          return say({ messageType: "hello", status: 200, uaid: message.uaid || randomUUID().replaceAll("-", ""), use_webpush: true });
        case "register": {
          const id = randomUUID();
          subscriptions.set(id, { socket, channelID: message.channelID, key: bytes(message.key) });
          const pushEndpoint = `${service.origin}/push/${id}`;
          return say({ messageType: "register", status: 200, channelID: message.channelID, pushEndpoint });
        }
        case "ack":
          for (const { code } of message.updates) waiting.length ? waiting.shift()(code) : service.codes.push(code);
      }
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  service.port = server.address().port;
  service.origin = `http://localhost:${service.port}`;
  service.stop = () => {
    sockets.clients.forEach((socket) => socket.terminate());
    server.closeAllConnections();
    server.close();
  };
  return service;
}
