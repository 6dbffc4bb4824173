/** What happens to the page that a store lives in. Browsers freeze pages, and thaw or discard them later. */

export interface PageHost {
  /** The page is hidden, or about to be left: write what is unwritten. */
  hidden(): void;
  /** The page is shown again: it may have missed something. */
  shown(): void;
  /** The network is said to be back. */
  online(): void;
  /** The page is frozen: nothing of it runs from now on. */
  frozen(): void;
  thawed(): void;
}

/** Tell a host about the page until aborted. Outside of a page nothing happens. */
export function followPage(host: PageHost, signal: AbortSignal): void {
  if (typeof document === "undefined") return;
  const on = (target: EventTarget, event: string, work: (event: Event) => void): void =>
    target.addEventListener(event, work, { signal });
  on(document, "visibilitychange", () => (document.visibilityState === "visible" ? host.shown() : host.hidden()));
  on(document, "freeze", () => host.frozen());
  on(document, "resume", () => host.thawed());
  on(window, "online", () => host.online());
  on(window, "pagehide", (event) => {
    host.hidden();
    if ((event as PageTransitionEvent).persisted) host.frozen();
  });
  on(window, "pageshow", () => host.thawed());
}
