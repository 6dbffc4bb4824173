/** What people do at a desk: the calls and jobs that they send, with how the objects look until the server has answered. */
import type { HeadwayError, Optimistic, Store } from "../src/index.js";
import type { Call, Fax, Mailbox, Voicemail } from "./models.js";
import { hum } from "./recording.js";

/** Milliseconds between two attempts to route a waiting call. */
const REROUTE = 1500;
/** Seconds of a call, on average. */
const CALL_LENGTH = 25;
export const SKILLS = ["sales", "support"];

export interface DeskConfig {
  readonly tenant: string;
  readonly title: string;
  readonly user: string;
  readonly colleague: string;
  readonly other: string;
}

export class Actions {
  constructor(
    private readonly store: Store,
    private readonly config: DeskConfig,
    private readonly note: (message: string) => void,
  ) {}

  /** Do what a caller does: wait for an agent, talk, hang up. */
  async placeCall(skill: string): Promise<void> {
    const { store } = this;
    const call = newId("c");
    const request = { call, caller: phoneNumber(), skill, language: "en" };
    const value: Call = { ...request, state: "queued", queued_at: this.now() };
    try {
      let { state } = await store.call<{ state: string }>("calls", "route", request, {
        key: `route-${call}`, optimistic: { type: "call", id: call, value },
      });
      while (state === "queued") {
        await pause(REROUTE);
        if (store.status === "closed") return;
        if (store.get<Call>("call", call)?.state !== "queued") break;
        ({ state } = await store.call<{ state: string }>("calls", "route", request).catch(() => ({ state })));
      }
      await pause(CALL_LENGTH * 1000 * (0.5 + Math.random()));
      if (store.get<Call>("call", call)?.state === "active") await store.call("calls", "hangup", { call, by: "caller" }, { key: `over-${call}` });
    } catch (error) {
      if ((error as HeadwayError).code !== "closed") this.note((error as Error).message);
    }
  }

  hangUp(call: string, value: Call): void {
    const active = value.state === "active";
    const ended: Call = { ...value, state: active ? "ended" : "missed", over_at: this.now(), reason: "caller_hung_up" };
    this.call("calls", "hangup", { call, by: active ? "agent" : "caller" }, `end-${call}`, { type: "call", id: call, value: ended });
  }

  sendFax(to: string, pages: number): void {
    const fax = newId("f");
    const { title } = this.config;
    const value: Fax = { fax, to, state: "queued", page: 0, pages: 0, dials: 0, at: this.now() };
    this.submit("fax", "send", { fax, to, from: title, text: letter(title, pages) }, { type: "fax", id: fax, value });
  }

  leaveVoicemail(): void {
    const request = { message: newId("m"), mailbox: this.config.user, caller: phoneNumber(), data: hum(1.5 + Math.random() * 3) };
    this.submit("voicemail", "deposit", request);
  }

  markHeard({ message, mailbox }: Voicemail): void {
    const box = this.store.get<Mailbox>("mailbox", mailbox);
    if (!box?.entries.some((entry) => entry.message === message && !entry.heard)) return;
    const entries = box.entries.map((entry) => (entry.message === message ? { ...entry, heard: true } : entry));
    this.call("voicemail", "mark-heard", { mailbox, message }, newId("h"), { type: "mailbox", id: mailbox, value: { ...box, entries, unheard: box.unheard - 1 } });
  }

  deleteVoicemail({ mailbox, message }: Voicemail): void {
    this.call("voicemail", "delete", { mailbox, message }, newId("d"), { type: "voicemail", id: message });
  }

  /** Report the agents of this desk as present, as their own programs would. */
  reportAgents(available: boolean): void {
    if (!this.store.current) return;
    for (const agent of [this.config.user, this.config.colleague]) {
      const presence = agent === this.config.user && !available ? "away" : "available";
      this.store.call("calls", "agent-status", { agent, presence, skills: SKILLS, languages: ["en"] }).catch(() => {});
    }
  }

  /** These operations say what to do, not how the object is to be: whatever changed meanwhile, they are done. */
  private call(service: string, operation: string, request: unknown, key: string, optimistic: Optimistic): void {
    this.store.call(service, operation, request, { key, optimistic, onConflict: "mine" }).catch(() => {}); // `refused` tells
  }

  private submit(service: string, operation: string, request: unknown, optimistic?: Optimistic): void {
    this.store.submit(service, operation, request, optimistic === undefined ? {} : { optimistic }).catch(() => {});
  }

  private now(): number {
    return this.store.now() / 1000;
  }
}

/** Return an id. Ids sort by time. */
const newId = (prefix: string): string => `${prefix}-${Date.now().toString(36)}${Math.floor(Math.random() * 1296).toString(36).padStart(2, "0")}`;
export const phoneNumber = (): string => `+49 30 ${Math.floor(1e5 + Math.random() * 9e5)}`;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Return a letter that fills some pages. */
function letter(from: string, pages: number): string {
  const lines = [`Dear customer of ${from},`, ""];
  const words = "we write to you because a line of text has to stand on this page so that it looks like a letter".split(" ");
  for (let n = 0; lines.length < pages * 46 - 6; n++) {
    lines.push(n % 9 === 8 ? "" : [...words.slice(n % 7), ...words].slice(0, 11).join(" "));
  }
  return lines.join("\n");
}
