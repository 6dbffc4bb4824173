/** One tenant's desk: its own store, its lists, its panel. */
import { type HeadwayError, openStore, type Store } from "../src/index.js";
import { hum, recording } from "./audio.js";
import { callRow, faxRow, voicemailRow } from "./cards.js";
import { beforePaint, h, Keyed, text } from "../shared/dom.js";
import { type Agent, type Call, type Fax, type Mailbox, TYPES, type Voicemail } from "./models.js";
import { Panel } from "./panel.js";
import { trespass } from "./trespass.js";

/** Milliseconds between a waiting caller's questions, and between an agent's reports. */
const ASK_AGAIN = 1500;
const REPORT = 15_000;
/** Seconds after which a caller has said everything. */
const TALK = 25;
const SKILLS = ["sales", "support"];
const FINISHED = 6;

export interface Who {
  readonly tenant: string;
  readonly title: string;
  readonly user: string;
  readonly colleague: string;
  readonly other: string;
}

export class Desk {
  readonly element: HTMLElement;
  readonly calls = h("ul", { class: "rows", "aria-label": "Calls" });
  readonly faxes = h("ul", { class: "rows", "aria-label": "Faxes" });
  readonly voicemails = h("ul", { class: "rows", "aria-label": "Voicemails" });
  private readonly pill = h("span", { class: "pill", role: "status" }, "Opening");
  private readonly online = h("button", { type: "button", role: "switch", class: "switch", "aria-checked": "true", click: () => this.toggleOnline() }, "Online");
  private readonly taking = h("button", { type: "button", role: "switch", class: "switch", "aria-checked": "true", click: () => this.toggleTaking() }, "Taking calls");
  private readonly people = h("p", { class: "people" });
  private readonly number = h("input", { name: "to", inputmode: "tel", autocomplete: "off", "aria-label": "Fax number", value: "+49 30 901820", required: true });
  private readonly pages = h("select", { name: "pages", "aria-label": "Pages" }, ...[1, 3, 6, 12].map((n) => h("option", { value: `${n}`, selected: n === 3 }, n === 1 ? "1 page" : `${n} pages`)));
  private readonly skill = h("select", { name: "skill", "aria-label": "What the call is about" }, ...SKILLS.map((skill) => h("option", { value: skill }, `About ${skill}`)));
  private readonly notes = h("div", { class: "notes", role: "log", "aria-live": "polite" });
  private readonly border = h("output", { class: "verdict" });
  private readonly waiting = h("span", { class: "waiting", hidden: true });
  private readonly panel = new Panel();
  private store: Store | null = null;
  private paused = false;
  private available = true;
  private playing: { readonly id: string; readonly audio: HTMLAudioElement } | null = null;

  constructor(private readonly who: Who) {
    const call = h("form", { class: "compose", submit: (event) => { event.preventDefault(); this.placeCall(); } },
      this.skill, h("button", { type: "submit" }, "Place a call"));
    const fax = h("form", { class: "compose", submit: (event) => { event.preventDefault(); this.sendFax(); } },
      this.number, this.pages, h("button", { type: "submit" }, "Send"));
    const voicemail = h("form", { class: "compose", submit: (event) => { event.preventDefault(); this.leaveVoicemail(); } },
      h("button", { type: "submit" }, "Leave a voicemail"));
    this.element = h("section", { class: "desk", "aria-label": who.title, "data-tenant": who.tenant, tabindex: "-1" },
      h("header", {},
        h("span", { class: "badge", "aria-hidden": "true" }, who.title.slice(0, 1)),
        h("div", { class: "name" }, h("h2", {}, who.title), this.people),
        h("div", { class: "now" }, this.waiting, this.pill, this.online)),
      this.panel.element,
      h("div", { class: "columns" },
        group("Calls", this.taking, call, this.calls, "Nobody is calling. Place a call, and an agent gets it; a third one has to wait."),
        group("Faxes", "", fax, this.faxes, "No faxes yet. One that you send is dialled, and sent page by page.")),
      group("Voicemail", "", voicemail, this.voicemails, "No voicemails. Leave one to see its waveform.", "wide"),
      h("footer", {},
        h("button", { type: "button", class: "quiet", click: () => void this.trespass() }, `Try to look into ${who.other}`),
        this.border),
      this.notes);
  }

  async open(): Promise<void> {
    const { tenant, user } = this.who;
    const store = (this.store = await openStore({
      session: { url: "/session", token: () => token(tenant, user) }, types: TYPES, cache: `${tenant}/${user}`,
    }));
    Object.assign(this.element, { store }); // for whoever looks at the page with the developer tools
    const live = store.view<Call>({ type: "call", where: { state: ["queued", "active"] }, orderBy: "queued_at", descending: true });
    const over = store.view<Call>({ type: "call", where: { state: ["ended", "missed"] }, orderBy: "over_at", descending: true, limit: FINISHED });
    const moving = store.view<Fax>({ type: "fax", where: { state: ["queued", "rendering", "dialing", "sending"] }, descending: true });
    const done = store.view<Fax>({ type: "fax", where: { state: ["sent", "failed"] }, orderBy: "at", descending: true, limit: FINISHED });
    const heard = store.view<Mailbox>({ type: "mailbox" });
    const recordings = store.view<Voicemail>({ type: "voicemail", orderBy: "at", descending: true, limit: FINISHED });
    const agents = store.view<Agent>({ type: "agent" });
    const calls = new Keyed(this.calls, callRow((item) => this.hangUp(item.id, item.value)), (item) => item.id);
    const faxes = new Keyed(this.faxes, faxRow, (item) => item.id);
    const voicemails = new Keyed(this.voicemails, voicemailRow((item) => void this.play(item.value), (item) => this.remove(item.value)), (item) => item.item.id);
    const render = beforePaint(() => {
      const { current } = live.get();
      this.element.classList.toggle("stored", !current);
      calls.show([...live.get().items, ...over.get().items]);
      faxes.show([...moving.get().items, ...done.get().items]);
      const unheard = new Set(heard.get().items.flatMap(({ value }) => value.entries.filter((e) => !e.heard).map((e) => e.message)));
      voicemails.show(recordings.get().items.map((item) => ({
        item, unheard: unheard.has(item.id), progress: this.playing?.id === item.id ? this.progress : null,
      })));
      this.showPeople(agents.get().items.map(({ value }) => value));
      this.showStatus();
    });
    for (const view of [live, over, moving, done, heard, recordings, agents]) view.subscribe(render);
    store.on("status", render);
    store.on("presence", render);
    store.on("refused", ({ entry, error }) => this.note(`${entry.service} ${entry.operation}: ${error.message}`));
    store.on("trouble", (error) => { if (!error.retryable) this.note(error.message); });
    store.on("disk", (state) => { if (state !== "on") this.note(`Objects are kept in memory alone: the disk is ${state}.`); });
    setInterval(() => { this.panel.show(store.stats()); render(); }, 1000);
    setInterval(() => this.report(), REPORT);
    store.on("status", (status) => { if (status === "current") this.report(); });
    this.panel.show(store.stats());
    render();
    addEventListener("pagehide", (event) => { if (!event.persisted) void store.close(); });
  }

  focus(): void {
    this.element.focus({ preventScroll: false });
  }

  placeCall(): void {
    const call = id("c");
    const request = { call, caller: phone(), skill: this.skill.value, language: "en" };
    const queued: Call = { ...request, state: "queued", queued_at: Date.now() / 1000 };
    void this.caller(request, queued);
  }

  sendFax(): void {
    const fax = id("f");
    const to = this.number.value;
    const pages = Number(this.pages.value);
    const request = { fax, to, from: this.who.title, text: letter(this.who.title, pages) };
    const queued: Fax = { fax, to, state: "queued", page: 0, pages: 0, dials: 0, at: Date.now() / 1000 };
    this.submit("fax", "send", request, { type: "fax", id: fax, value: queued });
    this.number.value = phone();
  }

  leaveVoicemail(): void {
    const request = { message: id("m"), mailbox: this.who.user, caller: phone(), data: hum(1.5 + Math.random() * 3) };
    this.submit("voicemail", "deposit", request);
  }

  toggleOnline(): void {
    if (this.store === null) return;
    this.paused = !this.paused;
    this.online.setAttribute("aria-checked", String(!this.paused));
    if (this.paused) void this.store.pause();
    else this.store.resume();
    this.showStatus();
  }

  private toggleTaking(): void {
    this.available = !this.available;
    this.taking.setAttribute("aria-checked", String(this.available));
    this.report();
  }

  private submit(service: string, operation: string, request: unknown, optimistic?: { type: string; id: string; value: unknown }): void {
    this.store?.submit(service, operation, request, optimistic === undefined ? {} : { optimistic }).catch(() => {}); // `refused` tells
    this.showStatus();
  }

  /** What the caller does: ask until there is an agent, talk, hang up. */
  private async caller(request: { readonly call: string }, queued: Call): Promise<void> {
    const { store } = this;
    if (store === null) return;
    try {
      let state = (await store.call<{ state: string }>("calls", "route", request, {
        key: `route-${request.call}`, optimistic: { type: "call", id: request.call, value: queued },
      })).state;
      while (state === "queued") {
        await pause(ASK_AGAIN);
        if (store.status === "closed") return;
        if (store.get<Call>("call", request.call)?.state !== "queued") break;
        state = (await store.call<{ state: string }>("calls", "route", request).catch(() => ({ state }))).state;
      }
      await pause(TALK * 1000 * (0.5 + Math.random()));
      const call = store.get<Call>("call", request.call);
      if (call?.state === "active") await store.call("calls", "hangup", { call: request.call, by: "caller" }, { key: `over-${request.call}` });
    } catch (error) {
      if ((error as HeadwayError).code !== "closed") this.note((error as Error).message);
    }
  }

  private hangUp(call: string, value: Call): void {
    const over: Call = { ...value, state: value.state === "active" ? "ended" : "missed", over_at: Date.now() / 1000, reason: "caller_hung_up" };
    const by = value.state === "active" ? "agent" : "caller";
    this.store?.call("calls", "hangup", { call, by }, { key: `end-${call}`, optimistic: { type: "call", id: call, value: over } }).catch(() => {});
  }

  private async play(voicemail: Voicemail): Promise<void> {
    const { store } = this;
    if (store === null) return;
    const { playing } = this;
    playing?.audio.pause();
    this.playing = null;
    if (playing?.id === voicemail.message) return;
    try {
      const audio = await recording(store, voicemail);
      this.playing = { id: voicemail.message, audio };
      const box = store.get<Mailbox>("mailbox", voicemail.mailbox);
      if (box?.entries.some((e) => e.message === voicemail.message && !e.heard)) {
        const entries = box.entries.map((e) => (e.message === voicemail.message ? { ...e, heard: true } : e));
        const optimistic = { type: "mailbox", id: box.mailbox, value: { ...box, entries, unheard: box.unheard - 1 } };
        store.call("voicemail", "mark-heard", { mailbox: box.mailbox, message: voicemail.message }, { key: id("h"), optimistic }).catch(() => {});
      }
      await audio.play();
      audio.addEventListener("ended", () => {
        URL.revokeObjectURL(audio.src);
        if (this.playing?.audio === audio) this.playing = null;
      });
    } catch (error) {
      this.playing = null;
      this.note((error as HeadwayError).code === "offline" ? "A recording is fetched when it is played: not while offline." : (error as Error).message);
    }
  }

  private get progress(): number {
    const audio = this.playing?.audio;
    return audio && audio.duration > 0 ? audio.currentTime / audio.duration : 0;
  }

  private remove({ mailbox, message }: Voicemail): void {
    this.store?.call("voicemail", "delete", { mailbox, message }, { key: id("d"), optimistic: { type: "voicemail", id: message } }).catch(() => {});
  }

  /** The agents of this desk report in, as their own programs would. */
  private report(): void {
    const { store, who } = this;
    if (store?.current !== true) return;
    for (const agent of [who.user, who.colleague]) {
      const presence = agent === who.user && !this.available ? "away" : "available";
      store.call("calls", "agent-status", { agent, presence, skills: SKILLS, languages: ["en"] }).catch(() => {});
    }
  }

  private async trespass(): Promise<void> {
    text(this.border, "Trying, over a raw websocket …");
    this.border.className = "verdict";
    try {
      const { answer, leaked } = await trespass(await token(this.who.tenant, this.who.user), this.who.other.toLowerCase());
      text(this.border, `${leaked === 0 ? "Nothing came through." : `${leaked} messages came through!`} The server said: ${answer}`);
      this.border.classList.add(leaked === 0 ? "good" : "bad");
    } catch (error) {
      text(this.border, `Could not try: ${(error as Error).message}`);
    }
  }

  private showPeople(agents: readonly Agent[]): void {
    const now = Date.now() / 1000;
    const names = agents.filter((a) => a.presence === "available" && a.present_until > now).map((a) => (a.call ? `${a.agent} (on a call)` : a.agent));
    const watching = this.store?.presence.online.length ?? 0;
    const seen = watching > 0 ? ` · ${watching} online` : "";
    text(this.people, names.length === 0 ? `signed in as ${this.who.user}${seen}` : `agents: ${names.join(", ")}${seen}`);
  }

  private showStatus(): void {
    const { store } = this;
    if (store === null) return;
    const { status } = store;
    const words = { current: "Up to date", syncing: "Catching up", stored: this.paused ? "Offline" : "Connecting", closed: "Closed" };
    text(this.pill, words[status]);
    this.pill.dataset["status"] = this.paused ? "offline" : status;
    const count = store.pending.length;
    this.waiting.hidden = count === 0;
    text(this.waiting, `${count} waiting`);
  }

  private note(words: string): void {
    const note = h("p", {}, words);
    this.notes.append(note);
    setTimeout(() => note.remove(), 8000);
  }
}

function group(title: string, aside: HTMLElement | "", form: HTMLElement, list: HTMLElement, empty: string, extra = ""): HTMLElement {
  return h("section", { class: `group ${extra}` },
    h("div", { class: "head" }, h("h3", {}, title), aside), form, list, h("p", { class: "empty" }, empty));
}

/** The application's own token. A real application has one already; the development issuer gives it to anybody. */
async function token(tenant: string, user: string): Promise<string> {
  const asked = await fetch("/dev/token", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ tenant, user }),
  });
  if (!asked.ok) throw new Error("This page needs the development issuer: start client sync with --dev-issuer.");
  return ((await asked.json()) as { token: string }).token;
}

/** Ids that sort by time. */
const id = (kind: string): string => `${kind}-${Date.now().toString(36)}${Math.floor(Math.random() * 1296).toString(36).padStart(2, "0")}`;
const phone = (): string => `+49 30 ${Math.floor(1e5 + Math.random() * 9e5)}`;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A letter that fills some pages. */
function letter(from: string, pages: number): string {
  const lines = [`Dear customer of ${from},`, ""];
  const words = "we write to you because a line of text has to stand on this page so that it looks like a letter".split(" ");
  for (let n = 0; lines.length < pages * 46 - 6; n++) {
    lines.push(n % 9 === 8 ? "" : [...words.slice(n % 7), ...words].slice(0, 11).join(" "));
  }
  return lines.join("\n");
}
