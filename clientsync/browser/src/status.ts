/** What a store can say about its copy of the objects, as a table of transitions. */

/** `stored`: not connected, shows what is stored. `syncing`: connected, catching up. `current`: everything is applied. */
export type Status = "stored" | "syncing" | "current" | "closed";

export type StatusSignal = "connected" | "disconnected" | "caughtUp" | "fellBehind" | "closed";

/** A signal that a state does not list changes nothing: a renewed connection, for example, signals `connected` again. */
const TRANSITIONS: Readonly<Record<Status, Readonly<Partial<Record<StatusSignal, Status>>>>> = {
  stored: { connected: "syncing", closed: "closed" },
  syncing: { caughtUp: "current", disconnected: "stored", closed: "closed" },
  current: { fellBehind: "syncing", disconnected: "stored", closed: "closed" },
  closed: {},
};

export class StatusMachine {
  state: Status = "stored";

  /** @param changed is told of each new state */
  constructor(private readonly changed: (status: Status) => void) {}

  signal(signal: StatusSignal): void {
    const next = TRANSITIONS[this.state][signal];
    if (next === undefined) return;
    this.state = next;
    this.changed(next);
  }
}
