/**
 * Tries to read another tenant's objects, as an attacker with a valid session of this one would: over a raw websocket,
 * with no client library in between. The answers are the server's own.
 */
import type { Session } from "../src/session.js";

/** Milliseconds to wait for what must not arrive. */
const PATIENCE = 2500;

/** Return the server's answer, and how many messages of the other tenant came through. */
export async function trespass(sessionUrl: string, token: string, victim: string): Promise<{ answer: string; leaked: number }> {
  const response = await fetch(sessionUrl, { method: "POST", headers: { Authorization: `Bearer ${token}` } });
  if (!response.ok) throw new Error(`no session: ${response.status}`);
  const { url, jwt } = (await response.json()) as Session;
  const socket = new WebSocket(url);
  const decoder = new TextDecoder();
  let received = "";
  const closed = new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, PATIENCE);
    socket.addEventListener("close", () => { clearTimeout(timer); resolve(); });
  });
  socket.binaryType = "arraybuffer";
  socket.addEventListener("message", ({ data }) => { received += decoder.decode(data as ArrayBuffer, { stream: true }); });
  socket.addEventListener("open", () => {
    const connect = { jwt, verbose: false, pedantic: false, headers: true, no_responders: true, protocol: 1 };
    socket.send(
      `CONNECT ${JSON.stringify(connect)}\r\nSUB live.${victim}.> 1\r\nSUB live.> 2\r\nSUB _INBOX.> 3\r\n` +
      `PUB sync.${victim}.pull _INBOX.x 2\r\n{}\r\nPUB obj.${victim}.call.c1 2\r\n{}\r\nPING\r\n`,
    );
  });
  await closed;
  socket.close();
  const refusals = [...received.matchAll(/-ERR '([^']*)/g)].map(([, words]) => words!);
  return { answer: refusals[0] ?? "no refusal", leaked: received.match(/^H?MSG /gm)?.length ?? 0 };
}
