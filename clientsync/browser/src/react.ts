/** A React hook for views. The application brings React. */
import { useMemo, useSyncExternalStore } from "react";
import type { Store } from "./store.js";
import type { Query, Snapshot } from "./view.js";

/**
 * Return the objects of a query, kept up to date.
 *
 * Queries are compared by content. A `filter` is a function, so give the same one each time (`useCallback`).
 */
export function useView<T = unknown>(store: Store, query: Query<T>): Snapshot<T> {
  const { filter, ...rest } = query;
  const content = JSON.stringify(rest);
  const view = useMemo(() => store.view<T>(query), [store, content, filter]);
  return useSyncExternalStore(view.subscribe, view.get, view.get);
}
