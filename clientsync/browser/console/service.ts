/** One service in detail: charts, rollout, versions, workers, scaling decisions. */
import { h, type ItemElement, KeyedList, text } from "../shared/dom.js";
import type { Item, Store, View } from "../src/index.js";
import type { ActionRunner } from "./actions.js";
import { Sparkline, TrafficBar } from "./charts.js";
import { count, megabytes, milliseconds, percent, plural, rate, span, time } from "./format.js";
import type { Decision, Rollout, Scaling, Service, Trend, Version, Worker } from "./models.js";
import { POINTS } from "./overview.js";
import { RolloutPanel } from "./rollout.js";

const CHARTS = ["rate", "p95_ms", "failed", "waiting"] as const;
const NAMES = { rate: "Messages a second", p95_ms: "95th percentile", failed: "Failed", waiting: "Jobs waiting" };
const FORMATS = { rate, p95_ms: milliseconds, failed: percent, waiting: count };

export class ServicePage {
  readonly title: string;
  readonly element: HTMLElement;
  readonly views: readonly View<never>[];
  private readonly service: View<Service>;
  private readonly trend: View<Trend>;
  private readonly scaling: View<Scaling>;
  private readonly rollout: View<Rollout>;
  private readonly workers: View<Worker>;
  private readonly heading = h("h2");
  private readonly note = h("p", { class: "summary", role: "status" });
  private readonly weights = new TrafficBar();
  private readonly facts = h("p", { class: "facts" });
  private readonly tiles = CHARTS.map((name) => ({ name, value: h("strong"), spark: new Sparkline(POINTS, NAMES[name]) }));
  private readonly panel: RolloutPanel;
  private readonly versions: KeyedList<Version>;
  private readonly rows: KeyedList<Item<Worker>>;
  private readonly decisions: KeyedList<Decision>;
  private readonly nobody = h("p", { class: "empty" }, "No worker runs.");
  private readonly undecided = h("p", { class: "empty" }, "The scaler has made no decision yet.");

  constructor(store: Store, runner: ActionRunner, name: string) {
    this.title = name;
    const one = <T>(type: string): View<T> => store.view<T>({ type, filter: (_, id) => id === name });
    this.service = one("service");
    this.trend = one("trend");
    this.scaling = one("scaling");
    this.rollout = one("rollout");
    this.workers = store.view<Worker>({ type: "worker", where: { service: name }, orderBy: "started" });
    this.views = [this.service, this.trend, this.scaling, this.rollout, this.workers] as unknown as View<never>[];
    this.panel = new RolloutPanel(runner, name);
    const versions = h("ul", { class: "versions" });
    const workers = h("tbody", { role: "rowgroup" });
    const decisions = h("ol", { class: "events" });
    this.versions = new KeyedList(versions, version, (item) => item.version);
    this.rows = new KeyedList(workers, () => worker(store), ({ id }) => id);
    this.decisions = new KeyedList(decisions, decision, ({ version: of, at, desired }) => `${of} ${at} ${desired}`);
    const columns = ["Worker", "State", "Calls", "Jobs", "Longest", "CPU", "Memory", "Running for"];
    const head = h("tr", { role: "row" }, ...columns.map((label, n) => h("th", { scope: "col", role: "columnheader", class: n > 1 ? "number" : "" }, label)));
    this.element = h("section", { class: "service" },
      h("header", { class: "heading" }, h("a", { class: "back", href: "#/", "aria-label": "Back to all services" }, "←"),
        h("span", { class: "dot", "aria-hidden": "true" }), this.heading, this.note, h("span", { class: "spacer" }), this.facts),
      this.weights.element,
      h("div", { class: "tiles" }, ...this.tiles.map(({ name: line, value, spark }) =>
        h("div", { class: "card tile" }, h("h3", {}, NAMES[line]), value, spark.element as unknown as HTMLElement))),
      this.panel.element,
      h("section", { class: "card" }, h("h3", {}, "Versions"), versions),
      h("section", { class: "card" }, h("h3", {}, "Workers"),
        h("table", { role: "table", "aria-label": "Workers", class: "workers" }, h("thead", { role: "rowgroup" }, head), workers), this.nobody),
      h("section", { class: "card" }, h("h3", {}, "Scaling decisions"), decisions, this.undecided));
  }

  show(): void {
    const service = this.service.get().items[0]?.value;
    text(this.heading, this.title);
    this.panel.show(this.rollout.get().items[0]?.value);
    const workers = this.workers.get().items;
    this.rows.show(workers);
    this.nobody.hidden = workers.length > 0;
    const decisions = this.scaling.get().items[0]?.value.decisions ?? [];
    this.decisions.show(decisions);
    this.undecided.hidden = decisions.length > 0;
    const trend = this.trend.get().items[0]?.value;
    for (const { name, value, spark } of this.tiles) {
      const now = service?.[name] ?? null;
      text(value, name === "p95_ms" ? milliseconds(now) : now === null ? "–" : FORMATS[name](now));
      spark.show(trend?.[name] ?? [], FORMATS[name]);
    }
    if (service === undefined) {
      text(this.note, "There is no such service.");
      return;
    }
    this.element.dataset["state"] = service.state;
    text(this.note, service.note);
    this.weights.show(service.versions);
    this.versions.show(service.versions);
    const wanted = service.desired === null || service.desired === service.workers ? "" : ` of ${service.desired} wanted`;
    const bounds = service.high === 0 ? "" : service.low === service.high ? ", fixed" : `, ${service.low} to ${service.high} allowed`;
    text(this.facts, `${plural(service.workers, "worker")}${wanted}${bounds}; ${megabytes(service.rss_mb)}`);
  }
}

function version(): ItemElement<Version> {
  const name = h("strong");
  const tag = h("span", { class: "tag" });
  const facts = h("span", { class: "facts" });
  const image = h("code");
  const trouble = h("p", { class: "bad" });
  const stderr = h("pre", { tabindex: "0", "aria-label": "Standard error of the last worker" });
  const bar = h("i");
  const element = h("li", {}, h("div", { class: "line" }, name, tag, h("span", { class: "share", "aria-hidden": "true" }, bar), facts, image), trouble, stderr);
  return {
    element,
    update(of) {
      const well = of.health === "ok" && of.unhealthy === 0;
      text(name, of.version);
      text(tag, of.health !== "ok" ? of.health : of.phase === "live" && !of.weight ? "warm" : of.phase || "serving");
      tag.dataset["tone"] = !well ? "bad" : of.weight ? "good" : "";
      bar.style.width = `${of.weight ?? 0}%`;
      const wanted = of.desired === null || of.desired === of.workers ? "" : ` of ${of.desired}`;
      const waiting = of.waiting === null ? "" : `, ${count(of.waiting)} waiting`;
      text(facts, `${of.weight ?? "?"}% of the traffic, ${wanted === "" ? plural(of.workers, "worker") : `${of.workers}${wanted} workers`}${waiting}, ${rate(of.rate)}/s, 95% within ${milliseconds(of.p95_ms)}, ${percent(of.failed)} failed${of.deaths > 0 && of.health === "ok" ? `, ${plural(of.deaths, "worker")} died recently` : ""}`);
      text(image, of.image.replace(/^sha256:/, "").slice(0, 12));
      image.title = of.image;
      const again = of.retry_at === null ? "" : `; the next one starts at ${time(of.retry_at)}`;
      text(trouble, of.health === "ok" ? "" : `${plural(of.deaths, "worker")} died within a minute, the last one with ${of.last_exit || "an unknown exit"}${again}`);
      trouble.hidden = of.health === "ok";
      text(stderr, of.stderr.join("\n"));
      stderr.hidden = of.health === "ok" || of.stderr.length === 0;
    },
  };
}

function worker(store: Store): ItemElement<Item<Worker>> {
  const id = h("strong");
  const where = h("span", { class: "note" });
  const tag = h("span", { class: "tag" });
  const note = h("span", { class: "note bad" });
  const labels = ["Calls", "Jobs", "Longest", "CPU", "Memory", "Running for"];
  const cells = labels.map((label) => h("td", { role: "cell", class: "number", "data-label": label }));
  const element = h("tr", { role: "row" }, h("th", { scope: "row", role: "rowheader" }, id, where), h("td", { role: "cell" }, tag, note), ...cells);
  return {
    element,
    update({ id: name, value: of }) {
      text(id, `${of.version} ${name.slice(-6)}`);
      id.title = name;
      text(where, `${of.host}, process ${of.pid}`);
      text(tag, of.state);
      tag.dataset["tone"] = of.note !== "" || of.state === "silent" ? "bad" : of.state === "serving" ? "good" : "busy";
      text(note, of.note);
      const busy = (now: number, most: number): string => (most === 0 ? `${now}` : `${now} of ${most}`);
      const values = [busy(of.calls, of.limit), busy(of.jobs, of.slots), of.oldest_s === 0 ? "–" : span(of.oldest_s), `${of.cpu}%`, megabytes(of.rss_mb), span(store.now() / 1000 - of.started)];
      values.forEach((value, n) => text(cells[n]!, value));
    },
  };
}

function decision(first: Decision): ItemElement<Decision> {
  const { version: of, at, before, desired, reason } = first;
  const way = desired > before ? "up" : desired < before ? "down" : "";
  const element = h("li", { class: way }, h("time", {}, time(at)), h("strong", {}, `${before} → ${desired}`), h("span", {}, `${of}: ${reason}`));
  return { element, update: () => {} };
}

