/** The panel: the store's statistics, and the bytes received in the last minute as a line. */
import type { Stats } from "../src/index.js";
import { h, size, svg, text } from "../shared/dom.js";

const SECONDS = 60;
const HEIGHT = 28;

const ROLES: Readonly<Record<Stats["role"], string>> = {
  leader: "This tab has the connection", follower: "Connected through another tab", alone: "A connection of its own", away: "No connection",
};

export class Panel {
  readonly element: HTMLElement;
  private readonly values: Readonly<Record<string, HTMLElement>>;
  private readonly line = svg("polyline", { class: "line", fill: "none" });
  private readonly area = svg("polygon", { class: "area" });
  private readonly role = h("p", { class: "role" });
  private readonly history: number[] = [];
  private before: number | null = null;

  constructor() {
    const tiles: [name: string, title: string][] = [
      ["Revision", "Sequence of the newest change in this page"],
      ["Behind", "How far the tenant's last known change is ahead"],
      ["Delay", "From a change being stored to its arrival in this page"],
      ["Round trip", "To the server and back"],
      ["Received", "Bytes over the connection that all tabs share"],
      ["Objects", "In memory and on disk"],
      ["Healed", "Lost changes that were detected and fetched"],
    ];
    this.values = Object.fromEntries(tiles.map(([name]) => [name, h("dd", {}, "–")]));
    const chart = svg("svg", { class: "chart", viewBox: `0 0 ${SECONDS} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": "Bytes received in the last minute" }, this.area, this.line);
    this.element = h("div", { class: "panel" },
      h("dl", {}, ...tiles.map(([name, title]) => h("div", { title }, h("dt", {}, name), this.values[name]!))),
      h("div", { class: "flow" }, chart as unknown as HTMLElement, this.role));
  }

  show(stats: Stats): void {
    const set = (name: string, value: string): void => text(this.values[name]!, value);
    set("Revision", String(stats.revision));
    set("Behind", String(stats.lag));
    set("Delay", stats.delay === null ? "–" : `${stats.delay} ms`);
    set("Round trip", stats.latency === null ? "–" : `${stats.latency.toFixed(1)} ms`);
    set("Received", size(stats.bytes));
    set("Objects", String(stats.objects));
    set("Healed", String(stats.gaps));
    text(this.role, ROLES[stats.role]);
    this.history.push(this.before === null ? 0 : Math.max(0, stats.bytes - this.before));
    this.before = stats.bytes;
    if (this.history.length > SECONDS) this.history.shift();
    const highest = Math.max(1000, ...this.history);
    const start = SECONDS - this.history.length;
    const points = this.history.map((bytes, n) => `${start + n},${(HEIGHT - 1 - (bytes / highest) * (HEIGHT - 3)).toFixed(1)}`);
    this.line.setAttribute("points", points.join(" "));
    this.area.setAttribute("points", `${start},${HEIGHT} ${points.join(" ")} ${SECONDS - 1},${HEIGHT}`);
  }
}
