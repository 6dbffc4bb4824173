/**
 * Tries to look into another tenant, as an attacker would who has a valid session of this one: a raw websocket, the
 * plain protocol, no client in between that could be polite. What comes back is the server's own words.
 */

interface Session {
  readonly url: string;
  readonly jwt: string;
}

/** Milliseconds to wait for something that must not come. */
const PATIENCE = 2500;

/** Returns what the server answered, and how many messages of the other tenant came through. */
export async function trespass(token: string, victim: string): Promise<{ answer: string; leaked: number }> {
  const asked = await fetch("/session", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
  if (!asked.ok) throw new Error(`no session: ${asked.status}`);
  const { url, jwt } = (await asked.json()) as Session;
  const socket = new WebSocket(url);
  const decoder = new TextDecoder();
  let heard = "";
  const over = new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, PATIENCE);
    socket.addEventListener("close", () => { clearTimeout(timer); resolve(); });
  });
  socket.binaryType = "arraybuffer";
  socket.addEventListener("message", ({ data }) => { heard += decoder.decode(data as ArrayBuffer, { stream: true }); });
  socket.addEventListener("open", () => {
    const connect = { jwt, verbose: false, pedantic: false, headers: true, no_responders: true, protocol: 1 };
    socket.send(
      `CONNECT ${JSON.stringify(connect)}\r\nSUB live.${victim}.> 1\r\nSUB live.> 2\r\nSUB _INBOX.> 3\r\n` +
      `PUB sync.${victim}.pull _INBOX.x 2\r\n{}\r\nPUB obj.${victim}.call.c1 2\r\n{}\r\nPING\r\n`,
    );
  });
  await over;
  socket.close();
  const refusals = [...heard.matchAll(/-ERR '([^']*)/g)].map(([, words]) => words!);
  return { answer: refusals[0] ?? "no refusal", leaked: heard.match(/^H?MSG /gm)?.length ?? 0 };
}
