/**
 * What runs behind a store. It connects the parts: the copy of the objects (core/sync.ts), the disk, the connection or the
 * tab that has it, the operations and their overlays, and tells what happens.
 */
import { ServerClock } from "./clock.js";
import { Connection, type Link } from "./connection.js";
import { Rows } from "./core/rows.js";
import { Sync } from "./core/sync.js";
import { HeadwayError } from "./errors.js";
import { ChangeFeed, Emitter } from "./events.js";
import { randomId } from "./ids.js";
import { Operations } from "./operations.js";
import { databaseName, type StoreOptions } from "./options.js";
import { Overlays } from "./overlay.js";
import { type Identity, Ownership } from "./ownership.js";
import { followPage } from "./page.js";
import { Sessions } from "./session.js";
import { type Status, StatusMachine } from "./status.js";
import { Disk, type DiskState } from "./storage/disk.js";
import { type LeaderStats, Tabs } from "./tabs.js";
import { monotonic } from "./timers.js";
import type { Beacon, Change, ConflictNotice, Presence } from "./types.js";

/** Milliseconds between two looks at what is due. */
const TICK = 500;
/** Milliseconds that operations with optimistic changes wait for the objects to be up to date. */
const CATCH_UP = 5000;

export interface Stats {
  readonly status: Status;
  readonly role: Tabs["role"];
  readonly disk: DiskState;
  readonly objects: number;
  /** Bytes received on the connection. */
  readonly bytes: number;
  /** Milliseconds to the server and back; null if not measured. */
  readonly latency: number | null;
  /** Milliseconds from the last change being stored to its arrival here; null before the first. */
  readonly delay: number | null;
  /** The sequence up to which everything is known to be here, and the highest that is here. */
  readonly cursor: number;
  readonly revision: number;
  /** By how many sequences the tenant's last change is ahead. */
  readonly lag: number;
  readonly changes: number;
  readonly pulls: number;
  readonly gaps: number;
  readonly resets: number;
  readonly connects: number;
  /** Operations that wait to be sent or answered. */
  readonly waiting: number;
}

export class Engine {
  readonly events = new Emitter();
  readonly feed = new ChangeFeed();
  readonly clock = new ServerClock();
  readonly overlays: Overlays;
  readonly operations: Operations;
  presence: Presence = { online: [] };
  private readonly me = randomId();
  private readonly status: StatusMachine;
  private readonly sessions: Sessions;
  private readonly disk: Disk;
  private readonly tabs: Tabs;
  private readonly closed = new AbortController();
  private readonly ownership = new Ownership();
  private sync: Sync;
  private connection: Connection | null = null;
  private closing: Promise<void> | null = null;
  private ticking: ReturnType<typeof setInterval> | undefined;
  private paused = false;
  private delay: number | null = null;
  private pastStats = { bytes: 0, connects: 0 };
  private caughtUpWaiters: (() => void)[] = [];
  /** Types for which an inexact integer was reported: once is enough. */
  private readonly inexact = new Set<string>();

  constructor(private readonly options: StoreOptions) {
    const stored = options.cache !== false && Tabs.possible;
    const name = stored ? databaseName(options) : null;
    this.status = new StatusMachine((status) => this.statusChanged(status));
    this.sessions = new Sessions(options.session, this.clock);
    this.disk = new Disk(name, this.me, () => this.sync.rows, (state) => this.events.emit("disk", state));
    this.sync = this.makeSync(new Rows());
    this.overlays = new Overlays(() => this.sync.rows, {
      changed: (keys) => this.feed.touch(keys),
      rebased: (entry, key, base) => this.operations.rebase(entry, key, base),
    });
    this.operations = this.makeOperations();
    this.tabs = this.makeTabs(`headway/${name}`, name !== null);
  }

  /** Read what is stored, then take part in sharing a connection. */
  async open(): Promise<void> {
    const { rows, owner, outbox } = await this.disk.open();
    this.ownership.owner = owner;
    this.sync = this.makeSync(rows);
    for (const entry of [...outbox].sort((a, b) => a.at - b.at)) this.operations.put(entry);
    this.ticking = setInterval(() => this.tick(), TICK);
    followPage({
      hidden: () => void this.disk.flush(),
      shown: () => {
        this.connection?.nudge();
        this.sync.suspect(monotonic());
      },
      online: () => this.connection?.nudge(),
      frozen: () => void this.tabs.leave(),
      thawed: () => this.join(),
    }, this.closed.signal);
    this.tabs.join();
  }

  get state(): Status {
    return this.status.state;
  }

  stats(): Stats {
    const { rows, counts, lag } = this.sync;
    const { role } = this.tabs;
    return {
      status: this.state, role, disk: this.disk.state, objects: rows.size, ...(role === "follower" ? this.tabs.leader : this.leaderStats),
      delay: this.delay, cursor: rows.cursor, revision: rows.seen, lag, ...counts, waiting: this.operations.pending.length,
    };
  }

  async pause(): Promise<void> {
    this.paused = true;
    await this.tabs.leave();
  }

  resume(): void {
    this.paused = false;
    this.join();
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  private async shutDown(): Promise<void> {
    this.status.signal("closed");
    clearInterval(this.ticking);
    this.closed.abort();
    this.releaseWaiters();
    await this.tabs.close();
    this.overlays.close();
    await this.disk.close();
    this.operations.close();
    this.feed.clear();
    this.events.clear();
  }

  private makeSync(rows: Rows): Sync {
    const sync: Sync = new Sync(rows, this.options, {
      pull: (request, flight) => {
        this.link().pull(request).then(
          (reply) => {
            sync.reply(flight, reply, monotonic());
            this.refresh();
          },
          (error: HeadwayError) => {
            sync.failed(flight, monotonic(), error.status === 429 ? 2000 : 0);
            if (!error.retryable) this.events.emit("trouble", error);
            this.refresh();
          },
        );
      },
      changed: (keys) => {
        this.disk.touch(keys);
        this.overlays.arrived(keys);
        this.feed.touch(keys);
      },
      replaced: () => this.disk.replaced(),
    });
    return sync;
  }

  private makeOperations(): Operations {
    return new Operations(this.overlays, {
      perform: (operation) => this.link().perform(operation),
      row: ({ type, id }) => this.sync.rows.get(type, id),
      caughtUp: () => this.caughtUp(),
      resolve: (conflict) => this.options.onConflict?.(conflict) ?? "merge",
      publish: async (entry) => {
        await this.disk.putEntry(entry);
        this.tabs.announce({ t: "entry", entry });
      },
      settled: (outcome) => {
        this.tabs.announce({ t: "outcome", outcome });
        void this.disk.dropEntry(outcome.id);
      },
      failed: (entry, error, attempts) => this.tabs.announce({ t: "failed", id: entry.id, error, attempts }),
      conflict: (report) => {
        const { here: _, ...notice } = report;
        this.connection?.tell(notice).catch(() => {}); // the other writer may not be there to hear it either
        this.tabs.announce({ t: "conflict", report });
        this.events.emit("conflict", report);
      },
      refused: (entry, error) => this.events.emit("refused", { entry, error }),
      trouble: (error) => this.events.emit("trouble", error),
    });
  }

  private makeTabs(name: string, shared: boolean): Tabs {
    return new Tabs(name, this.me, {
      lead: () => this.lead(),
      yield: () => this.yield(),
      up: (identity) => this.up(identity),
      down: () => this.down(),
      live: (change, at) => this.live(change, at),
      beacon: (beacon) => this.beacon(beacon),
      presence: (presence) => this.setPresence(presence),
      notice: (notice) => this.notice(notice),
      entry: (entry) => this.operations.put(entry),
      outcome: (outcome) => this.operations.settle(outcome),
      failed: (id, error, attempts) => this.operations.note(id, error, attempts),
      conflict: (report) => this.events.emit("conflict", report),
      link: () => this.link(),
      stats: () => this.leaderStats,
      time: () => this.clock.now(),
      setTime: (time) => this.clock.set(time, monotonic()),
    }, shared);
  }

  private link(): Link {
    return this.connection ?? this.tabs;
  }

  private get leaderStats(): LeaderStats {
    const { connection, pastStats } = this;
    return {
      bytes: pastStats.bytes + (connection?.bytes ?? 0),
      latency: connection?.latency ?? null,
      connects: pastStats.connects + (connection?.connects ?? 0),
    };
  }

  /** This tab has the connection. */
  private lead(): void {
    this.disk.startWriting(this.ownership.owner);
    this.connection = new Connection(this.sessions, {
      up: (session) => {
        this.up(session);
        this.tabs.serve({ tenant: session.tenant, user: session.user });
        this.operations.outbox.start();
      },
      down: (cause) => {
        this.operations.outbox.stop();
        this.down();
        if (cause !== null) this.events.emit("trouble", cause);
        this.tabs.serve(null, cause);
      },
      live: (change, at) => {
        this.tabs.share(change, at);
        this.live(change, at);
      },
      beacon: (beacon) => {
        this.tabs.announce({ t: "beacon", beacon });
        this.beacon(beacon);
      },
      presence: (presence) => {
        this.tabs.announce({ t: "presence", presence });
        this.setPresence(presence);
      },
      conflict: (notice) => {
        this.tabs.announce({ t: "notice", notice });
        this.notice(notice);
      },
      inexact: (subject, integer) => this.reportInexact(subject, integer),
    });
    this.connection.start();
    void this.readOutbox();
  }

  /** Take what other tabs put into the outbox before this one led, and nobody has sent. */
  private async readOutbox(): Promise<void> {
    for (const entry of await this.disk.entries()) {
      if (this.operations.outbox.get(entry.id) === undefined) this.operations.put(entry);
    }
  }

  private async yield(): Promise<void> {
    const { connection, pastStats } = this;
    this.connection = null;
    this.operations.outbox.stop();
    if (connection !== null) {
      this.pastStats = { bytes: pastStats.bytes + connection.bytes, connects: pastStats.connects + connection.connects };
      await connection.stop();
    }
    this.down();
    await this.disk.stopWriting();
  }

  private join(): void {
    if (!this.paused && this.closing === null) this.tabs.join();
  }

  private up(identity: Identity): void {
    const claim = this.ownership.claim(identity);
    if (claim === "other") this.discard();
    if (claim !== "same" && this.connection !== null) this.disk.startWriting(this.ownership.owner);
    this.status.signal("connected");
    this.sync.connected(monotonic());
    this.refresh();
  }

  private down(): void {
    this.sync.disconnected();
    this.status.signal("disconnected");
  }

  /** What is stored belongs to somebody else: drop it. */
  private discard(): void {
    const gone = [...this.sync.rows];
    this.sync = this.makeSync(new Rows());
    this.disk.replaced();
    for (const { id } of this.operations.pending) this.operations.cancel(id);
    this.feed.touch(gone);
  }

  private live(change: Change, at: number): void {
    this.sync.live(change, monotonic());
    this.clock.atLeast(at);
    if (Number.isFinite(at)) this.delay = Math.max(0, Math.round(this.clock.now() - at));
  }

  private beacon(beacon: Beacon): void {
    this.clock.atLeast((beacon.at ?? NaN) * 1000);
    this.sync.beacon(beacon, monotonic());
    this.refresh();
  }

  private setPresence(presence: Presence): void {
    this.presence = presence;
    this.events.emit("presence", presence);
  }

  /** Two writers met. It concerns this page if the first one was here. */
  private notice(notice: ConflictNotice): void {
    if (this.overlays.wrote(notice, notice.base, notice.theirs)) this.events.emit("conflict", { ...notice, here: "first" });
  }

  private reportInexact(subject: string, integer: string): void {
    const [, , type = subject] = subject.split(".");
    if (this.inexact.has(type)) return;
    this.inexact.add(type);
    const remedy = "have the service store it as text";
    this.events.emit("trouble", new HeadwayError("inexact", `${subject} has the integer ${integer}, which a number here cannot hold exactly`, false, remedy));
  }

  private tick(): void {
    this.sync.tick(monotonic());
    this.refresh();
  }

  /** Resolve once everything is applied, or after a while. */
  private caughtUp(): Promise<void> {
    if (this.state === "current" || this.state === "closed") return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, CATCH_UP);
      this.caughtUpWaiters.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  private releaseWaiters(): void {
    for (const release of this.caughtUpWaiters) release();
    this.caughtUpWaiters = [];
  }

  /** Take over what the copy says about itself. */
  private refresh(): void {
    this.status.signal(this.sync.current ? "caughtUp" : "fellBehind");
  }

  private statusChanged(status: Status): void {
    if (status === "current") this.releaseWaiters();
    this.feed.statusChanged();
    this.events.emit("status", status);
  }
}
