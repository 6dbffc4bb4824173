/** Who sits here: a code or a token from the address, kept for this tab alone; and what is asked of the server with it. */
import { HeadwayError } from "../src/index.js";
import type { Action } from "./models.js";

const KEPT = "headway-operator";
/** Milliseconds for an answer. Many dead letters take a while. */
const TIMEOUT = 60_000;

export class Session {
  private token: string | null = sessionStorage.getItem(KEPT);

  get signedIn(): boolean {
    return this.token !== null;
  }

  /** Use what the address brings behind its `#`, and take it out of there: it is nobody else's. */
  async arrive(): Promise<void> {
    const brought = new URLSearchParams(location.hash.slice(1));
    const [code, token] = [brought.get("code"), brought.get("token")];
    if (code === null && token === null) return;
    history.replaceState(null, "", location.pathname);
    await (token !== null ? this.use(token) : this.enter(code!));
  }

  /** Sign in with what somebody has typed: a code, the whole address, or a token of the application. */
  async enter(typed: string): Promise<void> {
    const secret = typed.trim().replace(/^.*#(code|token)=/, "");
    if (secret.split(".").length === 3) return this.use(secret);
    const { token } = (await post("/console/sign-in", { code: secret })) as { token: string };
    this.use(token);
  }

  readonly current = (): string => {
    if (this.token === null) throw new HeadwayError("session", "nobody is signed in");
    return this.token;
  };

  /** Have something done. Resolves with what was done, in words. */
  async act(action: Action): Promise<string> {
    return ((await post("/console/act", action, this.current())) as { said: string }).said;
  }

  /** Nobody is signed in any more, here; at the server, too, if it can be reached. */
  async leave(): Promise<void> {
    const token = this.token;
    this.forget();
    if (token !== null) await ask("DELETE", "/console/session", undefined, token).catch(() => undefined);
  }

  forget(): void {
    this.token = null;
    sessionStorage.removeItem(KEPT);
  }

  private use(token: string): void {
    this.token = token;
    sessionStorage.setItem(KEPT, token);
  }
}

const post = (path: string, body: unknown, token?: string): Promise<unknown> => ask("POST", path, body, token);

async function ask(method: string, path: string, body: unknown, token?: string): Promise<unknown> {
  let answer: Response;
  try {
    answer = await fetch(path, {
      method, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT),
      headers: { "Content-Type": "application/json", ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw new HeadwayError("offline", "the server does not answer", true, "try again once it does");
  }
  const said = (await answer.json().catch(() => null)) as { error?: { code: string; message: string; remedy: string } } | null;
  if (answer.ok) return said;
  const { code = "session", message = `the server answered ${answer.status}`, remedy = "" } = said?.error ?? {};
  throw new HeadwayError(code, message, false, remedy, answer.status);
}
