/** One tenant's desk: a store of its own, with its lists and its panel. */
import { beforePaint, h, KeyedList, text } from "../shared/dom.js";
import { type HeadwayError, openStore, type Store } from "../src/index.js";
import { Actions, type DeskConfig, phoneNumber, SKILLS } from "./actions.js";
import { endpoint, fetchToken } from "./backend.js";
import { callRow, faxRow, voicemailRow } from "./cards.js";
import { type Agent, type Call, type Fax, type Mailbox, TYPES, type Voicemail } from "./models.js";
import { Panel } from "./panel.js";
import { recording } from "./recording.js";
import { trespass } from "./trespass.js";

/** Milliseconds between two reports of an agent. */
const REPORT = 15_000;
/** Milliseconds that a note is shown. */
const NOTE = 8000;
const FINISHED = 6;

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
  private readonly skill = h("select", { name: "skill", "aria-label": "Subject of the call" }, ...SKILLS.map((skill) => h("option", { value: skill }, `About ${skill}`)));
  private readonly notes = h("div", { class: "notes", role: "log", "aria-live": "polite" });
  private readonly verdict = h("output", { class: "verdict" });
  private readonly waiting = h("span", { class: "waiting", hidden: true });
  private readonly panel = new Panel();
  private store: Store | null = null;
  private actions: Actions | null = null;
  private paused = false;
  private available = true;
  private playing: { readonly id: string; readonly audio: HTMLAudioElement } | null = null;

  constructor(private readonly config: DeskConfig) {
    const form = (submit: () => void, ...controls: HTMLElement[]): HTMLElement =>
      h("form", { class: "compose", submit: (event) => { event.preventDefault(); submit(); } }, ...controls);
    const call = form(() => this.placeCall(), this.skill, h("button", { type: "submit" }, "Place a call"));
    const fax = form(() => this.sendFax(), this.number, this.pages, h("button", { type: "submit" }, "Send"));
    const voicemail = form(() => this.leaveVoicemail(), h("button", { type: "submit" }, "Leave a voicemail"));
    this.element = h("section", { class: "desk", "aria-label": config.title, "data-tenant": config.tenant, tabindex: "-1" },
      h("header", {},
        h("span", { class: "badge", "aria-hidden": "true" }, config.title.slice(0, 1)),
        h("div", { class: "name" }, h("h2", {}, config.title), this.people),
        h("div", { class: "now" }, this.waiting, this.pill, this.online)),
      this.panel.element,
      h("div", { class: "columns" },
        group("Calls", this.taking, call, this.calls, "No calls. Place one, and an agent takes it; with both agents busy, the third call waits."),
        group("Faxes", "", fax, this.faxes, "No faxes yet. Send one, and it is dialled and sent page by page.")),
      group("Voicemail", "", voicemail, this.voicemails, "No voicemails. Leave one to see its waveform.", "wide"),
      h("footer", {},
        h("button", { type: "button", class: "quiet", click: () => void this.trespass() }, `Try to read ${config.other}'s data`),
        this.verdict),
      this.notes);
  }

  async open(): Promise<void> {
    const { tenant, user } = this.config;
    const store = (this.store = await openStore({
      session: { url: endpoint("session"), token: () => fetchToken(tenant, user) }, types: TYPES, cache: `${tenant}/${user}`,
    }));
    const actions = (this.actions = new Actions(store, this.config, (message) => this.note(message)));
    Object.assign(this.element, { store }); // for the developer tools
    const live = store.view<Call>({ type: "call", where: { state: ["queued", "active"] }, orderBy: "queued_at", descending: true });
    const over = store.view<Call>({ type: "call", where: { state: ["ended", "missed"] }, orderBy: "over_at", descending: true, limit: FINISHED });
    const moving = store.view<Fax>({ type: "fax", where: { state: ["queued", "rendering", "dialing", "sending"] }, descending: true });
    const done = store.view<Fax>({ type: "fax", where: { state: ["sent", "failed"] }, orderBy: "at", descending: true, limit: FINISHED });
    const mailboxes = store.view<Mailbox>({ type: "mailbox" });
    const recordings = store.view<Voicemail>({ type: "voicemail", orderBy: "at", descending: true, limit: FINISHED });
    const agents = store.view<Agent>({ type: "agent" });
    const now = (): number => store.now() / 1000;
    const calls = new KeyedList(this.calls, callRow(now, (item) => actions.hangUp(item.id, item.value)), (item) => item.id);
    const faxes = new KeyedList(this.faxes, () => faxRow(now), (item) => item.id);
    const voicemails = new KeyedList(this.voicemails, voicemailRow(now, (item) => void this.play(item.value), (item) => actions.deleteVoicemail(item.value)), (item) => item.item.id);
    const render = beforePaint(() => {
      this.element.classList.toggle("stored", !live.get().current);
      calls.show([...live.get().items, ...over.get().items]);
      faxes.show([...moving.get().items, ...done.get().items]);
      const unheard = new Set(mailboxes.get().items.flatMap(({ value }) => value.entries.filter((e) => !e.heard).map((e) => e.message)));
      voicemails.show(recordings.get().items.map((item) => ({
        item, unheard: unheard.has(item.id), progress: this.playing?.id === item.id ? this.progress : null,
      })));
      this.showPeople(agents.get().items.map(({ value }) => value));
      this.showStatus();
    });
    for (const view of [live, over, moving, done, mailboxes, recordings, agents]) view.subscribe(render);
    store.on("status", render);
    store.on("presence", render);
    store.on("refused", ({ entry, error }) => this.note(`${entry.service} ${entry.operation}: ${error.message}`));
    store.on("trouble", (error) => { if (!error.retryable) this.note(error.message); });
    store.on("disk", (state) => { if (state !== "on") this.note(`Objects are kept in memory alone: the disk is ${state}.`); });
    const report = (): void => actions.reportAgents(this.available);
    setInterval(() => { this.panel.show(store.stats()); render(); }, 1000);
    setInterval(report, REPORT);
    store.on("status", (status) => { if (status === "current") report(); });
    this.panel.show(store.stats());
    render();
    addEventListener("pagehide", (event) => { if (!event.persisted) void store.close(); });
  }

  focus(): void {
    this.element.focus({ preventScroll: false });
  }

  placeCall(): void {
    void this.actions?.placeCall(this.skill.value);
  }

  sendFax(): void {
    this.actions?.sendFax(this.number.value, Number(this.pages.value));
    this.number.value = phoneNumber();
    this.showStatus();
  }

  leaveVoicemail(): void {
    this.actions?.leaveVoicemail();
    this.showStatus();
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
    this.actions?.reportAgents(this.available);
  }

  private async play(voicemail: Voicemail): Promise<void> {
    const { store, playing } = this;
    if (store === null) return;
    playing?.audio.pause();
    this.playing = null;
    if (playing?.id === voicemail.message) return;
    try {
      const audio = await recording(store, voicemail);
      this.playing = { id: voicemail.message, audio };
      this.actions?.markHeard(voicemail);
      await audio.play();
      audio.addEventListener("ended", () => {
        URL.revokeObjectURL(audio.src);
        if (this.playing?.audio === audio) this.playing = null;
      });
    } catch (error) {
      this.playing = null;
      this.note((error as HeadwayError).code === "offline" ? "Recordings are fetched when they are played, which needs a connection." : (error as Error).message);
    }
  }

  private get progress(): number {
    const audio = this.playing?.audio;
    return audio && audio.duration > 0 ? audio.currentTime / audio.duration : 0;
  }

  private async trespass(): Promise<void> {
    const { tenant, user, other } = this.config;
    text(this.verdict, "Trying, over a raw websocket …");
    this.verdict.className = "verdict";
    try {
      const { answer, leaked } = await trespass(endpoint("session"), await fetchToken(tenant, user), other.toLowerCase());
      const result = leaked === 0 ? "Nothing came through." : `${leaked === 1 ? "1 message" : `${leaked} messages`} came through!`;
      text(this.verdict, `${result} The server said: ${answer}`);
      this.verdict.classList.add(leaked === 0 ? "good" : "bad");
    } catch (error) {
      text(this.verdict, `The attempt failed: ${(error as Error).message}`);
    }
  }

  private showPeople(agents: readonly Agent[]): void {
    const now = (this.store?.now() ?? Date.now()) / 1000;
    const names = agents.filter((a) => a.presence === "available" && a.present_until > now).map((a) => (a.call ? `${a.agent} (on a call)` : a.agent));
    const online = this.store?.presence.online.length ?? 0;
    const suffix = online > 0 ? ` · ${online} online` : "";
    text(this.people, names.length === 0 ? `signed in as ${this.config.user}${suffix}` : `agents: ${names.join(", ")}${suffix}`);
  }

  private showStatus(): void {
    const { store } = this;
    if (store === null) return;
    const { status } = store;
    const labels = { current: "Up to date", syncing: "Catching up", stored: this.paused ? "Offline" : "Connecting", closed: "Closed" };
    text(this.pill, labels[status]);
    this.pill.dataset["status"] = this.paused ? "offline" : status;
    const count = store.pending.length;
    this.waiting.hidden = count === 0;
    text(this.waiting, `${count} waiting`);
  }

  private note(message: string): void {
    const note = h("p", {}, message);
    this.notes.append(note);
    setTimeout(() => note.remove(), NOTE);
  }
}

function group(title: string, aside: HTMLElement | "", form: HTMLElement, list: HTMLElement, empty: string, extra = ""): HTMLElement {
  return h("section", { class: `group ${extra}` },
    h("div", { class: "head" }, h("h3", {}, title), aside), form, list, h("p", { class: "empty" }, empty));
}
