/** The little framework that both pages need: making elements, and lists that keep the elements of what stays. */

type Props = Readonly<Record<string, string | boolean | ((event: Event) => void)>>;

/** Make an element. Functions become listeners; `true` and `false` set or remove an attribute. */
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

/** Set a text if it differs, so that a text that stays keeps its selection. */
export function text(element: Element, content: string): void {
  if (element.textContent !== content) element.textContent = content;
}

/** An element that shows an item, and can show a newer version of it. */
export interface ItemElement<T> {
  readonly element: HTMLElement;
  update(item: T): void;
}

/** A list with one element for each item: made once, moved where it belongs, removed with its item. */
export class KeyedList<T> {
  private readonly elements = new Map<string, ItemElement<T>>();

  constructor(
    private readonly list: HTMLElement,
    private readonly make: (item: T) => ItemElement<T>,
    private readonly key: (item: T) => string,
  ) {}

  show(items: readonly T[]): void {
    const gone = new Set(this.elements.keys());
    let place = this.list.firstElementChild;
    for (const item of items) {
      const key = this.key(item);
      gone.delete(key);
      let shown = this.elements.get(key);
      if (shown === undefined) this.elements.set(key, (shown = this.make(item)));
      shown.update(item);
      if (shown.element === place) place = place.nextElementSibling;
      else this.list.insertBefore(shown.element, place);
    }
    for (const key of gone) {
      this.elements.get(key)!.element.remove();
      this.elements.delete(key);
    }
  }
}

/** Return a function that does something once before the next paint, however often it is called. */
export function beforePaint(work: () => void): () => void {
  let requested = false;
  return () => {
    if (requested) return;
    requested = true;
    requestAnimationFrame(() => {
      requested = false;
      work();
    });
  };
}

/** Format seconds as minutes and seconds. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** Format how long ago something was, given both times in Unix seconds of the same clock. */
export function ago(unix: number, now: number): string {
  const seconds = Math.max(0, now - unix);
  if (seconds < 10) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(unix * 1000).toLocaleDateString();
}

/** Format a number of bytes. */
export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
