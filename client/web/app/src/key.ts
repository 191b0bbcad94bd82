/** The key of the server: kept on this device, never left in an address. */

import type { DeviceStorage } from "./storage.js";

const NAME = "key";

/** The kept key. A key after `#key=` in the address is kept first, and removed from the address. */
export function takeKey(storage: DeviceStorage): string | undefined {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given !== null) {
    history.replaceState(history.state, "", location.pathname + location.search);
    if (given) keepKey(storage, given);
  }
  return storage.read(NAME);
}

export function keepKey(storage: DeviceStorage, key: string): void {
  storage.keep(NAME, key);
}

export function forgetKey(storage: DeviceStorage): void {
  storage.forget(NAME);
}
