// A real Millrace: the binary, with its own Postgres, in a directory that is thrown away.

import { execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const API_KEY = "millrace-dev";

/** The binary that E2E_PROGRAM names, or the debug build. */
export function findMillrace() {
  const found = process.env.E2E_PROGRAM || new URL("../../../target/debug/millrace", import.meta.url).pathname;
  if (!existsSync(found)) throw new Error("there is no millrace binary: run `cargo build`, or set E2E_PROGRAM");
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
  const token = execFileSync(binary, ["token", "--server"], { env, encoding: "utf8" }).trim();
  const post = async (path, body) => {
    const headers = { authorization: token, "stream-auth-type": "jwt", "content-type": "application/json" };
    const answer = await fetch(`${base}${path}?api_key=${API_KEY}`, { method: "POST", headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
    return answer.json();
  };
  /** A call to the rooms surface, as a user's browser makes it. */
  const room = async (user, method, path, body) => {
    const bearer = execFileSync(binary, ["token", "--user", user], { env, encoding: "utf8" }).trim();
    const headers = { authorization: `Bearer ${bearer}`, "content-type": "application/json" };
    const answer = await fetch(`${base}${path}`, { method, headers, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
    return answer.json();
  };
  return {
    post,
    /** The key with which browsers subscribe, in base64url. */
    vapidPublicKey: async (user) => (await room(user, "GET", "/api/vapid-public-key/")).public_key,
    /** Registers a browser of a user's: what PushSubscription.toJSON() gives. */
    register: (user, subscription) => room(user, "POST", "/api/register-subscriptions/", { subscriptions: [subscription] }),
    stop,
  };
}
