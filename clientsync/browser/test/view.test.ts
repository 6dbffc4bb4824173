import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { newRow } from "../src/core/rows.js";
import { packed, TableReader } from "../src/core/table.js";
import { useView } from "../src/react.js";
import type { Store } from "../src/store.js";
import type { Item } from "../src/types.js";
import { first, list, type Query, type Source, View } from "../src/view.js";

/** A store's objects, without a store. */
class Objects implements Source {
  readonly items = new Map<string, Item>();
  current = true;
  version = 0;
  private readonly views = new Set<View<never>>();

  view<T>(query: Query<T>): View<T> {
    return new View<T>(this, query, (view, on) => {
      if (on) this.views.add(view as unknown as View<never>);
      else this.views.delete(view as unknown as View<never>);
    });
  }

  put(id: string, value: unknown): void {
    if (value === undefined) this.items.delete(id);
    else this.items.set(id, { type: "note", id, value: value as object, seq: this.version + 1, pending: false });
    this.version++;
    for (const view of this.views) view.update([{ type: "note", id }]);
  }

  read(_type: string, id: string): Item | undefined {
    return this.items.get(id);
  }

  all(): Iterable<Item> {
    return this.items.values();
  }
}

const value = fc.option(fc.record({ n: fc.oneof(fc.integer({ min: 0, max: 5 }), fc.constantFrom("a", "b", null, true)), k: fc.constantFrom("x", "y") }), { nil: undefined });
const change = fc.tuple(fc.constantFrom("a", "b", "c", "d", "e", "f"), value);
const query: fc.Arbitrary<Query> = fc.record({
  type: fc.constant("note"),
  where: fc.constantFrom({}, { k: "x" }, { k: ["x", "y"] }),
  orderBy: fc.constantFrom("n", "missing"),
  descending: fc.boolean(),
  limit: fc.constantFrom(2, 100),
});

test("a view that follows changes shows what a new list would", () => {
  fc.assert(
    fc.property(fc.array(change), fc.array(change), query, (before, after, asked) => {
      const objects = new Objects();
      for (const [id, v] of before) objects.put(id, v);
      const view = objects.view(asked);
      view.subscribe(() => {});
      for (const [id, v] of after) {
        objects.put(id, v);
        assert.deepEqual(view.get().items, list(objects, asked));
      }
    }),
  );
});

test("the first ones straight from the tables are those of the whole list", () => {
  const rows = fc.array(fc.tuple(fc.stringMatching(/^[a-z0-9]{1,4}$/), value), { maxLength: 80 }).map((list) =>
    [...new Map(list)].filter(([, v]) => v !== undefined).map(([id, v], n) => newRow("note", id, n + 1, JSON.parse(JSON.stringify(v)))));
  const asked = fc.record({
    type: fc.constant("note"), orderBy: fc.constantFrom("n", "k", "missing"), descending: fc.boolean(), limit: fc.constantFrom(0, 1, 3, 100),
  });
  fc.assert(
    fc.property(rows, fc.integer({ min: 1, max: 40 }), fc.array(fc.nat(79), { maxLength: 5 }), asked, (stored, size, gone, one) => {
      const without = new Set(gone.map((n) => stored[n]?.id ?? ""));
      const tables: TableReader[] = [];
      for (let from = 0; from < stored.length; from += size) {
        for (const table of packed(stored.slice(from, from + size))) tables.push(new TableReader(table, without));
      }
      const source: Source = { read: () => undefined, all: () => tables.flatMap((reader) => reader.rows()), tables: () => tables, current: true, version: 1 };
      const found = first(source, one);
      assert.deepEqual(found?.items, list(source, one));
      assert.equal(found?.total, tables.flatMap((reader) => reader.rows()).length);
      const view = new View(source, one, () => {});
      assert.deepEqual(view.get().items, found?.items);
    }),
  );
});

test("a view tells of what concerns it, and of nothing else", () => {
  const objects = new Objects();
  const view = objects.view<{ k: string }>({ type: "note", where: { k: "x" } });
  let told = 0;
  const stop = view.subscribe(() => told++);
  const empty = view.get();
  objects.put("a", { k: "y" });
  assert.equal(told, 0);
  assert.equal(view.get(), empty);
  objects.put("b", { k: "x" });
  assert.equal(told, 1);
  objects.put("b", { k: "y" });
  assert.equal(told, 2);
  stop();
  objects.put("b", { k: "x" });
  assert.equal(told, 2);
  assert.equal(view.get().total, 1);
});

test("a filter may be any condition", () => {
  const objects = new Objects();
  for (let n = 0; n < 5; n++) objects.put(`n${n}`, { n });
  const view = objects.view<{ n: number }>({ type: "note", filter: ({ n }) => n % 2 === 1 });
  assert.deepEqual(view.get().items.map(({ id }) => id), ["n1", "n3"]);
});

test("the React hook shows a view", () => {
  const objects = new Objects();
  objects.put("a", { text: "hello" });
  const Page = (): ReturnType<typeof createElement> => {
    const { items, current } = useView<{ text: string }>(objects as unknown as Store, { type: "note" });
    return createElement("p", null, `${items.map(({ value }) => value.text).join()} ${current}`);
  };
  assert.equal(renderToString(createElement(Page)), "<p>hello true</p>");
});
