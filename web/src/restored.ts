/** What a tab remembers over a reload, and forgets when it is closed. Never a token: whoever has it is the user. */

interface Rooms {
  rooms: string[];
  /** The one that was shown; empty for none. */
  shown: string;
}

function kept(key: string): string | undefined {
  try {
    return sessionStorage.getItem(key) ?? undefined;
  } catch {
    return undefined; // where a browser keeps nothing
  }
}

function keep(key: string, text: string): void {
  try {
    sessionStorage.setItem(key, text);
  } catch {
    // Then a reload begins anew.
  }
}

export const Restored = {
  get name(): string {
    return kept("name") ?? "";
  },
  set name(name: string) {
    keep("name", name);
  },
  get rooms(): Rooms {
    return JSON.parse(kept("rooms") ?? '{"rooms":[],"shown":""}') as Rooms;
  },
  set rooms(rooms: Rooms) {
    keep("rooms", JSON.stringify(rooms));
  },
};
