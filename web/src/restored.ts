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

/** The rooms in a text; none where it is not ours, as somebody may write there what they like. */
function roomsOf(text: string): Rooms {
  try {
    const { rooms, shown } = JSON.parse(text) as Record<string, unknown>;
    const ours = Array.isArray(rooms) && rooms.every((it) => typeof it === "string") && typeof shown === "string";
    if (ours) return { rooms, shown };
  } catch {
    // As where nothing is.
  }
  return { rooms: [], shown: "" };
}

export const Restored = {
  get name(): string {
    return kept("name") ?? "";
  },
  set name(name: string) {
    keep("name", name);
  },
  get rooms(): Rooms {
    return roomsOf(kept("rooms") ?? "");
  },
  set rooms(rooms: Rooms) {
    keep("rooms", JSON.stringify(rooms));
  },
};
