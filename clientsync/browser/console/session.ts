/** The operator's session: a code or a token from the address, kept for this tab alone, and requests made with it. */
import { HeadwayError } from "../src/index.js";
import type { Action } from "./models.js";

const STORAGE_KEY = "headway-operator";
/** Milliseconds for an answer. Many dead letters take a while. */
const TIMEOUT = 60_000;

/** Return the address of an endpoint. It is relative to this script, so a proxy may serve it all below a path. */
export const endpoint = (name: string): string => new URL(name, import.meta.url).href;

/** What a person may do, from the least on. */
export const ROLES = ["viewer", "operator", "admin"] as const;
export type Role = (typeof ROLES)[number];

/** Return whether a role is sufficient. Some actions cannot be undone; the server decides all the same. */
export const may = (role: Role, action: Action): boolean =>
  ROLES.indexOf(role) >= ROLES.indexOf(action.do === "discard" ? "admin" : "operator");

export class OperatorSession {
  private token: string | null = sessionStorage.getItem(STORAGE_KEY);

  get signedIn(): boolean {
    return this.token !== null;
  }

  /** Use the secret behind the `#` of the address, and remove it from there, since it is nobody else's business. */
  async fromAddress(): Promise<void> {
    const fragment = new URLSearchParams(location.hash.slice(1));
    const [code, token] = [fragment.get("code"), fragment.get("token")];
    if (code === null && token === null) return;
    history.replaceState(null, "", location.pathname);
    await (token !== null ? this.use(token) : this.signIn(code!));
  }

  /** Sign in with what was typed: a code, the whole address, or a token of the application. */
  async signIn(typed: string): Promise<void> {
    const secret = typed.trim().replace(/^.*#(code|token)=/, "");
    if (secret.split(".").length === 3) return this.use(secret);
    const { token } = (await request("POST", "sign-in", { code: secret })) as { token: string };
    this.use(token);
  }

  readonly current = (): string => {
    if (this.token === null) throw new HeadwayError("session", "nobody is signed in");
    return this.token;
  };

  /** Return what the person may do. */
  async role(): Promise<Role> {
    return ((await request("GET", "me", undefined, this.current())) as { role: Role }).role;
  }

  /** Run an action. Resolves with a sentence about what was done. */
  async act(action: Action): Promise<string> {
    return ((await request("POST", "act", action, this.current())) as { said: string }).said;
  }

  /** Sign out, here and, if it can be reached, at the server. */
  async signOut(): Promise<void> {
    const token = this.token;
    this.forget();
    if (token !== null) await request("DELETE", "session", undefined, token).catch(() => undefined);
  }

  forget(): void {
    this.token = null;
    sessionStorage.removeItem(STORAGE_KEY);
  }

  private use(token: string): void {
    this.token = token;
    sessionStorage.setItem(STORAGE_KEY, token);
  }
}

async function request(method: string, name: string, body: unknown, token?: string): Promise<unknown> {
  let answer: Response;
  try {
    answer = await fetch(endpoint(name), {
      method, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT),
      headers: { "Content-Type": "application/json", ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw new HeadwayError("offline", "the server does not answer", true, "try again once it does");
  }
  const content = (await answer.json().catch(() => null)) as { error?: { code: string; message: string; remedy: string } } | null;
  if (answer.ok) return content;
  const { code = "session", message = `the server answered ${answer.status}`, remedy = "" } = content?.error ?? {};
  throw new HeadwayError(code, message, false, remedy, answer.status);
}
