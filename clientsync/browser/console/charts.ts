/** Lines, bars and ranges, as SVG or plain elements. Each has a label that says what it shows. */
import { h, svg, text } from "../shared/dom.js";
import { milliseconds } from "./format.js";
import type { Evidence, P95, Series, Version } from "./models.js";

const HEIGHT = 32;

/** A line of the last minutes, with a gap where nothing was measured. */
export class Sparkline {
  readonly element: SVGElement;
  private readonly area = svg("path", { class: "area" });
  private readonly line = svg("path", { class: "line", fill: "none" });
  private shown: Series = [];

  constructor(private readonly points: number, private readonly label: string) {
    const base = svg("path", { class: "base", d: `M0 ${HEIGHT - 1}H${points - 1}` });
    this.element = svg("svg", { class: "spark", viewBox: `0 0 ${points - 1} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, base, this.area, this.line);
  }

  show(line: Series, format: (value: number) => string): void {
    if (line === this.shown) return;
    this.shown = line;
    const known = line.filter((value): value is number => value !== null);
    const most = Math.max(...known, 0);
    this.element.setAttribute("aria-label", known.length === 0 ? `${this.label}: nothing measured` : `${this.label}: now ${format(known.at(-1)!)}, at most ${format(most)}`);
    const start = this.points - line.length;
    const y = (value: number): string => (HEIGHT - 1.5 - (most === 0 ? 0 : (value / most) * (HEIGHT - 4))).toFixed(1);
    let path = "";
    let area = "";
    let from = -1;
    [...line, null].forEach((value, n) => {
      if (value !== null) {
        if (from < 0) from = n;
        path += `${from === n ? "M" : "L"}${start + n} ${y(value)}`;
      } else if (from >= 0) {
        const end = start + n - 1;
        if (from === n - 1) path += `h.01`;
        area += `M${start + from} ${HEIGHT}${line.slice(from, n).map((v, i) => `L${start + from + i} ${y(v!)}`).join("")}L${end} ${HEIGHT}Z`;
        from = -1;
      }
    });
    this.line.setAttribute("d", path);
    this.area.setAttribute("d", area);
  }
}

/** The split of the traffic, as a bar with a part for each version. */
export class TrafficBar {
  readonly element = h("div", { class: "weights", role: "img" });

  show(versions: readonly Version[]): void {
    const weighted = versions.filter(({ weight }) => weight !== null && weight > 0);
    while (this.element.childElementCount > weighted.length) this.element.lastElementChild!.remove();
    while (this.element.childElementCount < weighted.length) this.element.append(h("span", {}));
    weighted.forEach(({ version, weight }, n) => {
      const part = this.element.children[n] as HTMLElement;
      part.style.flexGrow = String(weight);
      part.title = `${version} ${weight}%`;
      text(part, weighted.length === 1 ? version : `${version} ${weight}%`);
    });
    this.element.classList.toggle("none", weighted.length === 0);
    this.element.classList.toggle("split", weighted.length > 1);
    this.element.setAttribute("aria-label", weighted.length === 0 ? "no traffic" : weighted.map(({ version, weight }) => `${version} ${weight}%`).join(", "));
  }
}

/** Describe the bounds of an estimate. */
export function between(low: number | null, high: number | null): string {
  const [from, to] = [low, high].map((seconds) => (seconds === null ? "" : milliseconds(seconds * 1000)));
  if (from && to) return `between ${from} and ${to}`;
  return from ? `at least ${from}` : to ? `at most ${to}` : "too few requests for bounds";
}

/** Show estimates with their bounds, on one scale. */
export function ranges(sides: readonly { readonly name: string; readonly p95: P95 }[]): HTMLElement {
  const most = Math.max(...sides.map(({ p95: { at, high } }) => high ?? at * 1.5)) * 1.08 || 1;
  const x = (seconds: number): string => `${Math.min(100, (seconds / most) * 100).toFixed(2)}%`;
  return h("div", { class: "ranges" }, ...sides.map(({ name, p95: { at, low, high } }, n) => {
    const span = h("i", { class: "span" });
    span.style.left = x(low ?? 0);
    span.style.right = high === null ? "0" : `${(100 - Number.parseFloat(x(high))).toFixed(2)}%`;
    const point = h("i", { class: "point" });
    point.style.left = x(at);
    const label = `${name}: ${milliseconds(at * 1000)}, ${between(low, high)}`;
    return h("div", { class: n === 0 ? "range canary" : "range", role: "img", "aria-label": label, title: label }, span, point);
  }));
}

/** How the evidence grew: a line between the two thresholds, shown to be as good above, shown to be worse below. */
export function evidence(points: readonly Evidence[]): HTMLElement {
  const [width, height] = [300, 72];
  const [from, to] = [points[0]!.at, points.at(-1)!.at];
  const x = (at: number): string => (((at - from) / Math.max(1, to - from)) * width).toFixed(1);
  const y = ({ shown, against }: Evidence): string => (2 + ((1 - (shown - against)) / 2) * (height - 4)).toFixed(1);
  const last = points.at(-1)!;
  const said = `evidence after ${Math.round(to)} s: ${Math.round(100 * last.shown)}% of the way to as good, ${Math.round(100 * last.against)}% of the way to worse`;
  return h("div", { class: "evidence", role: "img", "aria-label": said, title: said },
    h("span", { class: "good" }, "as good"),
    svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("path", { class: "good", d: `M0 2H${width}` }),
      svg("path", { class: "base", d: `M0 ${height / 2}H${width}` }),
      svg("path", { class: "bad", d: `M0 ${height - 2}H${width}` }),
      svg("path", { class: "line", fill: "none", d: points.map((point, n) => `${n === 0 ? "M" : "L"}${x(point.at)} ${y(point)}`).join("") })),
    h("span", { class: "bad" }, "worse"));
}
