/** Dead letters: why they were given up, what was in them, and replaying or discarding them. */
import { h, Keyed, type Shown, text } from "../shared/dom.js";
import type { Item, Store, View } from "../src/index.js";
import type { Doer } from "./dialog.js";
import type { Dead, Installation } from "./models.js";
import { count, many, time } from "./words.js";

/** What the server takes in one request. */
const MOST = 300;
const CAUSES: Readonly<Record<string, string>> = {
  error: "failed too often", rejected: "refused by its handler", invalid_input: "not valid", unknown_operation: "no handler for it",
  worker_lost: "killed its workers",
};

export class DeadPage {
  readonly title = "Dead letters";
  readonly element: HTMLElement;
  readonly views: readonly View<never>[];
  private readonly letters: View<Dead>;
  private readonly installation: View<Installation>;
  private readonly summary = h("p", { class: "summary", role: "status" });
  private readonly service = h("select", { "aria-label": "Service", change: () => this.show() });
  private readonly cause = h("select", { "aria-label": "Cause", change: () => this.show() });
  private readonly filter = h("input", { type: "search", placeholder: "Tenant, operation, reason, payload", "aria-label": "Search in dead letters", autocomplete: "off", input: () => this.show() });
  private readonly list = h("ul", { class: "letters" });
  private readonly rows: Keyed<Item<Dead>>;
  private readonly empty = h("p", { class: "empty" });
  private readonly replay: HTMLButtonElement;
  private readonly discard: HTMLButtonElement;
  private chosen: number[] = [];

  constructor(store: Store, doer: Doer, private readonly wanted: string) {
    this.letters = store.view<Dead>({ type: "dead", orderBy: "seq", descending: true });
    this.installation = store.view<Installation>({ type: "installation" });
    this.views = [this.letters, this.installation] as unknown as View<never>[];
    this.rows = new Keyed(this.list, (item) => letter(doer, item), ({ id }) => id);
    this.replay = doer.button("Replay all shown", () => ({ action: { do: "replay", seqs: this.chosen }, ask: {
      title: `Replay ${many(this.chosen.length, "dead letter")}?`, yes: "Replay",
      text: "Each goes back into its queue, to whichever version serves now, and is deleted here once it is stored there.",
    } }), "plain");
    this.discard = doer.button("Discard all shown", () => ({ action: { do: "discard", seqs: this.chosen }, ask: {
      title: `Discard ${many(this.chosen.length, "dead letter")} for good?`, yes: "Discard", text: "What was in them is lost.",
    } }), "plain risky");
    this.element = h("section", { class: "dead" },
      h("div", { class: "tools" }, this.filter, this.service, this.cause, h("span", { class: "spring" }), this.replay, this.discard),
      this.summary, this.list, this.empty);
  }

  /** Put the cursor where one searches. */
  search(): void {
    this.filter.focus();
  }

  show(): void {
    const all = this.letters.get().items;
    options(this.service, "All services", new Set([...all.map(({ value }) => value.service), ...(this.wanted ? [this.wanted] : [])]), this.wanted);
    options(this.cause, "All causes", new Set(all.map(({ value }) => value.cause)), "", (cause) => CAUSES[cause] ?? cause);
    const words = this.filter.value.trim().toLowerCase();
    const items = all.filter(({ value }) =>
      (this.service.value === "" || value.service === this.service.value) && (this.cause.value === "" || value.cause === this.cause.value) &&
      (words === "" || [value.tenant, value.operation, value.reason, value.preview].some((field) => field.toLowerCase().includes(words))));
    this.rows.show(items);
    this.chosen = items.slice(0, MOST).map(({ value }) => value.seq);
    const total = Math.max(all.length, this.installation.get().items[0]?.value.dead ?? 0);
    const some = items.length < all.length ? `${count(items.length)} of them are shown. ` : "";
    const beyond = total > all.length ? `The last ${count(all.length)} are here; \`headway dead\` reaches all.` : "";
    text(this.summary, total === 0 ? "" : `${many(total, "dead letter")}. ${some}${beyond}`);
    text(this.empty, total === 0 ? "Nothing was given up. Work that cannot be done comes here, with its cause." : "None is like that.");
    this.empty.hidden = items.length > 0;
    this.replay.disabled = this.discard.disabled = items.length === 0;
  }
}

/** The choices of a select, changed only where they differ, so that an open one stays open. */
function options(select: HTMLSelectElement, all: string, values: ReadonlySet<string>, first: string, said = (value: string): string => value): void {
  const wanted = ["", ...[...values].sort()];
  if (wanted.join("\n") === [...select.options].map(({ value }) => value).join("\n")) return;
  const chosen = select.options.length === 0 ? first : select.value;
  select.replaceChildren(...wanted.map((value) => h("option", { value }, value === "" ? all : said(value))));
  select.value = wanted.includes(chosen) ? chosen : "";
}

function letter(doer: Doer, { value: of }: Item<Dead>): Shown<Item<Dead>> {
  const name = `dead letter ${of.seq}`;
  const replay = doer.button("Replay", () => ({ action: { do: "replay", seqs: [of.seq] } }));
  const discard = doer.button("Discard", () => ({ action: { do: "discard", seqs: [of.seq] }, ask: {
    title: `Discard ${name} for good?`, yes: "Discard", text: `${of.service}/${of.operation} of ${of.tenant}. What was in it is lost.`,
  } }), "small risky");
  replay.setAttribute("aria-label", `Replay ${name}`);
  discard.setAttribute("aria-label", `Discard ${name}`);
  const size = of.size === null ? "in a blob" : of.size === 0 ? "empty" : `${count(of.size)} bytes`;
  const more = of.size !== null && of.preview.length < of.size ? "…" : "";
  const element = h("li", { class: "card letter" },
    h("div", { class: "line" }, h("strong", {}, `${of.service}/${of.operation}`), h("span", { class: "tag", "data-mood": "bad" }, CAUSES[of.cause] ?? of.cause),
      h("span", { class: "facts" }, `${of.tenant}, ${many(of.attempts, "attempt")}, ${time(of.at)}`), h("span", { class: "spring" }), replay, discard),
    h("p", {}, of.reason),
    h("details", {}, h("summary", {}, `Payload, ${size}`), h("pre", { tabindex: "0" }, of.preview === "" ? "(nothing to show)" : pretty(of.preview, more)),
      h("p", { class: "note" }, `Number ${of.seq}; ${of.traceback ? `fault ${of.traceback}: equal ones are the same fault` : "no traceback"}`)));
  return { element, update: () => {} };
}

function pretty(preview: string, more: string): string {
  try {
    return JSON.stringify(JSON.parse(preview), null, 2);
  } catch {
    return preview + more;
  }
}
