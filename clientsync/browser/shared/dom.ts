/** As much of a framework as the page needs: elements, and lists that keep the elements of what stays. */

type Props = Readonly<Record<string, string | boolean | ((event: Event) => void)>>;

/** Make an element. Functions are listeners, `true` and `false` are attributes that are there or not. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K, props: Props = {}, ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** Make an SVG element. */
export function svg(tag: string, attributes: Readonly<Record<string, string>>, ...children: Node[]): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Set a text, if it is another one: what does not change keeps its selection. */
export function text(element: Element, content: string): void {
  if (element.textContent !== content) element.textContent = content;
}

export interface Shown<T> {
  readonly element: HTMLElement;
  update(item: T): void;
}

/** Show items in a list: an element for each, made once, moved where it belongs, removed with its item. */
export class Keyed<T> {
  private readonly shown = new Map<string, Shown<T>>();

  constructor(
    private readonly list: HTMLElement,
    private readonly make: (item: T) => Shown<T>,
    private readonly key: (item: T) => string,
  ) {}

  show(items: readonly T[]): void {
    const gone = new Set(this.shown.keys());
    let place = this.list.firstElementChild;
    for (const item of items) {
      const key = this.key(item);
      gone.delete(key);
      let shown = this.shown.get(key);
      if (shown === undefined) this.shown.set(key, (shown = this.make(item)));
      shown.update(item);
      if (shown.element === place) place = place.nextElementSibling;
      else this.list.insertBefore(shown.element, place);
    }
    for (const key of gone) {
      this.shown.get(key)!.element.remove();
      this.shown.delete(key);
    }
  }
}

/** Do something once before the next paint, however often it is asked for. */
export function beforePaint(work: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}

/** Minutes and seconds. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** How long ago. */
export function ago(unix: number): string {
  const seconds = Math.max(0, Date.now() / 1000 - unix);
  if (seconds < 10) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(unix * 1000).toLocaleDateString();
}

export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
