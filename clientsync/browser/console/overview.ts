/** The overview: one row for each service. */
import { h, type ItemElement, KeyedList, text } from "../shared/dom.js";
import type { Item, Store, View } from "../src/index.js";
import { Activity } from "./activity.js";
import { Sparkline, TrafficBar } from "./charts.js";
import { count, milliseconds, percent, plural, rate, span } from "./format.js";
import type { Service, Trend } from "./models.js";

export const POINTS = 60;
const COLUMNS = ["Service", "Versions", "Workers", "Waiting", "Per second", "95th percentile", "Failed", "Dead"];

interface ServiceRow {
  readonly item: Item<Service>;
  readonly trend: Trend | undefined;
}

export class Overview {
  readonly title = "Services";
  readonly element: HTMLElement;
  readonly views: readonly View<never>[];
  private readonly services: View<Service>;
  private readonly trends: View<Trend>;
  private readonly activity: Activity;
  private readonly headline = h("span");
  private readonly because = h("span");
  private readonly reasons = new KeyedList<Service>(this.because, reason, ({ name }) => name);
  private readonly letters = h("a", { class: "link", href: "#/dead" });
  private readonly facts = h("span");
  private readonly summary = h("p", { class: "summary", role: "status" }, this.headline, this.because, this.letters, this.facts);
  private readonly empty = h("p", { class: "empty" }, "No service runs here yet. `headway up` starts the services of headway.yaml.");
  private readonly body = h("tbody", { role: "rowgroup" });
  private readonly rows = new KeyedList<ServiceRow>(this.body, serviceRow, ({ item }) => item.id);

  constructor(store: Store) {
    this.services = store.view<Service>({ type: "service", orderBy: "name" });
    this.trends = store.view<Trend>({ type: "trend" });
    this.activity = new Activity(store);
    this.views = [this.services, this.trends, ...this.activity.views] as unknown as View<never>[];
    const head = h("tr", { role: "row" }, ...COLUMNS.map((name, n) => h("th", { scope: "col", role: "columnheader", class: n > 1 ? "number" : "" }, name)));
    this.element = h("section", { class: "overview" }, this.summary,
      h("table", { class: "card", role: "table", "aria-label": "Services" }, h("thead", { role: "rowgroup" }, head), this.body), this.empty,
      this.activity.element);
  }

  show(): void {
    const items = this.services.get().items;
    const trends = new Map(this.trends.get().items.map(({ id, value }) => [id, value]));
    this.rows.show(items.map((item) => ({ item, trend: trends.get(item.id) })));
    this.empty.hidden = items.length > 0;
    this.activity.show();
    const values = items.map(({ value }) => value);
    const unhealthy = values.filter(({ state }) => state === "down" || state === "unwell");
    const sum = (of: (service: Service) => number): number => values.reduce((total, service) => total + of(service), 0);
    const dead = sum((s) => s.dead);
    text(this.headline, values.length === 0 || unhealthy.length > 0 ? "" : "All services are healthy. ");
    this.reasons.show(unhealthy);
    text(this.letters, dead === 0 ? "" : plural(dead, "dead letter"));
    text(this.facts, values.length === 0 ? "" : `${dead === 0 ? "" : ". "}${plural(values.length, "service")}, ${plural(sum((s) => s.workers), "worker")}, ${rate(sum((s) => s.rate))} messages a second, ${count(sum((s) => s.waiting ?? 0))} waiting.`);
    this.summary.classList.toggle("bad", unhealthy.length > 0);
  }
}

/** Why a service needs attention: a part of the headline that links to the service. */
function reason(): ItemElement<Service> {
  const link = h("a", { class: "link" });
  const note = h("span");
  return {
    element: h("span", { class: "reason" }, link, note),
    update({ name, note: why }) {
      text(link, name);
      link.href = `#/service/${name}`;
      text(note, `: ${why}. `);
    },
  };
}

function serviceRow(): ItemElement<ServiceRow> {
  const name = h("a", { class: "link" });
  const note = h("span", { class: "note" });
  const weights = new TrafficBar();
  const workers = h("strong");
  const bounds = h("span", { class: "note" });
  const waiting = h("strong");
  const oldest = h("span", { class: "note" });
  const perSecond = h("strong");
  const p95 = h("strong");
  const spark = new Sparkline(POINTS, "95th percentile of the last five minutes");
  const failed = h("strong");
  const dead = h("a", { class: "link" });
  const cell = (label: string, ...inside: (Node | string)[]): HTMLElement => h("td", { role: "cell", class: "number", "data-label": label }, ...inside);
  const element = h("tr", { role: "row", click: (event) => { if (!(event.target as Element).closest("a")) name.click(); } },
    h("th", { scope: "row", role: "rowheader" }, h("div", { class: "who" }, h("span", { class: "dot", "aria-hidden": "true" }), h("span", { class: "what" }, name, note))),
    h("td", { role: "cell", class: "shares" }, weights.element),
    cell("Workers", workers, bounds), cell("Waiting", waiting, oldest), cell("Per second", perSecond),
    cell("95%", h("div", { class: "latency" }, spark.element, p95)),
    cell("Failed", failed), cell("Dead", dead));
  return {
    element,
    update({ item: { value: service }, trend }) {
      element.dataset["state"] = service.state;
      text(name, service.name);
      name.href = `#/service/${service.name}`;
      text(note, service.state === "ok" ? "" : service.note);
      weights.show(service.versions);
      text(workers, service.desired === null || service.desired === service.workers ? `${service.workers}` : `${service.workers} / ${service.desired}`);
      workers.title = service.desired === null ? "" : `${service.workers} live, ${service.desired} wanted`;
      text(bounds, service.high === 0 ? "" : service.low === service.high ? "fixed" : `${service.low}–${service.high}`);
      text(waiting, service.waiting === null ? "–" : count(service.waiting));
      text(oldest, service.waiting ? span(service.oldest_s) : "");
      text(perSecond, rate(service.rate));
      text(p95, milliseconds(service.p95_ms));
      spark.show(trend?.p95_ms ?? [], milliseconds);
      text(failed, percent(service.failed));
      failed.className = service.failed > 0 ? "bad" : "";
      text(dead, count(service.dead));
      dead.href = `#/dead/${service.name}`;
      dead.className = service.dead > 0 ? "link bad" : "link zero";
    },
  };
}
