// A real Millrace: the binary, with its own Postgres, in a directory that is thrown away.

import { execFileSync, spawn } from "node:child_process";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import pg from "pg";

const API_KEY = "millrace-dev";

/** The binary that MILLRACE_BIN names, or the one that was built last. */
export function findMillrace() {
  const target = new URL("../../../target/", import.meta.url).pathname;
  const places = [process.env.MILLRACE_BIN, `${target}release/millrace`, `${target}debug/millrace`];
  const found = places.find((place) => place && existsSync(place));
  if (!found) throw new Error("there is no millrace binary: run `cargo build`, or set MILLRACE_BIN");
  return found;
}

export async function startMillrace() {
  const binary = findMillrace();
  const dataDir = await mkdtemp(join(tmpdir(), "millrace-e2e-"));
  // Where root runs this, Postgres runs as somebody else, who must reach it too.
  await chmod(dataDir, 0o755);
  const env = { PATH: process.env.PATH, HOME: process.env.HOME, MILLRACE_PUSH__ALLOW_LOOPBACK: "true" };
  const child = spawn(binary, ["--data-dir", dataDir, "serve", "--listen", "127.0.0.1:0"], { env, stdio: ["ignore", "ignore", "pipe"] });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const log = [];
  const base = await new Promise((resolve, reject) => {
    createInterface({ input: child.stderr }).on("line", (line) => {
      log.push(line);
      const listen = /listen=(\S+)/.exec(line);
      if (listen) resolve(`http://${listen[1]}`);
    });
    ended.then(() => reject(new Error(`millrace did not start:\n${log.join("\n")}`)));
  });
  const stop = async () => {
    child.kill("SIGTERM");
    await ended;
    await rm(dataDir, { recursive: true, force: true });
  };
  const database = await openDatabase(dataDir).catch(async (error) => {
    await stop();
    throw error;
  });
  const token = execFileSync(binary, ["token", "--server"], { env, encoding: "utf8" }).trim();
  const post = async (path, body) => {
    const headers = { authorization: token, "stream-auth-type": "jwt", "content-type": "application/json" };
    const answer = await fetch(`${base}${path}?api_key=${API_KEY}`, { method: "POST", headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
    return answer.json();
  };
  return {
    post,
    /** The key with which browsers subscribe, in base64url. */
    vapidPublicKey: async () => {
      const { rows } = await database.query("SELECT private_key FROM vapid_key");
      const key = createPublicKey(createPrivateKey({ key: rows[0].private_key, format: "der", type: "pkcs8" }));
      const { x, y } = key.export({ format: "jwk" });
      const [left, right] = [x, y].map((part) => Buffer.from(part, "base64url"));
      return Buffer.concat([Buffer.from([4]), left, right]).toString("base64url");
    },
    /** Registers a browser of a user's: what PushSubscription.toJSON() gives. */
    register: async (user, { endpoint, keys }) => {
      const [p256dh, auth] = [keys.p256dh, keys.auth].map((key) => Buffer.from(key, "base64url"));
      const insert = "INSERT INTO push_subscriptions (endpoint, user_id, p256dh, auth) VALUES ($1, $2, $3, $4)";
      await database.query(insert, [endpoint, user, p256dh, auth]);
    },
    stop: async () => {
      await database.end();
      await stop();
    },
  };
}

/** The embedded Postgres: its socket stands in the fifth line of postmaster.pid. */
async function openDatabase(dataDir) {
  const pid = await readFile(join(dataDir, "postgres", "cluster", "postmaster.pid"), "utf8");
  const host = pid.split("\n")[4];
  const client = new pg.Client({ host, user: "millrace", database: "millrace" });
  await client.connect();
  return client;
}
