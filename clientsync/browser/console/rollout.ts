/** A rollout: its phase, what the judge has measured, and its history. */
import { h, text } from "../shared/dom.js";
import { between, evidence, ranges } from "./charts.js";
import type { ActionRunner } from "./actions.js";
import { count, KINDS, milliseconds, percent, phase, time } from "./format.js";
import { hasEnded, type Measured, type P95, type Rollout } from "./models.js";

const BACK = new Set(["back", "take-over", "rolled-back", "refused"]);
const OUTCOMES: Readonly<Record<string, string>> = { pass: "As good as before", fail: "Worse than before", waiting: "Not decided yet" };

export class RolloutPanel {
  readonly element: HTMLElement;
  private readonly title = h("h3");
  private readonly state = h("span", { class: "tag" });
  private readonly steps = h("ol", { class: "steps", "aria-label": "Steps of the traffic" });
  private readonly note = h("p", { class: "note" });
  private readonly judged = h("div", { class: "judged" });
  private readonly events = h("ol", { class: "events", "aria-label": "What happened" });
  private readonly past = h("details", { class: "past" });
  private readonly buttons: Readonly<Record<string, HTMLButtonElement>>;
  private record: Rollout | undefined;
  private shown: Rollout | undefined;

  constructor(runner: ActionRunner, service: string) {
    const to = (): string => this.record?.before ?? "nothing";
    this.buttons = {
      promote: runner.button("Promote", () => ({ action: { do: "promote", service }, confirm: {
        title: `Promote ${service} ${this.record?.version}?`, yes: "Promote",
        text: "It goes to the next step now, without waiting for the judge.",
      } })),
      pause: runner.button("Pause", () => ({ action: { do: "pause", service } })),
      resume: runner.button("Resume", () => ({ action: { do: "resume", service } })),
      abort: runner.button("Abort", () => ({ action: { do: "abort", service }, confirm: {
        title: `Abort ${service} ${this.record?.version}?`, yes: "Abort",
        text: `All traffic and all queued jobs go back to ${to()} at once.`,
      } }), "small destructive"),
      rollback: runner.button("Roll back", () => ({ action: { do: "rollback", service }, confirm: {
        title: `Roll ${service} back to ${to()}?`, yes: "Roll back",
        text: `All traffic and all queued jobs go back to ${to()}. Its workers are kept for a while after a release; later they are started first.`,
      } }), "small destructive"),
    };
    this.element = h("section", { class: "card rollout", "aria-label": "Rollout" },
      h("header", {}, this.title, this.state, h("span", { class: "spacer" }), ...Object.values(this.buttons)),
      this.steps, this.note, this.judged, this.events, this.past);
  }

  show(record: Rollout | undefined): void {
    this.element.hidden = record === undefined;
    if (record === undefined || record === this.shown) return;
    this.record = this.shown = record;
    const ended = hasEnded(record);
    const back = record.abort !== null || BACK.has(record.phase);
    text(this.title, `Release ${record.number}: ${record.before ?? "nothing"} → ${record.version}`);
    text(this.state, record.paused && !ended ? "paused" : phase(record.phase));
    this.state.dataset["tone"] = back ? "bad" : record.phase === "done" || record.phase === "standby" ? "good" : "busy";
    const hide = (name: string, hidden: boolean): void => { this.buttons[name]!.hidden = hidden; };
    const forward = !ended && !back;
    hide("promote", !(forward && record.phase === "judge"));
    hide("pause", !(forward && !record.paused && record.phase !== "standby"));
    hide("resume", !(forward && record.paused));
    hide("abort", !forward || record.phase === "standby");
    hide("rollback", !((record.phase === "done" || (forward && record.phase === "standby")) && record.before !== null));
    this.steps.replaceChildren(...record.steps.map((weight, n) => {
      const passed = n < record.step || ["drain", "standby", "done"].includes(record.phase);
      const now = n === record.step && (record.phase === "judge" || record.phase === "shift");
      return h("li", { class: back ? "undone" : passed ? "passed" : now ? "now" : "", "aria-current": now && !back ? "step" : "false" }, `${weight}%`);
    }));
    text(this.note, record.abort !== null ? `Rolling back: ${record.abort}` : record.note);
    this.note.hidden = this.note.textContent === "" || ended;
    this.showVerdict(record);
    this.showHistory(record);
    this.past.hidden = record.past.length === 0;
    this.past.replaceChildren(h("summary", {}, "Earlier releases"), h("ol", { class: "events" }, ...[...record.past].reverse().map((one) =>
      h("li", { class: one.outcome === "done" ? "" : "bad" }, h("time", {}, time(one.began)), h("strong", {}, `${one.before ?? "–"} → ${one.version}`), h("span", {}, `${phase(one.outcome)}: ${one.reason}`)))));
  }

  private showVerdict(record: Rollout): void {
    const { verdict } = record;
    this.judged.hidden = verdict === null;
    if (verdict === null) return;
    const live = record.phase === "judge";
    this.judged.replaceChildren(
      h("div", { class: "verdict", "data-outcome": verdict.outcome },
        h("h4", {}, live ? "The judge" : "The judge's last verdict"),
        h("strong", {}, OUTCOMES[verdict.outcome] ?? verdict.outcome),
        ...verdict.reasons.map((reason) => h("p", {}, reason)),
        ...(verdict.evidence !== undefined && verdict.evidence.length > 1 ? [evidence(verdict.evidence)] : [])),
      ...(verdict.measured.length > 0 ? [numbers(verdict.measured, record)] : []));
  }

  /** Show what happened and who requested what, the newest first. */
  private showHistory(record: Rollout): void {
    const entries = [
      ...record.history.map(({ at, after, reason, measured, weight, before }) => ({
        at, bad: BACK.has(after), what: after === "judge" ? `at ${weight}%` : phase(after), detail: reason,
        // The judge's own reasons have the numbers; those of a person, or of a check, do not.
        note: before === "judge" && !reason.includes("%") ? brief(measured) : "",
      })),
      ...record.asked.map(({ at, what, by }) => ({ at, bad: false, what, detail: by === "hand" ? "requested at the command line" : `requested by ${by}`, note: "" })),
    ].reverse().sort((a, b) => b.at - a.at);
    this.events.replaceChildren(...entries.map(({ at, bad, what, detail, note }) =>
      h("li", { class: bad ? "bad" : "" }, h("time", {}, time(at)), h("strong", {}, what), h("span", {}, detail, ...(note ? [h("small", {}, note)] : [])))));
  }
}

const share = ({ tries, errors }: Measured): string => (tries === 0 ? "–" : percent((100 * errors) / tries));

const brief = (sides: readonly Measured[]): string =>
  sides.map((side) => `${side.version}: ${share(side)} of ${count(side.tries)} failed${side.p95.map(({ kind, at }) => `, 95% of ${KINDS[kind] ?? kind} within ${milliseconds(at * 1000)}`).join("")}`).join("; ");

function bounded({ at, low, high }: P95): Node {
  return h("span", {}, milliseconds(at * 1000), h("small", {}, between(low, high)));
}

/** Show canary and baseline side by side. */
function numbers(sides: readonly Measured[], { criteria }: Rollout): HTMLElement {
  const line = (name: string, of: (side: Measured) => string | Node, hint = ""): HTMLElement =>
    h("tr", { title: hint }, h("th", { scope: "row" }, name), ...sides.map((side) => h("td", { class: "number" }, of(side))));
  const kinds = [...new Set(sides.flatMap(({ p95 }) => p95.map(({ kind }) => kind)))];
  const rows = kinds.flatMap((kind) => {
    const found = sides.flatMap((side) => side.p95.filter((one) => one.kind === kind).map((p95) => ({ name: side.version, p95 })));
    return [
      line(`95% of ${KINDS[kind] ?? kind}`, (side) => {
        const one = side.p95.find((p95) => p95.kind === kind);
        return one === undefined ? "–" : bounded(one);
      }, "95th percentile; the bar shows its bounds with 95% confidence"),
      h("tr", {}, h("td", { colspan: String(sides.length + 1), class: "wide" }, ranges(found))),
    ];
  });
  return h("div", { class: "numbers" },
    h("table", {}, h("thead", {}, h("tr", {}, h("td", {}), ...sides.map(({ version }, n) => h("th", { scope: "col", class: "number" }, `${version} `, h("small", {}, n === 0 ? "new" : "old"))))),
      h("tbody", {}, line("Requests", ({ tries }) => count(tries)), line("Failed", (side) => `${count(side.errors)} (${share(side)})`),
        line("Dead letters", ({ dead }) => count(dead)), line("Shed under load", ({ shed }) => count(shed)), ...rows)),
    h("p", { class: "note" }, `Worse is more than ${percent(100 * criteria.errors)} more errors, or ${criteria.latency} times the latency, beyond chance.${criteria.margin === undefined ? "" : ` A step is passed once failures are shown to be at most ${criteria.margin.odds} times as frequent, or ${percent(100 * criteria.margin.points)} more.`}`));
}

