/** The dashboard of a twin: what it is doing, the knobs of its lanes, and what one may break to see what happens. */
import { render } from "preact";
import { Desk } from "./dashboard-desk.js";
import { Twin } from "./dashboard-twin.js";

const twin = new Twin(() => render(<Desk twin={twin} />, document.body));
twin.watch();
