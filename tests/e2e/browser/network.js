/** The network between one browser and the service: a person may be without it. */
import { connect, createServer } from "node:net";

/** A network to the port of `url`, until the test ends. */
export async function network(test, url) {
  const links = new Set();
  const server = createServer((near) => {
    if (net.away) return near.destroy();
    const far = connect(Number(new URL(url).port), "127.0.0.1");
    for (const [one, other] of [[near, far], [far, near]]) {
      links.add(one);
      one.on("error", () => {}).on("close", () => other.destroy() && links.delete(one));
      one.pipe(other);
    }
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const there = new URL(url);
  there.port = server.address().port;
  const net = {
    /** Where the service is, by this network. */
    url: there.href,
    away: false,
    leave() {
      net.away = true;
      for (const link of links) link.destroy();
    },
    comeBack() {
      net.away = false;
    },
  };
  test.after(() => {
    net.leave();
    server.close();
  });
  return net;
}
