/** People of a real service, whose sockets may be cut. `ROOMCAST_URL` says where it is. */
import { connect } from "roomcast";
import { WebSocket } from "ws";

const url = process.env.ROOMCAST_URL;
if (!url) throw new Error("ROOMCAST_URL says where the service is: `make up` prints it");

/** A room of that name that no other run has used. */
export const fresh = (name) => `${name}-${crypto.randomUUID().slice(0, 8)}`;

/** Somebody, until the test ends. `cut()` breaks the socket without a word; `events` is all that they were given. */
export async function person(test, options) {
  const sockets = new Set();
  class Fragile extends WebSocket {
    constructor(...where) {
      super(...where);
      sockets.add(this);
    }
  }
  const me = await connect(url, { WebSocket: Fragile, ...options });
  test.after(() => me.close());
  const events = [];
  let wake = () => {};
  const hearing = (async () => {
    for await (const event of me.events()) {
      events.push(event);
      wake();
    }
  })();
  return {
    me,
    events,
    /** Settles when nothing more will be heard. */
    hearing,
    /** How many sockets there were. */
    get sockets() {
      return sockets.size;
    },
    cut() {
      for (const socket of sockets) socket.terminate();
    },
    of: (type, roomId) => events.filter((it) => it.type === type && (roomId === undefined || it.roomId === roomId)),
    /** Until what was heard satisfies the condition. */
    async until(condition) {
      while (!condition()) await new Promise((again) => (wake = again));
    },
  };
}
