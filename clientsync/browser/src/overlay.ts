/**
 * Optimistic changes: how objects look until the server has answered, laid over the rows that it has confirmed.
 *
 * A change that was refused goes at once. One that was accepted stays until its effect is in the rows, so that nothing
 * flickers, but no longer than LINGER.
 */
import type { Base } from "./conflicts.js";
import type { Rows } from "./core/rows.js";
import type { TableReader } from "./core/table.js";
import type { Entry, StoredChange } from "./operations.js";
import { type Item, type Key, nameOf } from "./types.js";

/** Milliseconds that an accepted change is shown while its effect has not arrived. */
const LINGER = 10_000;

interface Overlay {
  readonly entry: string;
  readonly change: StoredChange;
  /** The revision that it lies over; a higher one shows the effect. */
  readonly over: number;
  accepted: boolean;
}

export interface OverlayHost {
  /** These objects look different now. */
  changed(keys: readonly Key[]): void;
  /** An accepted change took effect: changes that were made on top of it are based on the object as it is now. */
  rebased(entry: string, key: Key, base: Base): void;
}

export class Overlays {
  private readonly overlays = new Map<string, Overlay[]>();
  private readonly lingering = new Set<ReturnType<typeof setTimeout>>();
  /** The revisions that accepted changes of this page had as their effect, by object. */
  private readonly effects = new Map<string, number>();

  constructor(
    private readonly rows: () => Rows,
    private readonly host: OverlayHost,
  ) {}

  /** Lay an operation's changes over the objects. */
  lay({ id, optimistic }: Entry): void {
    for (const change of optimistic) {
      const overlay = { entry: id, change, over: this.revision(change), accepted: false };
      const name = nameOf(change);
      this.overlays.set(name, [...(this.overlays.get(name) ?? []), overlay]);
    }
    if (optimistic.length > 0) this.host.changed(optimistic);
  }

  /** Show an operation's changes differently, in their place. */
  replace({ id, optimistic }: Entry): void {
    for (const change of optimistic) {
      const list = this.overlays.get(nameOf(change));
      const index = list?.findIndex(({ entry }) => entry === id) ?? -1;
      if (index >= 0) list![index] = { ...list![index]!, change, over: this.revision(change) };
    }
    if (optimistic.length > 0) this.host.changed(optimistic);
  }

  /** Take an operation's changes off: it was refused, or given up. */
  remove({ id, optimistic }: Entry): void {
    for (const key of optimistic) this.keep(nameOf(key), ({ entry }) => entry !== id);
    if (optimistic.length > 0) this.host.changed(optimistic);
  }

  /** Keep an operation's changes until their effect arrives: it was accepted. */
  accept(entry: Entry): void {
    const { id, optimistic } = entry;
    if (optimistic.length === 0) return;
    for (const key of optimistic) {
      for (const overlay of this.overlays.get(nameOf(key)) ?? []) if (overlay.entry === id) overlay.accepted = true;
    }
    this.arrived(optimistic);
    this.host.changed(optimistic);
    const timer = setTimeout(() => {
      this.lingering.delete(timer);
      this.remove(entry);
    }, LINGER);
    this.lingering.add(timer);
  }

  /** Rows have changed: accepted changes whose effect that is need no longer be shown. */
  arrived(keys: Iterable<Key>): void {
    if (this.overlays.size === 0) return;
    for (const key of keys) {
      const name = nameOf(key);
      const list = this.overlays.get(name);
      if (list === undefined) continue;
      const revision = this.revision(key);
      const inEffect = ({ accepted, over }: Overlay): boolean => accepted && over < revision;
      const last = list.map(inEffect).lastIndexOf(true);
      if (last < 0) continue;
      this.effects.set(name, revision);
      const row = this.rows().get(key.type, key.id);
      const base = { seq: revision, ...(row === undefined ? {} : { value: row.value }) };
      for (const { entry, accepted } of list.slice(last + 1)) if (!accepted) this.host.rebased(entry, key, base);
      this.keep(name, (overlay) => !inEffect(overlay));
    }
  }

  /** Whether a change of this page took effect after one revision of an object and up to another. */
  wrote(key: Key, after: number, upto: number): boolean {
    const revision = this.effects.get(nameOf(key)) ?? 0;
    return revision > after && revision <= upto;
  }

  /** An object as it looks; undefined if it does not exist. */
  read(type: string, id: string): Item | undefined {
    const row = this.rows().get(type, id);
    const top = this.overlays.get(nameOf({ type, id }))?.at(-1)?.change;
    if (top === undefined) return row;
    return top.value === undefined ? undefined : { type, id, value: top.value as object, seq: row?.seq ?? 0, pending: true };
  }

  /** All objects of a type as they look, in no order. */
  all(type: string): Iterable<Item> {
    return this.covers(type) ? this.overlaid(type) : this.rows().all(type);
  }

  /** All objects of a type as they are stored; undefined if a change lies over one of them. */
  tables(type: string): readonly TableReader[] | undefined {
    return this.covers(type) ? undefined : this.rows().tables(type);
  }

  /** Forget what is under way. */
  close(): void {
    for (const timer of this.lingering) clearTimeout(timer);
    this.lingering.clear();
  }

  private *overlaid(type: string): Iterable<Item> {
    const rows = this.rows();
    for (const { id } of rows.all(type)) {
      const item = this.read(type, id);
      if (item !== undefined) yield item;
    }
    for (const [{ change }] of this.overlays.values() as Iterable<[Overlay]>) {
      if (change.type !== type || rows.get(type, change.id) !== undefined) continue;
      const item = this.read(type, change.id);
      if (item !== undefined) yield item;
    }
  }

  private covers(type: string): boolean {
    for (const [{ change }] of this.overlays.values() as Iterable<[Overlay]>) if (change.type === type) return true;
    return false;
  }

  private revision({ type, id }: Key): number {
    return this.rows().get(type, id)?.seq ?? 0;
  }

  private keep(name: string, wanted: (overlay: Overlay) => boolean): void {
    const list = this.overlays.get(name)?.filter(wanted) ?? [];
    if (list.length === 0) this.overlays.delete(name);
    else this.overlays.set(name, list);
  }
}
