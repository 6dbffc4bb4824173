/** Dead letters: why they were given up, what was in them, and buttons that replay or discard them. */
import { h, type ItemElement, KeyedList, text } from "../shared/dom.js";
import type { Item, Store, View } from "../src/index.js";
import type { ActionRunner } from "./actions.js";
import { count, plural, time } from "./format.js";
import type { DeadLetter, Installation } from "./models.js";

/** Dead letters that the server takes in one request. */
const MOST = 300;
const CAUSES: Readonly<Record<string, string>> = {
  error: "failed too often", rejected: "rejected by its handler", invalid_input: "invalid input", unknown_operation: "no handler for it",
  worker_lost: "killed its workers", not_served: "no version accepted it",
  blocked_loop: "blocked its workers",
};

export class DeadLettersPage {
  readonly title = "Dead letters";
  readonly element: HTMLElement;
  readonly views: readonly View<never>[];
  private readonly letters: View<DeadLetter>;
  private readonly installation: View<Installation>;
  private readonly summary = h("p", { class: "summary", role: "status" });
  private readonly service = h("select", { "aria-label": "Service", change: () => this.show() });
  private readonly cause = h("select", { "aria-label": "Cause", change: () => this.show() });
  private readonly filter = h("input", { type: "search", placeholder: "Tenant, operation, reason, payload", "aria-label": "Search in dead letters", autocomplete: "off", input: () => this.show() });
  private readonly list = h("ul", { class: "letters", mouseleave: () => this.show(), focusout: () => setTimeout(() => this.show()) });
  private readonly rows: KeyedList<Item<DeadLetter>>;
  private readonly empty = h("p", { class: "empty" });
  private readonly replay: HTMLButtonElement;
  private readonly discard: HTMLButtonElement;
  private readonly more = h("span", { class: "note more", role: "status" });
  private shown: readonly Item<DeadLetter>[] = [];
  /** The letters that there were when the list was last not in use. */
  private seen: ReadonlySet<string> = new Set();

  constructor(store: Store, runner: ActionRunner, private readonly wantedService: string) {
    this.letters = store.view<DeadLetter>({ type: "dead", orderBy: "seq", descending: true });
    this.installation = store.view<Installation>({ type: "installation" });
    this.views = [this.letters, this.installation] as unknown as View<never>[];
    this.rows = new KeyedList(this.list, (item) => letterElement(runner, item), ({ id }) => id);
    const seqs = (): number[] => this.shown.slice(0, MOST).map(({ value }) => value.seq);
    this.replay = runner.button("Replay all shown", () => ({ action: { do: "replay", seqs: seqs() }, confirm: {
      title: `Replay ${plural(seqs().length, "dead letter")}?`, yes: "Replay",
      text: "Each goes back into its queue, for the version that serves now, and is deleted here once it is stored there.",
    } }), "plain");
    this.discard = runner.button("Discard all shown", () => ({ action: { do: "discard", seqs: seqs() }, confirm: {
      title: `Discard ${plural(seqs().length, "dead letter")} for good?`, yes: "Discard", text: "Their content will be lost.",
    } }), "plain destructive");
    this.element = h("section", { class: "dead" },
      h("div", { class: "tools" }, this.filter, this.service, this.cause, h("span", { class: "spacer" }), this.replay, this.discard),
      h("div", { class: "line heading" }, this.summary, h("span", { class: "spacer" }), this.more), this.list, this.empty);
  }

  /** Focus the search field. */
  search(): void {
    this.filter.focus();
  }

  show(): void {
    const all = this.letters.get().items;
    setOptions(this.service, "All services", new Set([...all.map(({ value }) => value.service), ...(this.wantedService ? [this.wantedService] : [])]), this.wantedService);
    setOptions(this.cause, "All causes", new Set(all.map(({ value }) => value.cause)), "", (cause) => CAUSES[cause] ?? cause);
    const words = this.filter.value.trim().toLowerCase();
    const items = all.filter(({ value }) =>
      (this.service.value === "" || value.service === this.service.value) && (this.cause.value === "" || value.cause === this.cause.value) &&
      (words === "" || [value.tenant, value.operation, value.reason, value.preview].some((field) => field.toLowerCase().includes(words))));
    this.hold(items);
    this.rows.show(this.shown);
    const held = items.length - this.shown.length;
    text(this.more, held === 0 ? "" : `${plural(held, "new dead letter")}, shown when you leave the list`);
    const total = Math.max(all.length, this.installation.get().items[0]?.value.dead ?? 0);
    const some = items.length < all.length ? `${count(items.length)} of them match. ` : "";
    const beyond = total > all.length ? `The newest ${count(all.length)} are here; \`headway dead\` reaches all of them.` : "";
    text(this.summary, total === 0 ? "" : `${plural(total, "dead letter")}. ${some}${beyond}`);
    text(this.empty, total === 0 ? "No dead letters. Work that cannot be done comes here, with its cause." : "None of them matches.");
    this.empty.hidden = items.length > 0;
    this.replay.disabled = this.discard.disabled = this.shown.length === 0;
  }

  /** Hold new letters back while the list is in use: they would move its buttons under the pointer. */
  private hold(items: readonly Item<DeadLetter>[]): void {
    const inUse = this.list.matches(":hover") || this.list.contains(document.activeElement);
    if (!inUse) this.seen = new Set(this.letters.get().items.map(({ id }) => id));
    this.shown = items.filter(({ id }) => this.seen.has(id));
  }
}

/** Set the choices of a select, only if they differ, so that an open one stays open. */
function setOptions(select: HTMLSelectElement, all: string, values: ReadonlySet<string>, first: string, label = (value: string): string => value): void {
  const choices = ["", ...[...values].sort()];
  if (choices.join("\n") === [...select.options].map(({ value }) => value).join("\n")) return;
  const chosen = select.options.length === 0 ? first : select.value;
  select.replaceChildren(...choices.map((value) => h("option", { value }, value === "" ? all : label(value))));
  select.value = choices.includes(chosen) ? chosen : "";
}

function letterElement(runner: ActionRunner, { value: letter }: Item<DeadLetter>): ItemElement<Item<DeadLetter>> {
  const name = `dead letter ${letter.seq}`;
  const replay = runner.button("Replay", () => ({ action: { do: "replay", seqs: [letter.seq] } }));
  const discard = runner.button("Discard", () => ({ action: { do: "discard", seqs: [letter.seq] }, confirm: {
    title: `Discard ${name} for good?`, yes: "Discard", text: `${letter.service}/${letter.operation} of ${letter.tenant}. Its content will be lost.`,
  } }), "small destructive");
  replay.setAttribute("aria-label", `Replay ${name}`);
  discard.setAttribute("aria-label", `Discard ${name}`);
  const size = letter.size === null ? "in a blob" : letter.size === 0 ? "empty" : plural(letter.size, "byte");
  const ellipsis = letter.size !== null && letter.preview.length < letter.size ? "…" : "";
  const fault = letter.traceback ? `fault ${letter.traceback}; letters with the same code have the same fault` : "no traceback";
  const element = h("li", { class: "card letter" },
    h("div", { class: "line" }, h("strong", {}, `${letter.service}/${letter.operation}`), h("span", { class: "tag", "data-tone": "bad" }, CAUSES[letter.cause] ?? letter.cause),
      h("span", { class: "facts" }, `${letter.tenant}, ${plural(letter.attempts, "attempt")}, ${time(letter.at)}`), h("span", { class: "spacer" }), replay, discard),
    h("p", {}, letter.reason),
    h("details", {}, h("summary", {}, `Payload, ${size}`), h("pre", { tabindex: "0" }, letter.preview === "" ? "(empty)" : formatted(letter.preview, ellipsis)),
      h("p", { class: "note" }, `Number ${letter.seq}; ${fault}`)));
  return { element, update: () => {} };
}

function formatted(preview: string, ellipsis: string): string {
  try {
    return JSON.stringify(JSON.parse(preview), null, 2);
  } catch {
    return preview + ellipsis;
  }
}
